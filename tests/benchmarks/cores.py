"""What a second worker process brings, with real pictures: `python -m tests.benchmarks.cores`, on PostgreSQL, RabbitMQ.

On a machine with two cores the database and the broker take their share of both.
"""

import time

from tests import pictures
from tests.benchmarks import report
from tests.benchmarks.environment import darkroom
from tests.benchmarks.jobs import AMQP, send_uploads, until_done, worker
from tests.benchmarks.serving import CORES


def main() -> None:
    parser = report.options(__doc__)
    parser.add_argument("--jobs", type=int, default=8, help="in each round, for each number of processes")
    chosen = parser.parse_args()
    table = report.Table("pictures on two cores", "pictures/s", "one process")
    picture = pictures.encoded(pictures.landscape(2400, 1800), "JPEG", quality=90)
    with darkroom("postgresql", CELERY_BROKER_URL=AMQP):
        for _ in range(chosen.rounds):
            for name, processes in {"one process": 1, "two processes": 2}.items():
                with worker(processes, CORES):
                    until_done(send_uploads(picture, processes), processes)
                    began = time.perf_counter()
                    until_done(send_uploads(picture, chosen.jobs), chosen.jobs)
                    table.add(name, chosen.jobs / (time.perf_counter() - began))
    report.finish([table], chosen)


if __name__ == "__main__":
    main()
