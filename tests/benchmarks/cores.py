"""What a second worker process brings, with real pictures: `python -m tests.benchmarks.cores`, on PostgreSQL, RabbitMQ.

On a machine with two cores the database, the broker and this bench take their share of both: how much, is told.
"""

import statistics
import time

import psutil

from tests.benchmarks import report
from tests.benchmarks.environment import darkroom
from tests.benchmarks.jobs import AMQP, send_uploads, until_done, worker
from tests.benchmarks.serving import CORES
from tests.support import pictures

PAUSE = 0.1
"""Seconds between two looks at what is done: to look all the time would cost a tenth of a core."""


def main() -> None:
    parser = report.options(__doc__)
    parser.add_argument("--jobs", type=int, default=8, help="in each round, for each number of processes")
    chosen = parser.parse_args()
    table = report.Table("pictures on two cores", "pictures/s", "one process")
    shares: dict[str, list[tuple[float, float]]] = {}
    picture = pictures.encoded(pictures.landscape(2400, 1800), "JPEG", quality=90)
    with darkroom("postgresql", CELERY_BROKER_URL=AMQP):
        for _ in range(chosen.rounds):
            for name, processes in {"one process": 1, "two processes": 2}.items():
                with worker(processes, CORES):
                    until_done(send_uploads(picture, processes), processes)
                    began, before = time.perf_counter(), _busy()
                    until_done(send_uploads(picture, chosen.jobs), chosen.jobs, PAUSE)
                    took, after = time.perf_counter() - began, _busy()
                    table.add(name, chosen.jobs / took)
                    ours, all_of_them = ((now - then) / took for now, then in zip(after, before, strict=True))
                    shares.setdefault(name, []).append((ours, all_of_them - ours))
    report.finish([table], chosen)
    for name, found in shares.items():
        ours, others = map(statistics.median, zip(*found, strict=True))
        print(f"{name}: workers had {ours:.2f} of {len(CORES)} cores, all else on this machine {others:.2f}")


def _busy() -> tuple[float, float]:
    """CPU seconds so far: of the workers, and of all that runs here."""
    workers = [process for process in psutil.Process().children(recursive=True) if "celery" in process.cmdline()]
    ours = (process.cpu_times() for process in workers)
    whole = psutil.cpu_times()
    return sum(each.user + each.system for each in ours), sum(whole) - whole.idle - whole.iowait - whole.steal


if __name__ == "__main__":
    main()
