"""What it costs to be watched: `python -m tests.benchmarks.watching`, on PostgreSQL.

Many people watch a one-minute job each, with our hook and then with a fixed loop of two seconds. Real pages' code in
Node on the last core, one granian process on the first; the jobs are moved by hand, as a worker would.
"""

import json
import os
import subprocess
import threading
from pathlib import Path
from typing import Any

import psutil

from tests.benchmarks import report
from tests.benchmarks.environment import darkroom
from tests.benchmarks.serving import CORES, Page, latencies, served

PATIENCE = 0.05
"""Seconds within which 99 of 100 polls are to be answered."""


def main() -> None:
    parser = report.options(__doc__)
    parser.add_argument("--watchers", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=60, help="that a job takes")
    chosen = parser.parse_args()
    names = {"a loop of 2 s": "loop", "our hook": "hook"}
    units = {"requests": "for each job", "bytes": "for each job", "server CPU": "ms for each job"}
    tables = {
        what: report.Table(f"watching, {what}", unit, "a loop of 2 s", more_is_better=False)
        for what, unit in units.items()
    }
    with darkroom("postgresql"), served("config.wsgi:application") as url:
        for _ in range(chosen.rounds):
            for name, how in names.items():
                for what, figure in _watched(url, how, chosen.watchers, chosen.seconds).items():
                    tables[what].add(name, figure)
        per_second = tables["requests"].found["our hook"][-1] / chosen.seconds
        polls = _most_polls(url)
    report.finish(list(tables.values()), chosen)
    print(
        f"\nOne core answers {polls:.0f} polls/s with p99 below {PATIENCE * 1000:.0f} ms: "
        f"{polls / per_second:.0f} watchers at {per_second:.2f} requests/s each."
    )


def _watched(url: str, how: str, watchers: int, seconds: int) -> dict[str, float]:
    token, jobs = _jobs(watchers)
    node = ["taskset", "-c", str(CORES[-1]), "node", str(Path(__file__).parent / "watchers.mjs"), how, url, token]
    server = _server()
    before, over = _cpu(server), threading.Event()
    mover = threading.Thread(target=_move, args=[jobs, seconds, over])
    mover.start()
    try:
        told = subprocess.run([*node, *jobs], stdout=subprocess.PIPE, check=True)
    finally:
        over.set()
        mover.join()
    found: dict[str, Any] = json.loads(told.stdout)
    return {
        "requests": found["requests"] / watchers,
        "bytes": found["bytes"] / watchers,
        "server CPU": 1000 * (_cpu(server) - before) / watchers,
    }


def _jobs(count: int) -> tuple[str, list[str]]:
    from tests.support.factories import UploadFactory
    from uploads.models import Session, Upload

    session, token = Session.objects.open()
    made = Upload.objects.bulk_create(UploadFactory.build(session=session) for _ in range(count))
    return token, [str(upload.pk) for upload in made]


MOVE = """
UPDATE uploads_upload SET stage = %(stage)s, progress = %(progress)s, version = version + 1,
  event_count = event_count + 1, started_at = now(), updated_at = now(),
  completed_at = CASE WHEN %(stage)s = 'complete' THEN now() END
WHERE id = ANY(%(jobs)s::uuid[])
"""


def _move(jobs: list[str], seconds: int, over: threading.Event) -> None:
    """All of them, as a step that reports 30 times would."""
    from django.db import connection

    steps = [("validating", 10), *(("generating", progress) for progress in range(30, 70, 2))]
    steps += [("storing", 80), ("watermarking", 90), ("complete", 100)]
    with connection.cursor() as cursor:
        for stage, progress in steps:
            if over.wait(seconds / len(steps)):
                break
            cursor.execute(MOVE, {"stage": stage, "progress": progress, "jobs": jobs})
    connection.close()


def _server() -> list[psutil.Process]:
    return [
        process
        for process in psutil.Process(os.getpid()).children(recursive=True)
        if "granian" in " ".join(process.cmdline())
    ]


def _cpu(processes: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def _most_polls(url: str) -> float:
    """The highest steady rate with a bearable p99, in steps of a tenth of what it can at most."""
    from uploads.models import Upload

    token, (job,) = _jobs(1)
    Upload.objects.get(pk=job).update_stage("generating", 45)
    page, most = Page(f"{url}/api/status/{job}", {"X-Session-Token": token}), 0.0
    rate = 100.0
    while True:
        taken = latencies(page, rate, 4, connections=8)
        if len(taken) < 0.95 * rate * 4 or taken[int(0.99 * len(taken))] > PATIENCE:
            return most
        most, rate = rate, rate * 1.15


if __name__ == "__main__":
    main()
