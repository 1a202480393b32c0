"""Crashes and races at the worst moment, made to happen inside this process: between two statements, or while a file
is written."""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import current_app
from django.conf import LazySettings
from django.core.files import File
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import OperationalError, connection
from django.db.models.functions import Now

from status import analytics, outbox
from status.models import WebhookDelivery, WebhookEndpoint
from status.posting import Answer
from tests.support import pictures
from tests.support.api import Api, develop, stored_files
from tests.support.factories import UploadFactory
from tests.support.gemini import Gemini
from uploads import retention
from uploads.errors import CodedError, IllegalTransition, LeaseLost
from uploads.intake import Received, again, receive
from uploads.models import OutboxEntry, Upload
from uploads.stages import Stage, StepName
from uploads.storage import SignedFileSystemStorage
from workflows import recovery, runner

pytestmark = pytest.mark.django_db


def before(statement: str, act: Callable[[], object], *, nth: int = 1) -> AbstractContextManager[None]:
    """Inside the block, `act` is called once: just before the `nth` SQL statement that begins with this pattern."""
    left = nth

    def execute(execute: Callable[..., Any], sql: str, *more: Any) -> Any:
        nonlocal left
        if re.match(statement, sql):
            left -= 1
            if not left:
                act()
        return execute(sql, *more)

    return connection.execute_wrapper(execute)


def crash() -> None:
    raise OperationalError("the connection is lost")


@pytest.fixture
def dead_broker() -> Iterator[None]:
    """The embedded broker has no folder, so every publish raises OSError."""
    folder = Path(current_app.conf.broker_transport_options["folder"])
    aside = folder.with_name("broker-aside")
    folder.mkdir(parents=True, exist_ok=True)
    folder.rename(aside)
    folder.touch()
    try:
        yield
    finally:
        folder.unlink()
        aside.rename(folder)


@pytest.mark.usefixtures("dead_broker")
def test_a_dead_broker_keeps_no_job_from_its_end(api: Api) -> None:
    due, late = api.accepted(), api.accepted()
    Upload.objects.filter(pk=late.pk).update(deadline_at=late.created_at)
    recovery.sweep()
    late.refresh_from_db()
    due.refresh_from_db()
    assert (late.status, late.error_code) == ("failed", "DEADLINE_EXCEEDED")
    assert due.hinted_at is None, "what was not sent is sent by the next sweep"


def test_a_claimed_step_is_claimed_by_nobody_else() -> None:
    upload = UploadFactory.create()
    claims = [Upload.objects.get(pk=upload.pk).claim(StepName.VALIDATE, timedelta(hours=1), "task") for _ in range(2)]
    assert claims == [1, None]


@pytest.mark.parametrize(
    "write",
    [
        lambda upload, fence: upload.update_stage(Stage.STORING, 80, fence=fence),
        lambda upload, fence: upload.advance(20, fence=fence),
        lambda upload, fence: upload.complete_step(fence=fence, output={"work": "late"}),
        lambda upload, fence: upload.fail(CodedError("INTERNAL"), fence=fence),
        lambda upload, fence: upload.try_again(CodedError("INTERNAL"), timedelta(0), fence=fence),
        lambda upload, fence: upload.hand_back(fence=fence),
        lambda upload, fence: upload.log("info", "late", fence=fence),
    ],
    ids=["update_stage", "advance", "complete_step", "fail", "try_again", "hand_back", "log"],
)
def test_a_worker_whose_step_was_claimed_anew_changes_nothing(write: Callable[[Upload, int], object]) -> None:
    upload = UploadFactory.create()
    stale, current = (upload.claim(StepName.VALIDATE, timedelta(0), "task") for _ in range(2))
    assert stale is not None
    assert current == stale + 1
    row, told = Upload.objects.values().get(pk=upload.pk), list(upload.events.values())
    with pytest.raises(LeaseLost):
        write(upload, stale)
    assert not upload.renew(stale, timedelta(minutes=1))
    assert Upload.objects.values().get(pk=upload.pk) == row
    assert list(upload.events.values()) == told


def test_a_late_message_gives_a_poison_picture_no_further_attempt() -> None:
    """Each worker dies with it: its lease is over, and nothing else was recorded."""
    upload = UploadFactory.create(max_attempts=3)
    fences = [upload.claim(StepName.VALIDATE, timedelta(0), "task") for _ in range(5)]
    assert fences == [1, 2, 3, None, None]
    recovery.sweep()
    upload.refresh_from_db()
    assert (upload.status, upload.error_code, upload.attempt) == ("failed", "WORKER_LOST", 3)


def test_a_writer_that_was_overtaken_decides_anew() -> None:
    upload = UploadFactory.create()

    def somebody_else_is_quicker() -> None:
        Upload.objects.get(pk=upload.pk).cancel()

    with before('UPDATE "uploads_upload"', somebody_else_is_quicker), pytest.raises(IllegalTransition):
        upload.update_stage(Stage.GENERATING, 40)
    upload.refresh_from_db()
    assert (upload.stage, upload.error_code) == (Stage.FAILED, "CANCELED")
    assert list(upload.events.order_by("seq").values_list("seq", "type")) == [(1, "job.failed")]


@pytest.mark.parametrize("table", ["uploads_step", "uploads_event", "uploads_outboxentry"])
def test_a_change_is_written_whole_or_not_at_all(table: str) -> None:
    upload = UploadFactory.create()
    row = Upload.objects.values().get(pk=upload.pk)
    with before(f'INSERT INTO "{table}"', crash), pytest.raises(OperationalError):
        upload.update_stage(Stage.GENERATING, 40)
    assert Upload.objects.values().get(pk=upload.pk) == row
    assert not upload.steps.exists()
    assert not upload.events.exists()
    assert not OutboxEntry.objects.exists()


class WatchedStorage(SignedFileSystemStorage):
    """Notes of each access whether a transaction was open."""

    accesses: list[tuple[str, bool]] = []  # noqa: RUF012 - Django makes the storage, and the test reads the notes

    def _note(self, what: str) -> None:
        self.accesses.append((what, connection.in_atomic_block))

    def open(self, name: str, mode: str = "rb") -> "File[Any]":
        self._note("read")
        return super().open(name, mode)

    def _save(self, name: str, content: "File[Any]") -> str:
        self._note("write")
        return super()._save(name, content)

    def copy(self, name: str, to: str) -> str:
        self._note("copy")
        return super().copy(name, to)

    def delete(self, name: str) -> None:
        self._note("delete")
        super().delete(name)


@pytest.mark.django_db(transaction=True)
def test_no_transaction_is_open_while_files_are_read_or_written(api: Api, settings: LazySettings) -> None:
    backend = f"{WatchedStorage.__module__}.{WatchedStorage.__qualname__}"
    settings.STORAGES = settings.STORAGES | {"default": {"BACKEND": backend}}
    WatchedStorage.accesses.clear()
    upload = api.finished()
    assert upload.status == "completed"
    again(upload, prompt_version="v2")
    upload.discard()
    Upload.objects.filter(pk=upload.pk).update(deleted_at=Now() - timedelta(days=1))
    assert retention.retain().deleted == 1
    assert {what for what, _ in WatchedStorage.accesses} == {"read", "write", "copy", "delete"}
    assert [what for what, in_transaction in WatchedStorage.accesses if in_transaction] == []


def test_who_comes_second_with_a_key_has_the_job_of_the_first(api: Api) -> None:
    picture = pictures.encoded(pictures.landscape(), "JPEG")
    first: list[Received] = []

    class Overtaken(SimpleUploadedFile):
        """While it is written into the storage, the same picture comes with the same key, and is accepted."""

        passes = 0

        def chunks(self, chunk_size: int | None = None) -> Iterator[bytes]:
            self.passes += 1
            if self.passes == 2:
                first.append(receive(SimpleUploadedFile("a.jpg", picture), api.session, idempotency_key="k1"))
            yield picture

    second = receive(Overtaken("a.jpg", picture), api.session, idempotency_key="k1")
    assert [one.replayed for one in (*first, second)] == [False, True]
    assert [one.upload.pk for one in first] == [second.upload.pk]
    assert Upload.objects.count() == len(stored_files()) == 1


@pytest.mark.parametrize("at", ['INSERT .*INTO "status_webhookdelivery"', 'DELETE FROM "uploads_outboxentry"'])
def test_a_publisher_that_dies_leaves_all_to_the_next(at: str) -> None:
    WebhookEndpoint.objects.create(url="https://receiver.example/hook")
    upload = UploadFactory.create()
    upload.update_stage(Stage.COMPLETE)
    with before(at, crash), pytest.raises(OperationalError):
        outbox.publish()
    assert not WebhookDelivery.objects.exists()
    assert outbox.publish() == 1
    assert list(WebhookDelivery.objects.values_list("upload", "type")) == [(upload.pk, "job.completed")]


def test_what_is_told_twice_counts_once(settings: LazySettings) -> None:
    """PostHog keeps one event of each uuid."""
    settings.POSTHOG_API_KEY = "phc_test"
    UploadFactory.create().update_stage(Stage.COMPLETE)
    entry = OutboxEntry.objects.get()
    once, again = analytics.captures(entry), analytics.captures(entry)
    assert [capture.event for capture in once] == ["status_complete"]
    assert [capture.uuid for capture in once] == [capture.uuid for capture in again]


def test_the_answer_to_an_attempt_that_was_given_up_does_not_count() -> None:
    endpoint = WebhookEndpoint.objects.create(url="https://receiver.example/hook")
    WebhookDelivery.objects.create(endpoint=endpoint, message_id="evt_1", type="job.completed", body="{}")
    [given_up] = WebhookDelivery.objects.due().claim(1)
    WebhookDelivery.objects.update(due_at=Now())
    [current] = WebhookDelivery.objects.due().claim(1)
    assert not given_up.record(Answer(200))
    current.refresh_from_db()
    assert (current.status, current.attempts, current.history) == (WebhookDelivery.PENDING, 2, [])
    assert current.record(Answer(200))


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_dies_with_a_picture_it_has_paid_for_leaves_it_to_the_next(api: Api, gemini: Gemini) -> None:
    upload = api.accepted()
    runner.run(StepName.VALIDATE, str(upload.pk), "task")
    # The first of them is the claim's, the second would be the end of the step.
    with before('INSERT INTO "uploads_step"', crash, nth=2), pytest.raises(OperationalError):
        runner.run(StepName.GENERATE, str(upload.pk), "task")
    Upload.objects.filter(pk=upload.pk).update(lease_until=upload.created_at)
    develop(upload)
    assert (upload.status, upload.attempt, len(gemini.requests)) == ("completed", 1, 1)
