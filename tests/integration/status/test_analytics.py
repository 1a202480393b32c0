"""What PostHog is told, to the letter, and what becomes of it while PostHog is away. The client is the real one."""

import random
import threading
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import transaction
from django.db.models import F

from status import analytics, outbox
from status.models import Capture
from tests.support.api import Api
from tests.support.factories import UploadFactory
from tests.support.posthog import PostHog
from uploads.errors import CodedError
from uploads.models import Upload
from uploads.stages import Stage
from workflows import tasks

pytestmark = pytest.mark.django_db


@pytest.fixture
def every_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analytics, "SAMPLE", 1)


def properties(event: Any) -> Any:
    """Without the word that keeps it off a map, which every event has."""
    assert event["properties"].pop("$geoip_disable") is True
    return event["properties"]


def send_now() -> None:
    """What a process does before it ends."""
    analytics._background().flush(timeout_seconds=60)


@pytest.mark.usefixtures("key", "every_poll")
def test_upload_poll_and_view(api: Api, hog: PostHog) -> None:
    upload = api.accepted(name="private-name.jpg", source="order-7")
    api.get(f"/api/status/{upload.pk}")
    upload.update_stage(Stage.GENERATING, 45)
    api.get(f"/api/status/{upload.pk}")
    finished = api.finished()
    api.get(f"/api/results/{finished.result.pk}")
    send_now()
    job = str(upload.pk)
    assert [(event["event"], properties(event)) for event in hog.events] == [
        ("upload_received", {"upload_id": job}),
        ("status_poll", {"upload_id": job, "stage": None, "progress": 0}),
        ("status_poll", {"upload_id": job, "stage": "generating", "progress": 45}),
        ("upload_received", {"upload_id": str(finished.pk)}),
        ("result_viewed", {"upload_id": str(finished.pk), "result_id": str(finished.result.pk)}),
    ]
    assert {event["distinct_id"] for event in hog.events} == {str(api.session.pk)}
    assert {frozenset(event) for event in hog.events} == {
        frozenset({"event", "distinct_id", "properties", "timestamp", "uuid"})
    }


@pytest.mark.usefixtures("key")
def test_an_upload_that_came_before_is_not_received_twice(api: Api, hog: PostHog) -> None:
    api.send(key="one")
    api.send(key="one")
    send_now()
    assert len(hog.named("upload_received")) == 1


@pytest.mark.usefixtures("key")
def test_one_poll_in_ten(api: Api, hog: PostHog) -> None:
    upload = UploadFactory.create(session=api.session)
    random.seed(7)
    for _ in range(400):
        analytics.status_poll(lambda: upload)
    send_now()
    assert 20 <= len(hog.named("status_poll")) <= 60


@pytest.mark.usefixtures("key")
def test_the_end_of_a_job(api: Api, hog: PostHog) -> None:
    finished = api.finished()
    event = finished.events.get(type="job.completed")
    outbox.publish()
    assert analytics.send_captures() == 1
    (told,) = hog.named("status_complete")
    took = properties(told)
    assert took == {
        "upload_id": str(finished.pk),
        "result_id": str(finished.result.pk),
        "total_duration_ms": took["total_duration_ms"],
    }
    status = api.get(f"/api/status/{finished.pk}").json()
    assert finished.completed_at
    seconds = (finished.completed_at - finished.created_at).total_seconds()
    assert took["total_duration_ms"] == round(seconds * 1000)
    assert told["distinct_id"] == str(api.session.pk)
    assert told["timestamp"].startswith(event.created_at.isoformat(timespec="milliseconds")[:23])
    assert status["completedAt"][:19] == told["timestamp"][:19]
    assert Capture.objects.count() == 0


@pytest.mark.usefixtures("key")
def test_a_failure_is_told_as_it_was_though_the_job_goes_on(api: Api, hog: PostHog) -> None:
    upload = api.accepted()
    upload.update_stage(Stage.GENERATING, 45)
    upload.fail(CodedError("GENERATOR_UNAVAILABLE", "Try it again.", detail="429 from the model: quota of project 7"))
    upload.retry()
    upload.cancel()
    outbox.publish()
    assert analytics.send_captures() == 2
    place = {"upload_id": str(upload.pk), "final_stage": "generating", "final_progress": 45}
    assert [properties(event) for event in hog.named("status_failed")] == [
        place | {"error_code": "GENERATOR_UNAVAILABLE"},
        place | {"error_code": "CANCELED"},
    ]
    uuids = {event["uuid"] for event in hog.events}
    assert len(uuids) == 2


@pytest.mark.usefixtures("key")
def test_a_job_that_never_began_has_no_stage_to_fail_in(api: Api, hog: PostHog) -> None:
    upload = api.accepted()
    upload.cancel()
    outbox.publish()
    analytics.send_captures()
    assert properties(hog.named("status_failed")[0]) == {
        "upload_id": str(upload.pk),
        "final_stage": None,
        "final_progress": 0,
        "error_code": "CANCELED",
    }


def ended(count: int = 1) -> list[Upload]:
    uploads = [UploadFactory.create() for _ in range(count)]
    for upload in uploads:
        upload.update_stage(Stage.COMPLETE)
    outbox.publish()
    return uploads


def passes(time: timedelta) -> None:
    Capture.objects.update(due_at=F("due_at") - time)


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize("status", [500, 503, 429, 401])
def test_what_posthog_does_not_take_is_kept_and_sent_later_with_the_same_uuid(hog: PostHog, status: int) -> None:
    hog.status = status
    uploads = ended(5)
    kept = set(Capture.objects.values_list("uuid", flat=True))
    for _ in range(4):
        assert analytics.send_captures() == 0
        passes(timedelta(hours=1))
    assert Capture.objects.count() == 5
    hog.status = 200
    assert analytics.send_captures() == 5
    assert {event["properties"]["upload_id"] for event in hog.events} == {str(upload.pk) for upload in uploads}
    assert {UUID(event["uuid"]) for event in hog.events} == kept
    assert len(hog.events) == 5


@pytest.mark.usefixtures("key")
def test_one_event_finds_out_that_posthog_is_away_and_waits_longer_each_time(hog: PostHog) -> None:
    hog.status = 500
    ended(3)
    analytics.send_captures()
    assert sorted(Capture.objects.values_list("attempts", flat=True)) == [0, 0, 1]
    for _ in range(20):
        Capture.objects.filter(attempts=0).delete()
        passes(timedelta(seconds=700))
        analytics.send_captures()
    capture = Capture.objects.get()
    assert capture.attempts == 21


@pytest.mark.usefixtures("key")
def test_what_a_killed_process_had_taken_is_sent_by_another(hog: PostHog) -> None:
    ended()
    assert len(analytics._claim()) == 1
    assert analytics.send_captures() == 0
    passes(analytics.LEASE + timedelta(seconds=1))
    assert analytics.send_captures() == 1


@pytest.mark.usefixtures("key")
def test_a_process_that_stops_sends_what_it_has_begun_and_leaves_the_rest_to_others(hog: PostHog) -> None:
    ended(5)
    hog.hangs = True
    stopping = threading.Event()

    def stops() -> None:
        hog.asked.wait(60)
        stopping.set()
        hog.released.set()

    watch = threading.Thread(target=stops)
    watch.start()
    assert analytics.send_captures(stopping=stopping) == 1
    watch.join()
    assert len(hog.events) == 1
    assert analytics.send_captures(stopping=stopping) == 0
    assert analytics.send_captures() == 4


@pytest.mark.usefixtures("key")
def test_a_job_that_is_deleted_has_still_ended(hog: PostHog) -> None:
    (upload,) = ended()
    upload.delete()
    assert analytics.send_captures() == 1


@pytest.mark.usefixtures("key")
def test_a_row_does_not_go_before_its_end_is_told(api: Api, hog: PostHog) -> None:
    upload = api.accepted()
    upload.discard()
    Upload.objects.filter(pk=upload.pk).update(deleted_at=F("deleted_at") - timedelta(days=1))
    tasks.retain()
    assert not Upload.objects.filter(pk=upload.pk).exists()
    assert analytics.send_captures() == 1
    assert hog.named("status_failed")[0]["properties"]["error_code"] == "CANCELED"


@pytest.mark.usefixtures("key")
def test_what_was_not_taken_for_a_week_is_given_up(hog: PostHog) -> None:
    ended(2)
    first = Capture.objects.all()[:1].get()
    Capture.objects.filter(pk=first.pk).update(happened_at=F("happened_at") - timedelta(days=8))
    assert analytics.forget_old() == 1
    assert Capture.objects.count() == 1


@pytest.mark.usefixtures("key", "every_poll")
def test_a_hanging_posthog_costs_polls_nothing_but_their_events(
    api: Api, hog: PostHog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(analytics, "QUEUE", 10)
    hog.hangs = True
    upload = UploadFactory.create(session=api.session)
    for _ in range(200):
        assert api.get(f"/api/status/{upload.pk}").status_code == 200
    assert hog.events == []


def test_without_a_key_nothing_is_kept_or_started(api: Api) -> None:
    upload = api.finished()
    api.get(f"/api/status/{upload.pk}")
    outbox.publish()
    assert Capture.objects.count() == 0
    assert analytics.send_captures() == 0
    analytics.flush()
    assert not analytics._background.cache_info().currsize


@pytest.mark.usefixtures("key", "every_poll")
def test_nothing_private_reaches_posthog(api: Api, hog: PostHog) -> None:
    upload = api.accepted(name="private-name.jpg", source="order-7")
    upload.fail(CodedError("INTERNAL", "Words of the model.", detail="Traceback of the provider"))
    api.get(f"/api/status/{upload.pk}")
    with transaction.atomic():
        outbox.publish()
    analytics.send_captures()
    send_now()
    assert len(hog.events) == 3
    for word in (api.token, str(api.session.token_hash), "private-name", "order-7", "Words of", "Traceback", "python"):
        assert word not in str(hog.events)
