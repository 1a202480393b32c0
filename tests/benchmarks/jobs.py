"""What a job costs beside a bare Celery chain of the same four functions: `python -m tests.benchmarks.jobs`.

The same broker, the same worker process on the first core; the sender and the database on the last. `--work nothing`
shows the tracking alone.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from tests.benchmarks import report
from tests.benchmarks.environment import darkroom
from tests.benchmarks.serving import CORES
from tests.support import pictures

AMQP = os.environ.get("TEST_AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/")


def main() -> None:
    parser = report.options(__doc__)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="postgresql")
    parser.add_argument("--broker", choices=["embedded", "rabbitmq"], default="rabbitmq")
    parser.add_argument("--work", choices=["pictures", "nothing"], default="pictures")
    parser.add_argument("--jobs", type=int, help="in each round, for each of the two")
    chosen = parser.parse_args()
    count = chosen.jobs or (6 if chosen.work == "pictures" else 100)
    title = f"jobs of {chosen.work}, {chosen.broker}, {chosen.database}"
    rates, waits = report.Table(title, "jobs/s", "bare chain"), report.Table(f"one of these {title}", "s", "bare chain")
    waits.more_is_better = False
    broker = {"CELERY_BROKER_URL": AMQP} if chosen.broker == "rabbitmq" else {}
    with darkroom(chosen.database, BENCH_WORK=chosen.work, **broker) as folder:
        wal = _measured(folder, chosen.rounds, count, rates, waits)
        report.finish([rates, waits], chosen)
        if any(wal):
            print(f"\nA job writes {statistics.median(wal) / 1024:.1f} KiB of WAL.")
        if chosen.work == "nothing":  # with pictures, what it costs is less than what they vary by
            ours, theirs = (1000 / statistics.median(rates.found[name]) for name in ("Darkroom", "bare chain"))
            print(f"It costs {ours - theirs:.1f} ms more than a bare chain, and takes {_statements()} statements.")
            _empty()


def _measured(folder: Path, rounds: int, count: int, rates: report.Table, waits: report.Table) -> list[float]:
    """Fills the tables; returns the bytes of WAL of each of our jobs, by round."""
    picture = pictures.encoded(pictures.landscape(2400, 1800), "JPEG", quality=90)
    rivals: dict[str, Callable[[int], Callable[[], int]]] = {
        "bare chain": lambda n: _chains(folder, picture, n),
        "Darkroom": lambda n: send_uploads(picture, n),
    }
    wal = []
    with worker(1, CORES[:1]):
        for send in rivals.values():
            until_done(send(1), 1)
        for _ in range(rounds):
            for name, send in rivals.items():
                began = time.perf_counter()
                until_done(send(1), 1)
                waits.add(name, time.perf_counter() - began)
                before, began = _wal(), time.perf_counter()
                until_done(send(count), count)
                rates.add(name, count / (time.perf_counter() - began))
            wal.append((_wal() - before) / count)
    return wal


@contextmanager
def worker(processes: int, cores: list[int]) -> Iterator[None]:
    """One Celery worker of so many processes, on these cores, with empty queues before and after."""
    celery = [sys.executable, "-m", "celery", "--quiet", "--app", "tests.benchmarks.jobs_app", "worker"]
    options = (
        f"--queues images,generate --concurrency {processes} --loglevel CRITICAL --without-gossip --without-mingle"
    )
    command = ["taskset", "-c", ",".join(map(str, cores)), *celery, *options.split()]
    _empty()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        try:
            yield
        finally:
            running.terminate()
    _empty()


def _empty() -> None:
    from config.celery import app

    with app.connection_for_write() as connection, connection.channel() as channel:
        for queue in app.conf.task_queues:
            queue(channel).declare()
            queue(channel).purge()


def _chains(folder: Path, picture: bytes, count: int) -> Callable[[], int]:
    from tests.benchmarks.jobs_app import send_chain

    jobs = [folder / "chains" / uuid4().hex for _ in range(count)]
    for job in jobs:
        job.mkdir(parents=True)
        (job / "original.jpg").write_bytes(picture)
        send_chain(job)
    return lambda: sum((job / "done").exists() for job in jobs)


def send_uploads(picture: bytes, count: int) -> Callable[[], int]:
    from django.core.files.uploadedfile import SimpleUploadedFile

    from uploads.intake import receive
    from uploads.models import Upload
    from workflows.pipeline import hint

    jobs = []
    for _ in range(count):
        upload = receive(SimpleUploadedFile("picture.jpg", picture), None).upload
        hint(upload)
        jobs.append(upload.pk)
    return lambda: Upload.objects.filter(pk__in=jobs, stage="complete").count()


def until_done(done: Callable[[], int], count: int, pause: float = 0.01) -> None:
    while done() < count:
        time.sleep(pause)


def _wal() -> int:
    """Bytes of log that PostgreSQL has written so far; 0 on SQLite."""
    from django.db import connection

    if connection.vendor != "postgresql":
        return 0
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')")
        return int(cursor.fetchone()[0])


def _statements() -> int:
    """From the claim of the first step to the end, BEGIN and COMMIT included, of a job whose steps do nothing."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    from tests.support.factories import UploadFactory
    from uploads.stages import FIRST_STEP
    from workflows import runner

    counts = []
    for _ in range(2):  # the first one also reads past durations, which are then kept for a while
        upload = UploadFactory.create()
        with CaptureQueriesContext(connection) as queries:
            runner.run_on(FIRST_STEP, str(upload.pk), "bench", {"images", "generate"})
        counts.append(len(queries))
        upload.refresh_from_db()
        assert upload.stage == "complete"
    return counts[-1]


if __name__ == "__main__":
    main()
