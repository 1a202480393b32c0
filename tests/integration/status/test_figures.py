"""The figures: known rows come to known numbers."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import time_machine
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from status import figures, plots
from status.figures import percentile
from tests.support.factories import SessionFactory, UploadFactory
from uploads.models import ProviderCall, Session, Step, Upload
from uploads.retention import first_id_at
from uploads.stages import Stage, StepName

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 20, 12, 34, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _at_that_time() -> Iterator[None]:
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def session() -> Session:
    made: Session = SessionFactory.create()
    return made


_numbers = iter(range(10_000))


def job(
    session: Session,
    accepted: datetime,
    *,
    took: float = 60,
    code: str = "",
    cost: str = "",
    waited: float = 1,
    steps: float | None = None,
    purged: bool = False,
    ended: bool = True,
    run: int = 1,
) -> Upload:
    """One that was accepted then and ended after so many seconds, each of its steps after `steps`."""
    key = first_id_at(accepted).int + next(_numbers)
    done = accepted + timedelta(seconds=took)
    upload = UploadFactory.build(
        id=type(first_id_at(accepted))(int=key),
        session=session,
        run=run,
        stage=(Stage.FAILED if code else Stage.COMPLETE) if ended else Stage.GENERATING,
        progress=100 if ended and not code else 40,
        error_code=code,
        created_at=accepted,
        started_at=accepted + timedelta(seconds=waited),
        completed_at=done if ended else None,
        files_purged_at=NOW if purged else None,
        due_at=accepted,
        updated_at=done,
    )
    Upload.objects.bulk_create([upload])
    if cost:
        ProviderCall.objects.create(
            upload=upload,
            model="m",
            run=1,
            attempt=1,
            fence=1,
            cost_usd=cost,
            reserved_usd="0.05",
            status="settled",
            started_at=accepted,
            ended_at=done,
            deadline_at=done,
        )
    if steps is not None:
        began = accepted + timedelta(seconds=waited)
        spent = {"started_at": began, "completed_at": began + timedelta(seconds=steps)}
        Step.objects.bulk_create(Step(upload=upload, name=name, status="completed", **spent) for name in StepName)
    return Upload.objects.get(pk=upload.pk)


def test_jobs_are_counted_in_the_bucket_in_which_they_were_accepted_and_ended(session: Session) -> None:
    job(session, NOW - timedelta(minutes=1), took=30, cost="0.04")
    job(session, NOW - timedelta(minutes=2), took=30, code="STEP_TIMEOUT", cost="0.01")
    job(session, NOW - timedelta(minutes=6), took=240, code="CANCELED")  # ended in the bucket after its own
    job(session, NOW - timedelta(minutes=50), purged=True)
    job(session, NOW - timedelta(hours=2))
    job(session, NOW - timedelta(minutes=3), ended=False)
    buckets = figures.read("1h")
    assert [bucket.start for bucket in buckets] == [
        datetime(2026, 11, 20, 11, 30, tzinfo=UTC) + timedelta(minutes=5) * index for index in range(13)
    ]
    last, before = buckets[-1], buckets[-2]
    assert (last.accepted, last.completed, last.stopped, last.failures) == (3, 1, 1, {"STEP_TIMEOUT": 1})
    assert last.cost_usd == Decimal("0.05")
    assert (before.accepted, before.ended) == (1, 0)
    assert sum(bucket.accepted for bucket in buckets) == 5
    assert sum(bucket.completed for bucket in buckets) == 2


@pytest.mark.parametrize(
    ("window", "first", "last"),
    [("24h", "2026-11-19 12:00", "2026-11-20 12:00"), ("7d", "2026-11-13 12:00", "2026-11-20 12:00")],
)
def test_the_longer_windows_reach_back_as_they_say(session: Session, window: str, first: str, last: str) -> None:
    job(session, NOW - timedelta(days=6), took=1)
    job(session, NOW - timedelta(hours=23), took=1)
    buckets = figures.read(window)
    assert [f"{bucket.start:%Y-%m-%d %H:%M}" for bucket in (buckets[0], buckets[-1])] == [first, last]
    assert sum(bucket.completed for bucket in buckets) == (1 if window == "24h" else 2)


def test_steps_and_waits_are_sampled_from_the_latest(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "SAMPLES", 3)
    for number in range(1, 5):
        job(session, NOW - timedelta(minutes=3) + timedelta(seconds=number), waited=number, steps=10 * number)
    last = figures.read("1h")[-1]
    assert sorted(last.durations[StepName.GENERATE]) == [20, 30, 40]
    assert sorted(last.waits) == [2, 3, 4]


def test_a_retried_job_says_nothing_about_the_queue(session: Session) -> None:
    job(session, NOW - timedelta(minutes=3), steps=5, run=2)
    assert figures.read("1h")[-1].waits == []


def test_beyond_a_number_of_jobs_the_rest_is_left_out_and_said(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    for minutes in (1, 2, 20, 40):
        job(session, NOW - timedelta(minutes=minutes), took=1)
    monkeypatch.setattr(figures, "MOST_JOBS", 2)
    buckets = figures.read("1h")
    assert [bucket.counted for bucket in buckets] == [False] * 12 + [True]
    assert "is left out" in page("1h") or "are left out" in page("1h")


def test_the_queue_is_as_old_as_its_oldest(session: Session) -> None:
    assert figures.queue() == (0, None, 0, None)
    job(session, NOW - timedelta(minutes=10), ended=False)
    UploadFactory.create(session=session, created_at=NOW - timedelta(seconds=90))
    UploadFactory.create(session=session, created_at=NOW - timedelta(seconds=30))
    assert figures.queue() == (2, 90.0, 3, 600.0)


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([], 0.5, None), ([7], 0.99, 7), ([1, 2, 3, 4], 0.5, 2), ([*range(1, 101)], 0.95, 95), ([3, 1, 2], 1, 3)],
)
def test_percentiles_are_by_nearest_rank(values: list[float], share: float, expected: float | None) -> None:
    assert percentile(values, share) == expected


@pytest.mark.parametrize(
    ("value", "words"), [(0, "0 s"), (2.5, "2.5 s"), (100, "100 s"), (150, "2.5 min"), (9000, "2.5 h")]
)
def test_times_are_said_in_the_unit_that_suits(value: float, words: str) -> None:
    assert plots.seconds(value) == words


@pytest.mark.parametrize(("most", "top"), [(0, 1), (1, 1), (3, 4), (7, 10), (12, 20), (0.3, 0.4), (500, 500)])
def test_the_scale_ends_at_a_short_number_that_is_not_less(most: float, top: float) -> None:
    assert plots.nice(most) == pytest.approx(top)


def page(window: str, *permissions: str) -> str:
    user, _ = User.objects.get_or_create(username="viewer", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions or ["view_upload"]))
    client = Client()
    client.force_login(user)
    response = client.get("/admin/figures/", {"window": window})
    return response.content.decode() if response.status_code == 200 else str(response.status_code)


def test_the_page_says_them_in_words_and_in_drawings(session: Session) -> None:
    for _ in range(3):
        job(session, NOW - timedelta(minutes=1), took=30, cost="0.25", steps=2)
    job(session, NOW - timedelta(minutes=1), took=30, code="STEP_TIMEOUT")
    shown = page("24h")
    assert "<title>20 Nov 12:00, completed: 3</title>" in shown
    assert "<title>STEP_TIMEOUT: 1</title>" in shown
    assert "<title>20 Nov 12:00, half took less: 2 s</title>" in shown
    assert "<dd>25.0%</dd>" in shown
    assert "<dd>$0.75</dd>" in shown
    assert "style=" not in shown.partition("<main")[2]
    assert "20 Nov, cost of the paid calls: $0.75" in page("7d")


def test_an_empty_installation_has_a_page_too() -> None:
    assert page("1h").count("Nothing in this time.") == 9
    assert "24 hours" in page("nonsense")


def test_the_page_takes_as_many_statements_for_many_as_for_none(session: Session) -> None:
    page("24h")
    with CaptureQueriesContext(connection) as none:
        page("24h")
    for hours in range(20):
        job(session, NOW - timedelta(hours=hours), took=1, steps=1, code="" if hours % 3 else "STEP_TIMEOUT")
    with CaptureQueriesContext(connection) as many:
        page("24h")
    assert len(many) == len(none)


def test_only_who_may_see_uploads_sees_them() -> None:
    assert page("1h", "view_session") == "403"
    assert Client().get("/admin/figures/").status_code == 302
