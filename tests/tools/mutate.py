"""Prove by mutation that the tests notice faults: `python -m tests.tools.mutate`.

Each fault of `tests.tools.faults` is put into a copy of the code, one at a time, and the tests that are named with it
run there. First the same tests run without any fault. The working tree is never changed. Results:

caught      a test fails for the fault
SURVIVED    the tests pass, although the code is broken
BROKEN      nothing is proven: the text is not in the file exactly once, or a test is missing or fails without the fault

Exits with 1 unless all are caught.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from tests.tools.faults import FAULTS, Fault

ROOT = Path(__file__).resolve().parents[2]
TEST_SECONDS = 120
"""Time limit of one test: a fault may make it hang, and then it is caught by that."""
RUN_SECONDS, TIMED_OUT = 3600, 124
PYTEST = [sys.executable, "-m", "pytest", "-q", "-rfE", "-p", "no:cacheprovider", f"--timeout={TEST_SECONDS}"]
SOME_FAILED = 1
"""pytest's exit code; higher ones say that the tests could not be run, which catches nothing."""
FAILURE = re.compile(r"^(?:FAILED|ERROR) (\S+)|^not ok \d+ - (.+)$", re.MULTILINE)

CAUGHT, SURVIVED, BROKEN = "caught", "SURVIVED", "BROKEN"


class Verdict(NamedTuple):
    fault: Fault
    result: str
    seconds: float
    note: str
    """The test that failed, or why nothing is proven."""


def main() -> int:
    options = _options()
    faults = [_with_tests(fault, options.tests) for fault in FAULTS if not options.only or fault.name in options.only]
    if options.list:
        print(_table(["fault", "promise", "file", "tests"], ([f.name, f.promise, f.file, _ids(f)] for f in faults)))
        return 0
    with tempfile.TemporaryDirectory(prefix="darkroom-mutants-") as folder:
        copies: SimpleQueue[Path] = SimpleQueue()
        for number in range(options.jobs):
            copies.put(_copy(Path(folder) / str(number), options.base))
        unsound = _failing_without_a_fault(faults, copies)
        with ThreadPoolExecutor(options.jobs) as pool:
            verdicts = list(pool.map(lambda fault: _judge(fault, copies, unsound, options.database), faults))
    columns = ["fault", "promise", "tests", "seconds", "result", "by"]
    rows = ([v.fault.name, v.fault.promise, _ids(v.fault), f"{v.seconds:.0f}", v.result, v.note] for v in verdicts)
    table = _table(columns, rows)
    count = sum(verdict.result == CAUGHT for verdict in verdicts)
    print(f"{table}\n\n{count} of {len(verdicts)} faults are caught.")
    return 0 if count == len(verdicts) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.tools.mutate", description=str(__doc__).split("\n", 1)[0])
    parser.add_argument("--only", metavar="NAME", action="append", help="this fault; may be given several times")
    parser.add_argument("--list", action="store_true", help="say what there is, and run nothing")
    parser.add_argument("--base", metavar="REV", help="a git revision, instead of the working tree")
    parser.add_argument(
        "--jobs", metavar="N", type=int, default=1, help="so many faults at a time, each in its own copy"
    )
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument(
        "--tests",
        metavar="FILE",
        type=lambda path: json.loads(Path(path).read_text()),
        default={},
        help="JSON, fault → node ids: other tests than those named, for a revision that has them elsewhere",
    )
    options = parser.parse_args()
    if unknown := set(options.only or ()) - {fault.name for fault in FAULTS}:
        parser.error(f"no such fault: {', '.join(sorted(unknown))}")
    return options


def _with_tests(fault: Fault, others: dict[str, list[str]]) -> Fault:
    return fault._replace(tests=tuple(others.get(fault.name, fault.tests)))


def _copy(folder: Path, revision: str | None) -> Path:
    """The revision, or what stands in the working tree now, without what git ignores."""
    folder.mkdir()
    if revision:
        archive = subprocess.run(["git", "archive", revision], cwd=ROOT, capture_output=True, check=True).stdout
        subprocess.run(["tar", "-x"], cwd=folder, input=archive, check=True)
        return folder
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def _failing_without_a_fault(faults: Iterable[Fault], copies: "SimpleQueue[Path]") -> set[str]:
    """Node ids of tests that fail in code as it is, and names of those that are missing."""
    tests = sorted({test for fault in faults for test in fault.tests})
    with _taken(copies) as copy:
        missing = {test for test in tests if not is_there(copy, test)}
        failed = set()
        for command in _commands([test for test in tests if test not in missing]):
            code, said, _ = _run(command, copy)
            if code:
                # What node fails is known by its title only, and then none of its files proves anything.
                failed |= set(_failures(said) if code == SOME_FAILED and command[0] != "node" else command)
                print(f"Without a fault: {said[-3000:]}", file=sys.stderr)
    return missing | failed


def is_there(root: Path, test: str) -> bool:
    """Whether this tree has the test: its file, and a function of that name in it."""
    path, _, name = test.partition("::")
    file = root / path
    return file.is_file() and (not name or f"\ndef {name}(" in file.read_text())


def _judge(fault: Fault, copies: "SimpleQueue[Path]", unsound: set[str], database: str) -> Verdict:
    bad = [test for test in fault.tests if any(re.match(rf"{re.escape(test)}(\[|::|$)", each) for each in unsound)]
    with _taken(copies) as copy:
        file = copy / fault.file
        text = file.read_text() if file.is_file() else ""
        if bad:
            verdict = Verdict(fault, BROKEN, 0, f"missing, or fails without the fault: {', '.join(bad)}")
        elif text.count(fault.old) != 1:
            verdict = Verdict(fault, BROKEN, 0, f"the text is {text.count(fault.old)} times in {fault.file}")
        else:
            try:
                file.write_text(text.replace(fault.old, fault.new))
                verdict = _with_the_fault(fault, copy, database)
            finally:
                file.write_text(text)
    print(f"{verdict.result:9} {verdict.seconds:4.0f} s  {fault.name}", file=sys.stderr, flush=True)
    return verdict


def _with_the_fault(fault: Fault, copy: Path, database: str) -> Verdict:
    took = 0.0
    for command in _commands(fault.tests):
        if command[0] != "node":
            command += ["-x", "--database", database]
        code, said, seconds = _run(command, copy)
        took += seconds
        if code == SOME_FAILED:
            return Verdict(fault, CAUGHT, took, ", ".join(_failures(said)[:1]))
        if code:
            return Verdict(fault, BROKEN, took, f"exit code {code}: {said.strip().splitlines()[-1]}")
    return Verdict(fault, SURVIVED, took, "")


def _commands(tests: Iterable[str]) -> Iterator[list[str]]:
    scripts = [test for test in tests if test.endswith(".mjs")]
    others = [test for test in tests if not test.endswith(".mjs")]
    if others:
        yield [*PYTEST, *others]
    if scripts:
        yield ["node", "--test", "--test-reporter=tap", *scripts]


def _run(command: list[str], copy: Path) -> tuple[int, str, float]:
    """Exit code, what was said, seconds."""
    # A file that is changed twice in a second would be taken for the same one by what Python has compiled.
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    began = time.monotonic()
    try:
        done = subprocess.run(
            command,
            cwd=copy,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=RUN_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return TIMED_OUT, f"no end within {RUN_SECONDS} s", time.monotonic() - began
    return done.returncode, done.stdout, time.monotonic() - began


def _failures(said: str) -> list[str]:
    """Failing tests as pytest's summary or TAP names them."""
    return [one or other for one, other in FAILURE.findall(said) if not other.endswith(".mjs")]


@contextmanager
def _taken(copies: "SimpleQueue[Path]") -> Iterator[Path]:
    copy = copies.get()
    try:
        yield copy
    finally:
        copies.put(copy)


def _ids(fault: Fault) -> str:
    return "<br>".join(fault.tests)


def _table(columns: list[str], rows: Iterable[list[str]]) -> str:
    """As Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
