"""How many threads a web process should have: `python -m tests.benchmarks.threads`.

The same poll of the same process but for its threads: as many as it can, and how long it takes at one steady pace.
"""

import statistics
from contextlib import ExitStack

from tests.benchmarks import report
from tests.benchmarks.environment import darkroom
from tests.benchmarks.poll import job_under_way
from tests.benchmarks.serving import Page, latencies, rate, served

THREADS = (1, 2, 4, 8, 16)
SHIPPED = 4


def main() -> None:
    parser = report.options(__doc__)
    parser.add_argument("--seconds", type=int, default=3, help="for each of them in each round")
    chosen = parser.parse_args()
    base = _name(SHIPPED)
    rates = report.Table("polls, by threads", "requests/s", base, guarded=())
    waits = report.Table("the slowest of 100, at half of that", "ms", base, more_is_better=False, guarded=())
    with darkroom("postgresql"), ExitStack() as servers:
        job, token = job_under_way()
        pages = {
            _name(threads): Page(
                servers.enter_context(served("config.wsgi:application", threads=threads)) + f"/api/status/{job}",
                {"X-Session-Token": token},
            )
            for threads in THREADS
        }
        for _ in range(chosen.rounds):
            for name, page in pages.items():
                rates.add(name, rate(page, chosen.seconds))
        half = statistics.median(rates.found[base]) / 2
        for _ in range(chosen.rounds):
            for name, page in pages.items():
                taken = latencies(page, half, chosen.seconds)
                waits.add(name, 1000 * taken[int(0.99 * len(taken))])
    report.finish([rates, waits], chosen)


def _name(threads: int) -> str:
    return f"{threads} thread{'s' if threads > 1 else ''}"


if __name__ == "__main__":
    main()
