"""Each bench in a short form, beside the ratios that are committed: `python -m tests.benchmarks.guard`.

Fails when a ratio of the best round is `report.WORSE` times worse than the committed one, three times in a row: the
machine has other things to do. `--commit` makes what is found now the committed ones, for a change that is meant to
cost something; of ratios that differ with the processor, as those of unlike work do, the worst seen is committed.
"""

import argparse
import subprocess
import sys
import time

SHORT = (
    "poll --rounds 3 --seconds 1",
    "poll --rounds 3 --seconds 1 --database sqlite",
    "jobs --rounds 2 --jobs 2",
    "jobs --rounds 3 --jobs 30 --work nothing",
    "jobs --rounds 2 --jobs 20 --work nothing --broker embedded --database sqlite",
    "cores --rounds 1 --jobs 4",
    "watching --rounds 1 --watchers 100 --seconds 8",
    "scale --rounds 3 --uploads 5000 --calls 15 --updates 0",
    "outside --rounds 1 --events 1000 --seconds 2",
    "pictures --rounds 1",
)
TRIES = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commit", action="store_true", help="make these ratios the committed ones")
    parser.add_argument("only", nargs="*", help="names of benches; all when there is none")
    chosen = parser.parse_args()
    benches = [bench for bench in SHORT if not chosen.only or bench.split()[0] in chosen.only]
    failed = [bench for bench in benches if not _passes(bench, "--commit" if chosen.commit else "--check")]
    if failed:
        sys.exit("\n".join(["", "Worse than what is committed, or broken:", *failed]))


def _passes(bench: str, option: str) -> bool:
    command = [sys.executable, "-m", f"tests.benchmarks.{bench.split(maxsplit=1)[0]}", *bench.split()[1:], option]
    for attempt in range(1, TRIES + 1):
        began = time.monotonic()
        print(f"\n=== {bench} (attempt {attempt})", flush=True)
        if subprocess.run(command, check=False).returncode == 0:
            print(f"=== {time.monotonic() - began:.0f} s", flush=True)
            return True
    return False


if __name__ == "__main__":
    main()
