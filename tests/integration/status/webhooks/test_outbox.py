"""What goes out: every change of stage, once, to everybody who asked."""

import json
import threading
from datetime import timedelta
from typing import Any

import pytest
from django.conf import LazySettings, settings
from django.db import connection, transaction
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from status import deliverer, outbox
from status.models import WebhookDelivery, WebhookEndpoint
from status.projections import preview_url
from tests.support.api import Api, develop
from tests.support.factories import UploadFactory
from tests.support.receiver import Receiver
from uploads.errors import CodedError, Rejected
from uploads.models import OutboxEntry, Result, Upload
from uploads.stages import Stage, StepName
from workflows import runner

pytestmark = pytest.mark.django_db


def endpoint(**values: Any) -> WebhookEndpoint:
    return WebhookEndpoint.objects.create(**{"url": "https://receiver.example/hook"} | values)


def told(upload: Upload) -> list[tuple[str, str | None]]:
    """Type and stage of every message about it, in the order of the events."""
    outbox.publish()
    rows = WebhookDelivery.objects.filter(upload=upload).order_by("pk")
    return [(row.type, json.loads(row.body)["data"]["stage"]) for row in rows]


def test_each_stage_of_a_job_is_told_once(api: Api) -> None:
    endpoint()
    upload = api.accepted()
    found = told(upload)
    assert found == []
    for step in StepName:
        runner.run(step, str(upload.pk), "test")
        found = told(upload)
    assert [kind for kind, _ in found] == ["job.stage_changed"] * 4 + ["job.completed"]
    # A claim and its step's end are two changes, published together here: each body says how it is by then.
    assert [stage for _, stage in found] == ["generating", "generating", "storing", "watermarking", "complete"]
    assert OutboxEntry.objects.count() == 0


def test_of_a_deleted_job_nothing_more_is_told(api: Api, hook: Receiver) -> None:
    endpoint(url=hook.url)
    done, under_way = api.finished(), api.accepted()
    outbox.publish()
    under_way.claim(StepName.VALIDATE, timedelta(minutes=1), "run")
    due = WebhookDelivery.objects.filter(upload=done)
    assert due.count() == 5
    done.discard()
    under_way.discard()
    deliverer.deliver()
    assert told(under_way) == []
    assert hook.messages == []
    assert not due.exists()


@pytest.mark.parametrize(
    ("moves", "types"),
    [
        ([(Stage.GENERATING, 40), (Stage.GENERATING, 60), (Stage.GENERATING, 60)], ["job.stage_changed"]),
        ([(Stage.VALIDATING, 10), (Stage.STORING, 80)], ["job.stage_changed", "job.stage_changed"]),
        ([(Stage.COMPLETE, 100)], ["job.completed"]),
        ([(Stage.WATERMARKING, 90), (Stage.COMPLETE, 100)], ["job.stage_changed", "job.completed"]),
        ([(Stage.FAILED, 0)], ["job.failed"]),
    ],
)
def test_whoever_moves_it(moves: list[tuple[Stage, int]], types: list[str]) -> None:
    endpoint()
    upload = UploadFactory.create()
    for stage, progress in moves:
        upload.update_stage(stage, progress)
    upload.refresh_from_db()
    assert [kind for kind, _ in told(upload)] == types


def bodies(upload: Upload) -> list[dict[str, Any]]:
    outbox.publish()
    rows = WebhookDelivery.objects.filter(upload=upload).order_by("pk")
    return [json.loads(row.body)["data"] for row in rows]


@pytest.mark.parametrize("again", [False, True])
def test_a_failure_and_the_retry_after_it_are_two_messages(again: bool) -> None:
    """Also when both are published together, and when it has failed again by then."""
    endpoint()
    upload = UploadFactory.create()
    upload.update_stage(Stage.GENERATING, 45)
    upload.fail(CodedError("GENERATOR_UNAVAILABLE"))
    upload.retry()
    if again:
        upload.fail(CodedError("STORAGE_UNAVAILABLE"))
    kinds = ["job.stage_changed", "job.failed", "job.stage_changed", *(["job.failed"] if again else [])]
    assert [kind for kind, _ in told(upload)] == kinds
    failed = bodies(upload)[1]
    error = CodedError("GENERATOR_UNAVAILABLE")
    assert (failed["status"], failed["stage"], failed["progress"]) == ("failed", "failed", 45)
    assert (failed["isTerminal"], failed["estimatedRemainingSeconds"]) == (True, None)
    assert (failed["run"], failed["attempt"]) == (1, 0)
    assert failed["completedAt"] == failed["updatedAt"] <= bodies(upload)[2]["updatedAt"]
    assert failed["errorMessage"] == error.message
    assert failed["error"] == {
        "code": "GENERATOR_UNAVAILABLE",
        "message": error.message,
        "retryable": True,
        "step": "generate",
    }
    last = bodies(upload)[-1]
    assert last["status"] == ("failed" if again else "processing")
    assert last.get("error", {}).get("code") == ("STORAGE_UNAVAILABLE" if again else None)


def test_a_failure_says_which_run_and_attempt_failed_though_the_job_is_tried_again() -> None:
    endpoint()
    upload = UploadFactory.create()
    for run in (1, 2):
        fence = upload.claim(StepName.VALIDATE, settings.STEP_LEASE, "test")
        assert fence
        upload.fail(CodedError("STORAGE_UNAVAILABLE"), fence=fence)
        upload.retry()
        assert (upload.run, upload.attempt) == (run + 1, 0)
    bodies(upload)
    failures = WebhookDelivery.objects.filter(type="job.failed").order_by("pk")
    data = [json.loads(row.body)["data"] for row in failures]
    assert [(each["run"], each["attempt"]) for each in data] == [(1, 1), (2, 1)]


def test_of_two_messages_about_a_job_the_newer_has_more_events() -> None:
    """Though both were published once the job had ended."""
    endpoint()
    upload = UploadFactory.create()
    upload.update_stage(Stage.GENERATING, 40)
    upload.update_stage(Stage.STORING, 80)
    upload.update_stage(Stage.COMPLETE)
    counts = [body["eventCount"] for body in bodies(upload)]
    told_outside = upload.events.filter(type__in=["step.started", "job.completed"]).order_by("seq")
    assert counts == list(told_outside.values_list("seq", flat=True))
    assert counts == sorted(set(counts))
    assert counts[-1] == upload.event_count


def test_a_step_that_is_tried_again_is_no_news() -> None:
    endpoint()
    upload = UploadFactory.create()
    fence = upload.claim(StepName.VALIDATE, settings.STEP_LEASE, "test")
    assert fence
    upload.advance(20, fence=fence)
    upload.try_again(CodedError("STORAGE_UNAVAILABLE"), runner.backoff(1), fence=fence)
    upload.log("info", "still here")
    assert [kind for kind, _ in told(upload)] == ["job.stage_changed"]


def test_a_message_is_the_status_document_with_the_type_and_time_of_its_event(api: Api) -> None:
    endpoint()
    upload = api.finished()
    outbox.publish()
    delivery = WebhookDelivery.objects.get(type="job.completed")
    event = upload.events.get(type="job.completed")
    body = json.loads(delivery.body)
    status = api.get(f"/api/status/{upload.pk}").json()
    preview = body["data"].pop("previewUrl")
    assert body["type"] == "job.completed"
    assert body["timestamp"] == api.get(f"/api/status/{upload.pk}/events").json()["events"][-1]["timestamp"]
    assert body["data"] == status
    picture: Any = api.client.get(preview.removeprefix("http://127.0.0.1:8000"))
    assert b"".join(picture.streaming_content)[:4] == b"RIFF"
    picture.close()
    assert delivery.message_id == f"evt_{upload.pk.hex}_{event.seq}"
    assert len(delivery.body) < 20_000


def test_a_message_holds_neither_token_nor_what_only_admins_may_know(api: Api) -> None:
    endpoint()
    upload = api.accepted(name="my-secret-name.jpg")
    upload.fail(CodedError("INTERNAL", detail="Traceback: /srv/darkroom"))
    outbox.publish()
    body = WebhookDelivery.objects.get().body
    for word in (api.token, str(api.session.token_hash), "my-secret-name", "Traceback", str(api.session.pk)):
        assert word not in body


def test_the_longest_sentence_still_fits_into_a_message() -> None:
    endpoint()
    upload = UploadFactory.create()
    upload.fail(Rejected("CONTENT_BLOCKED", "\u0001" * 4096))
    outbox.publish()
    body = WebhookDelivery.objects.get().body
    assert len(body.encode()) < 20_000
    assert json.loads(body)["data"]["error"]["code"] == "CONTENT_BLOCKED"


def test_endpoints_get_what_they_asked_for_and_disabled_ones_nothing() -> None:
    ends = endpoint(types=["job.completed", "job.failed"])
    changes = endpoint(types=["job.stage_changed"])
    off = endpoint()
    off.disable("for a test")
    upload = UploadFactory.create()
    upload.update_stage(Stage.GENERATING, 40)
    upload.update_stage(Stage.COMPLETE)
    outbox.publish()
    found = [(d.endpoint_id, d.type) for d in WebhookDelivery.objects.order_by("pk")]
    assert found == [(changes.pk, "job.stage_changed"), (ends.pk, "job.completed")]


def test_everybody_gets_the_same_message() -> None:
    endpoint()
    endpoint()
    upload = UploadFactory.create(webhook_url="https://receiver.example/mine")
    upload.update_stage(Stage.COMPLETE)
    outbox.publish()
    rows = WebhookDelivery.objects.all()
    assert len(rows) == 3
    assert len({(row.message_id, row.body) for row in rows}) == 1
    assert [(row.url, row.host) for row in rows if not row.endpoint_id] == [
        ("https://receiver.example/mine", "receiver.example")
    ]


def test_publishing_takes_as_many_statements_for_a_batch_as_for_one() -> None:
    endpoint()
    UploadFactory.create().update_stage(Stage.COMPLETE)
    with CaptureQueriesContext(connection) as one:
        assert outbox.publish() == 1
    for _ in range(20):
        UploadFactory.create().update_stage(Stage.COMPLETE)
    with CaptureQueriesContext(connection) as more:
        assert outbox.publish() == 20
    assert len(more) == len(one)


def test_more_than_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "BATCH", 4)
    endpoint()
    for _ in range(10):
        UploadFactory.create().update_stage(Stage.COMPLETE)
    assert outbox.publish() == 10
    assert WebhookDelivery.objects.count() == 10


def cannot_be_told(monkeypatch: pytest.MonkeyPatch, uploads: list[Upload]) -> None:
    """Their pictures' storage has no client; those of all others have."""
    lost = {upload.pk for upload in uploads}

    def unless_lost(result: Any) -> Any:
        if result.upload_id in lost:
            raise RuntimeError("no credentials")
        return preview_url(result)

    monkeypatch.setattr("status.webhooks.preview_url", unless_lost)


@pytest.mark.parametrize("batch", [outbox.BATCH, 2])
def test_a_message_that_cannot_be_made_stops_no_other(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, batch: int
) -> None:
    """Also when there are more of them than are published together."""
    monkeypatch.setattr(outbox, "BATCH", batch)
    uploads = [UploadFactory.create() for _ in range(6)]
    for upload in uploads:
        Result.objects.create(upload=upload, full="full.png", preview="a.webp", width=1, height=1)
    endpoint()
    for upload in uploads:
        upload.update_stage(Stage.COMPLETE)
    with monkeypatch.context() as broken:
        cannot_be_told(broken, uploads[:5])
        assert outbox.publish() == 1
    assert [row.upload_id for row in WebhookDelivery.objects.all()] == [uploads[5].pk]
    entries = OutboxEntry.objects.order_by("pk")
    assert [entry.upload_id for entry in entries] == [upload.pk for upload in uploads[:5]]
    (record,) = caplog.records
    assert record.exc_info
    assert f"5 entries, the first is {entries[0]}" in record.getMessage()
    assert outbox.publish() == 5, "a new round begins at the start again"


@pytest.mark.django_db(transaction=True)
def test_an_endpoint_misses_nothing_that_happens_once_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when both come between the two looks of a publisher: at the endpoints, and at what has happened."""
    upload = UploadFactory.create()
    looks: list[str] = []

    def look(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith("SELECT") and ("outboxentry" in sql or "webhookendpoint" in sql):
            looks.append(sql)
            if len(looks) == 2:
                endpoint()
                upload.update_stage(Stage.GENERATING, 40)
        return execute(sql, params, many, context)

    Upload.objects.get(pk=upload.pk).update_stage(Stage.VALIDATING, 10)
    upload.refresh_from_db()
    with connection.execute_wrapper(look):
        outbox.publish()
    outbox.publish()
    assert OutboxEntry.objects.count() == 0
    told_of = [json.loads(row.body)["data"]["eventCount"] for row in WebhookDelivery.objects.all()]
    assert upload.event_count in told_of


def test_a_message_goes_with_its_upload() -> None:
    endpoint()
    upload = UploadFactory.create()
    upload.update_stage(Stage.GENERATING, 40)
    outbox.publish()
    upload.update_stage(Stage.COMPLETE)
    upload.delete()
    assert (OutboxEntry.objects.count(), WebhookDelivery.objects.count()) == (0, 0)


def test_a_test_message_goes_after_a_while(settings: LazySettings) -> None:
    for _ in range(2):
        WebhookDelivery.objects.create(endpoint=endpoint(), message_id="test_1", type="webhook.test", body="{}")
    first = WebhookDelivery.objects.all()[:1].get()
    old = F("created_at") - timedelta(days=settings.RETENTION_DAYS + 1)
    WebhookDelivery.objects.filter(pk=first.pk).update(created_at=old)
    assert deliverer.forget_tests() == 1
    assert not WebhookDelivery.objects.filter(pk=first.pk).exists()


def test_the_lag_is_the_age_of_what_is_oldest() -> None:
    assert outbox.lag_seconds() == (0, 0, 0)
    endpoint()
    upload = UploadFactory.create()
    upload.update_stage(Stage.COMPLETE)
    shift(upload, 100)
    lag = outbox.lag_seconds()
    assert lag.unpublished > 100
    assert lag.undelivered == 0
    outbox.publish()
    lag = outbox.lag_seconds()
    assert lag.unpublished == 0
    assert lag.undelivered > 0
    WebhookDelivery.objects.update(status=WebhookDelivery.DELIVERED)
    assert outbox.lag_seconds() == (0, 0, 0)


def shift(upload: Upload, seconds: int) -> None:
    """Its events happened so long before."""
    upload.events.update(created_at=F("created_at") - timedelta(seconds=seconds))


@pytest.mark.django_db(transaction=True)
def test_what_commits_late_is_not_skipped() -> None:
    """Its events have lower ids than those that were committed, and published, before."""
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time: nothing commits out of order")
    endpoint()
    late, early = UploadFactory.create(), UploadFactory.create()
    written, go_on = threading.Event(), threading.Event()

    def commit_late() -> None:
        try:
            with transaction.atomic():
                Upload.objects.get(pk=late.pk).update_stage(Stage.COMPLETE)
                written.set()
                assert go_on.wait(60)
        finally:
            connection.close()

    thread = threading.Thread(target=commit_late)
    thread.start()
    assert written.wait(60)
    early.update_stage(Stage.COMPLETE)
    assert [kind for kind, _ in told(early)] == ["job.completed"]
    assert told(late) == []
    go_on.set()
    thread.join()
    assert [kind for kind, _ in told(late)] == ["job.completed"]


@pytest.mark.django_db(transaction=True)
def test_publishers_side_by_side_publish_everything_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "BATCH", 5)
    endpoint()
    uploads = [UploadFactory.create() for _ in range(40)]
    for upload in uploads:
        upload.update_stage(Stage.COMPLETE)
    start, counts = threading.Barrier(4), []

    def publish() -> None:
        try:
            start.wait(60)
            counts.append(outbox.publish())
        finally:
            connection.close()

    threads = [threading.Thread(target=publish) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    outbox.publish()  # what each had left to the others
    assert WebhookDelivery.objects.count() == 40
    assert {delivery.upload_id for delivery in WebhookDelivery.objects.all()} == {upload.pk for upload in uploads}
    assert len(counts) == 4
    assert sum(counts) <= 40


def test_an_old_job_is_not_told_of_by_a_later_publisher(api: Api) -> None:
    """Endpoints hear of what happens from when they are there."""
    upload = api.accepted()
    develop(upload)
    outbox.publish()
    endpoint()
    assert told(upload) == []
