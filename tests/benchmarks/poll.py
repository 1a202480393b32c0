"""What a poll costs, beside what one would put together instead: `python -m tests.benchmarks.poll`.

One granian process each, only one of them asked at a time, each round all of them in turn.
"""

import json
import os
import statistics
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from uuid import uuid4

from tests.benchmarks import report
from tests.benchmarks.environment import darkroom
from tests.benchmarks.serving import Page, latencies, rate, served

REDIS = os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379/14")


OURS = ("status, 200", "status, 304", "events, none new")


def main() -> None:
    parser = report.options(__doc__)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="postgresql")
    parser.add_argument("--seconds", type=int, default=3, help="for each of them in each round")
    chosen = parser.parse_args()
    table = report.Table(f"poll, {chosen.database}", "requests/s", "constant view", guarded=OURS)
    with darkroom(chosen.database), _pages() as pages:
        for _ in range(chosen.rounds):
            for name, page in pages.items():
                table.add(name, rate(page, chosen.seconds))
        if chosen.check or chosen.commit:
            report.finish([table], chosen)
            return
        half = statistics.median(table.found["status, 200"]) / 2
        waits: dict[str, list[list[float]]] = {"constant view": [], "status, 200": []}
        for _ in range(chosen.rounds):
            for name, found in waits.items():
                found.append(latencies(pages[name], half, 2 * chosen.seconds))
    report.finish([table], chosen)
    beside = table.beside("celery-progress, Redis")
    print(f"\nof celery-progress: 200 {beside['status, 200']:.2f}, 304 {beside['status, 304']:.2f}")
    print(f"at {half:.0f} requests/s, half of what status, 200, can; of {chosen.rounds} stretches the median:")
    for name, found in waits.items():
        p50, p99 = (statistics.median(taken[int(share * len(taken))] for taken in found) for share in (0.5, 0.99))
        print(f"{name:38} p50 {1000 * p50:.1f} ms, p99 {1000 * p99:.1f} ms")


@contextmanager
def _pages() -> Iterator[dict[str, Page]]:
    job, token = job_under_way()
    task = str(uuid4())
    with ExitStack() as servers:
        ours = servers.enter_context(served("config.wsgi:application"))
        redis = servers.enter_context(_rival(REDIS, task))
        results = servers.enter_context(_rival("django-db", task))
        status, mine = f"{ours}/api/status/{job}", {"X-Session-Token": token}
        known = mine | {"If-None-Match": _etag(status, mine)}
        yield {
            "constant view": Page(f"{redis}/constant", {}),
            "raw prepared query": Page(f"{redis}/raw/{job}", {}),
            "lookup and DRF serializer": Page(f"{redis}/serialized/{job}", {}),
            "celery-progress, Redis": Page(f"{redis}/celery-progress/{task}", {}),
            "django-celery-results": Page(f"{results}/celery-results/{task}", {}),
            "status, 200": Page(status, mine),
            "status, 304": Page(status, known, 304),
            "events, none new": Page(f"{status}/events?lastEventId=1000", mine),
        }


@contextmanager
def _rival(results: str, task: str) -> Iterator[str]:
    """A server whose task is in the middle of its work, as its own recorder would say."""
    environment = {"RIVAL_RESULTS": results, "DJANGO_SETTINGS_MODULE": "tests.benchmarks.rivals.settings"}
    state = (
        "import sys; from tests.benchmarks.rivals.wsgi import app; from django.core.management import call_command;"
        "call_command('migrate', 'django_celery_results', verbosity=0);"
        "app.backend.store_result(sys.argv[1],"
        "{'pending': False, 'current': 45, 'total': 100, 'percent': 45.0, 'description': 'generating'}, 'PROGRESS')"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", state, task], env=os.environ | environment, check=True)
    with served("tests.benchmarks.rivals.wsgi:application", environment) as url:
        yield url


def job_under_way() -> tuple[str, str]:
    from tests.support.factories import UploadFactory
    from uploads.models import Session
    from uploads.stages import Stage

    session, token = Session.objects.open()
    upload = UploadFactory.create(session=session)
    upload.update_stage(Stage.GENERATING, 45)
    return str(upload.pk), token


def _etag(url: str, headers: dict[str, str]) -> str:
    request = urllib.request.Request(url, headers=headers)  # noqa: S310
    with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
        assert json.loads(response.read())["progress"] == 45
        return str(response.headers["ETag"])


if __name__ == "__main__":
    main()
