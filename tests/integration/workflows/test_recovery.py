"""The sweeper. A broker that keeps its messages in a folder shows what was hinted."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from celery import current_app
from django.conf import settings
from django.db import connection, transaction
from django.db.models import F
from django.test import TestCase
from django.test.utils import CaptureQueriesContext

from tests.support.api import Api
from uploads.errors import LeaseLost
from uploads.models import Upload
from uploads.stages import Stage, StepName
from workflows import recovery
from workflows.errors import Deferred, Transient

pytestmark = pytest.mark.django_db


def hints() -> int:
    """How many messages wait, all queues together."""
    folder = Path(current_app.conf.broker_transport_options["folder"])
    return sum(1 for path in folder.glob("queue.*/*") if path.is_file())


def hinted_by_a_sweep() -> int:
    before = hints()
    with TestCase.captureOnCommitCallbacks(execute=True):
        recovery.sweep()
    return hints() - before


def shift(upload: Upload, by: timedelta) -> None:
    """As if that much time had passed since."""
    columns = ("due_at", "hinted_at", "lease_until", "deadline_at")
    Upload.objects.filter(pk=upload.pk).update(**{column: F(column) - by for column in columns})
    upload.refresh_from_db()


@pytest.fixture
def upload(api: Api) -> Upload:
    return api.accepted()


def test_what_is_due_is_hinted_and_not_again_at_once(upload: Upload) -> None:
    assert hinted_by_a_sweep() == 1
    assert hinted_by_a_sweep() == 0


def test_a_hint_is_repeated_after_a_minute_then_after_twice_as_long_each_time(upload: Upload) -> None:
    hinted_by_a_sweep()
    hinted = []
    for seconds in (30, 40, 30, 60, 100, 100, 200, 250):
        shift(upload, timedelta(seconds=seconds))
        hinted.append(hinted_by_a_sweep())
    assert hinted == [0, 1, 0, 1, 0, 1, 0, 1]


def test_what_somebody_works_on_is_left_alone(upload: Upload) -> None:
    upload.claim(StepName.VALIDATE, timedelta(seconds=30), "task")
    assert hinted_by_a_sweep() == 0
    shift(upload, timedelta(seconds=31))
    assert hinted_by_a_sweep() == 1


def test_an_abandoned_step_goes_on_as_the_next_attempt(upload: Upload) -> None:
    first = upload.claim(StepName.VALIDATE, timedelta(seconds=30), "task-1")
    shift(upload, timedelta(seconds=31))
    second = upload.claim(StepName.VALIDATE, timedelta(seconds=30), "task-2")
    assert first is not None
    assert second == first + 1
    assert (upload.attempt, upload.run_id) == (2, "task-2")
    assert upload.events.order_by("-seq")[0].type == "step.retrying"


def test_what_was_handed_back_or_deferred_was_not_interrupted(upload: Upload) -> None:
    """A record that tells of lost workers where there were none is not true."""

    def claimed() -> int:
        fence = upload.claim(StepName.VALIDATE, timedelta(seconds=30), "task")
        assert fence
        return fence

    upload.try_again(Transient("INTERNAL"), timedelta(0), fence=claimed())
    upload.try_again(Deferred("GENERATOR_BUSY"), timedelta(0), fence=claimed(), counts=False)
    upload.hand_back(fence=claimed())
    claimed()
    told = list(upload.events.filter(type="step.retrying").values_list("message", flat=True))
    assert len(told) == 2
    assert not any("interrupted" in message for message in told)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "1 s"), (119, "119 s"), (150, "2 minutes"), (7190, "120 minutes"), (7200, "2 hours"), (61000, "17 hours")],
)
def test_how_long_a_step_waits_is_said_as_one_says_it(upload: Upload, seconds: int, words: str) -> None:
    fence = upload.claim(StepName.VALIDATE, timedelta(seconds=30), "task")
    assert fence
    upload.try_again(Transient("STORAGE_UNAVAILABLE"), timedelta(seconds=seconds), fence=fence)
    told = upload.events.order_by("-seq")[0].message
    assert told == f"The picture could not be stored or fetched. Retrying in {words}."


def test_a_step_that_nobody_has_claimed_is_completed_by_nobody(upload: Upload) -> None:
    fence = upload.claim(StepName.VALIDATE, timedelta(seconds=30), "task")
    upload.update_stage(Stage.GENERATING, 30, fence=fence)
    with pytest.raises(LeaseLost):
        upload.complete_step(fence=upload.fence, output={})
    assert upload.steps.filter(name=StepName.GENERATE).count() == 0


def test_a_step_that_kills_its_workers_fails_after_the_last_attempt(upload: Upload) -> None:
    claims = 0
    for _ in range(6):
        claims += upload.claim(StepName.VALIDATE, timedelta(seconds=30), "task") is not None
        recovery.sweep()
        upload.refresh_from_db()
        shift(upload, timedelta(seconds=31))
        recovery.sweep()
        upload.refresh_from_db()
    assert claims == upload.max_attempts == 3
    assert (upload.status, upload.error_code, upload.progress) == ("failed", "WORKER_LOST", 10)


@pytest.mark.parametrize("claimed", [True, False])
def test_a_job_out_of_time_fails(upload: Upload, claimed: bool) -> None:
    if claimed:
        upload.claim(StepName.VALIDATE, timedelta(days=2), "task")
    shift(upload, timedelta(days=1, seconds=1))
    recovery.sweep()
    upload.refresh_from_db()
    assert (upload.status, upload.error_code) == ("failed", "DEADLINE_EXCEEDED")
    assert upload.events.filter(type="job.failed").count() == 1


def test_what_has_ended_is_never_hinted(api: Api, upload: Upload) -> None:
    upload.cancel()
    finished = api.finished()
    recovery.sweep()
    for ended in (upload, finished):
        shift(ended, timedelta(days=400))
    before = list(Upload.objects.order_by("pk").values("pk", "version", "hinted_at"))
    assert hinted_by_a_sweep() == 0
    assert list(Upload.objects.order_by("pk").values("pk", "version", "hinted_at")) == before


def test_a_sweep_is_bounded_and_the_next_goes_on(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(5):
        api.accepted()
    monkeypatch.setattr(recovery, "BATCH", 2)
    recovery.sweep()
    assert [hinted_by_a_sweep() for _ in range(3)] == [2, 1, 0]


def test_what_a_worker_was_quick_to_take_is_not_marked(api: Api) -> None:
    quick, slow = api.accepted(), api.accepted()
    hinted = list(recovery.unhinted())
    quick.claim(StepName.VALIDATE, timedelta(seconds=30), "task")
    recovery._mark(hinted)
    assert [Upload.objects.get(pk=upload.pk).hinted_at is None for upload in (quick, slow)] == [True, False]


def test_a_backlog_is_hinted_again_within_minutes_however_long_it_has_waited(upload: Upload) -> None:
    """Its hints may be lost with their broker."""
    shift(upload, timedelta(hours=5))
    assert hinted_by_a_sweep() == 1
    shift(upload, recovery.SELDOM - timedelta(seconds=5))
    assert hinted_by_a_sweep() == 0
    shift(upload, timedelta(seconds=10))
    assert hinted_by_a_sweep() == 1


def test_what_is_hopeless_is_not_hinted(upload: Upload) -> None:
    shift(upload, timedelta(days=1, seconds=1))
    assert hinted_by_a_sweep() == 0


def test_to_mark_many_costs_what_it_costs_to_mark_one(api: Api) -> None:
    def cost() -> int:
        hinted = list(recovery.unhinted())
        with CaptureQueriesContext(connection) as queries:
            recovery._mark(hinted)
        assert not recovery.unhinted().exists()
        return len(queries)

    api.accepted()
    one = cost()
    for number in range(6):
        upload = api.accepted()
        Upload.objects.filter(pk=upload.pk).update(version=1 + number % 3)
    assert cost() == one


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif("sqlite" in settings.DATABASES["default"]["ENGINE"], reason="SQLite locks no single rows")
def test_a_row_that_somebody_is_changing_is_left_to_the_next_sweep(api: Api) -> None:
    changing, free = api.accepted(), api.accepted()
    hinted = list(recovery.unhinted())
    with changing_somewhere(changing):
        recovery._mark(hinted)
        assert [Upload.objects.get(pk=upload.pk).hinted_at is None for upload in (changing, free)] == [True, False]


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif("sqlite" in settings.DATABASES["default"]["ENGINE"], reason="SQLite locks no single rows")
def test_a_hopeless_row_that_somebody_is_changing_stops_no_sweep(api: Api) -> None:
    changing, hopeless, due = (api.accepted() for _ in range(3))
    for upload in (changing, hopeless):
        shift(upload, timedelta(days=1, seconds=1))
    with changing_somewhere(changing):
        recovery.sweep()
        codes = dict(Upload.objects.values_list("pk", "error_code"))
        assert codes == {changing.pk: "", hopeless.pk: "DEADLINE_EXCEEDED", due.pk: ""}
        assert Upload.objects.get(pk=due.pk).hinted_at
    recovery.sweep()
    assert Upload.objects.get(pk=changing.pk).error_code == "DEADLINE_EXCEEDED"


@contextmanager
def changing_somewhere(upload: Upload) -> Iterator[None]:
    """Another transaction holds the row."""
    locked, over = threading.Event(), threading.Event()

    def change() -> None:
        with transaction.atomic():
            Upload.objects.select_for_update().get(pk=upload.pk)
            locked.set()
            over.wait()
        connection.close()

    somebody = threading.Thread(target=change)
    somebody.start()
    locked.wait()
    try:
        yield
    finally:
        over.set()
        somebody.join()
