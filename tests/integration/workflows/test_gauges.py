"""How things stand, as Prometheus is told at each scrape."""

from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import pytest
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from status import outbox
from status.models import Capture, WebhookDelivery, WebhookEndpoint
from tests.integration.workflows.test_probes import database_away_for_all_threads
from tests.support.factories import UploadFactory
from tests.support.installation import PATIENCE
from uploads.models import ProviderCall, Upload
from uploads.stages import Stage
from workflows import health, recovery
from workflows.gauges import Standing

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _on_any_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "PATIENCE", PATIENCE)


def standing() -> dict[tuple[str, ...], float]:
    """Each value by its name without the prefix, and what its labels say."""
    return {
        (sample.name.removeprefix("darkroom_"), *sample.labels.values()): sample.value
        for metric in Standing().collect()
        for sample in metric.samples
    }


def accepted(hours_ago: float, **columns: object) -> Upload:
    upload = UploadFactory.create()
    then = timezone.now() - timedelta(hours=hours_ago)
    Upload.objects.filter(pk=upload.pk).update(**({"created_at": then, "due_at": then} | columns))
    upload.refresh_from_db()
    return upload


def test_an_empty_darkroom_says_nought() -> None:
    recovery.sweep()
    told = standing()
    assert told["oldest_unfinished_seconds",] == 0
    assert told["queue_depth", "images"] == told["queue_age_seconds", "generate"] == 0
    assert told["jobs", "pending", "due"] == 0
    assert told["ready", "database"] == told["ready", "sweeper"] == 1


def test_the_age_of_the_oldest_unfinished_upload() -> None:
    accepted(2)
    ended = accepted(5)
    accepted(3, due_at=timezone.now() + timedelta(hours=1))
    ended.cancel()
    assert standing()["oldest_unfinished_seconds",] == pytest.approx(3 * 3600, abs=PATIENCE)


def test_jobs_by_stage_and_whether_anybody_works_on_them() -> None:
    later = timezone.now() + timedelta(hours=1)
    accepted(1)
    accepted(1, lease_until=timezone.now() - timedelta(minutes=1))
    accepted(1, lease_until=later)
    accepted(3, stage=Stage.GENERATING)
    accepted(4, stage=Stage.GENERATING, lease_until=later)
    accepted(1, stage=Stage.STORING, due_at=later)
    told = standing()
    assert (told["jobs", "pending", "due"], told["jobs", "pending", "running"]) == (2, 1)
    assert (told["jobs", "generating", "due"], told["jobs", "generating", "running"]) == (1, 1)
    assert told["jobs", "storing", "later"] == 1
    assert (told["queue_depth", "images"], told["queue_depth", "generate"]) == (2, 1)
    assert told["queue_age_seconds", "generate"] == pytest.approx(3 * 3600, abs=PATIENCE)
    assert told["queue_age_seconds", "images"] == pytest.approx(3600, abs=PATIENCE)


def test_how_jobs_ended_within_the_last_hour() -> None:
    accepted(1).cancel()
    accepted(1).update_stage(Stage.COMPLETE)
    long_ago = accepted(5)
    long_ago.cancel()
    Upload.objects.filter(pk=long_ago.pk).update(completed_at=F("created_at"))
    told = standing()
    assert told["jobs_ended_last_hour", "failed", "CANCELED"] == 1
    assert told["jobs_ended_last_hour", "completed", ""] == 1


def test_what_providers_answered_and_cost_today() -> None:
    facts = {"run": 1, "attempt": 1, "fence": 1, "provider": "gemini", "model": "m", "prompt_version": "v1"}
    # A little ahead, so that it is still today when a slow machine has come to ask.
    soon = timezone.now() + timedelta(hours=1)
    facts |= {"reserved_usd": Decimal("0.1"), "deadline_at": soon, "started_at": soon}
    for outcome, status, cost in (
        ("picture", "settled", "0.04"),
        ("picture", "settled", "0.05"),
        ("busy", "failed", "0"),
    ):
        ProviderCall.objects.create(
            **facts, status=status, outcome=outcome, cost_usd=Decimal(cost), ended_at=timezone.now()
        )
    yesterday = ProviderCall.objects.create(**facts)
    ProviderCall.objects.filter(pk=yesterday.pk).update(started_at=timezone.now() - timedelta(days=1))
    told = standing()
    assert (told["provider_calls_today", "m", "picture"], told["provider_calls_today", "m", "busy"]) == (2, 1)
    assert told["provider_cost_usd_today", "m", "picture"] == pytest.approx(0.09)
    assert ("provider_calls_today", "m", "open") not in told


def test_what_the_outside_has_not_been_told() -> None:
    told = standing()
    assert told["webhook_endpoints", "disabled"] == told["webhook_dead_letters",] == told["captures_waiting",] == 0
    enabled, failing, disabled = (WebhookEndpoint.objects.create(url="https://receiver.example/") for _ in range(3))
    accepted(1).update_stage(Stage.COMPLETE)
    outbox.publish()
    WebhookEndpoint.objects.filter(pk=failing.pk).update(failing_since=timezone.now())
    disabled.disable("for a test")
    for endpoint, hours in ((enabled, 1), (failing, 2), (disabled, 3)):
        earlier = F("created_at") - timedelta(hours=hours)
        WebhookDelivery.objects.filter(endpoint=endpoint).update(created_at=earlier)
    Capture.objects.create(uuid=uuid4(), event="status_complete", properties={}, happened_at=timezone.now())
    told = standing()
    assert [told["webhook_endpoints", state] for state in ("enabled", "failing", "disabled")] == [1, 1, 1]
    assert told["captures_waiting",] == 1
    assert told["outbox_lag_seconds", "unpublished"] == 0
    assert told["outbox_lag_seconds", "undelivered"] == pytest.approx(2 * 3600, abs=PATIENCE)
    assert told["outbox_lag_seconds", "withheld"] == pytest.approx(3 * 3600, abs=PATIENCE)
    WebhookDelivery.objects.filter(endpoint=failing).update(status=WebhookDelivery.DEAD)
    told = standing()
    assert told["webhook_dead_letters",] == 1
    assert told["outbox_lag_seconds", "undelivered"] == pytest.approx(3600, abs=PATIENCE)


def test_without_its_database_it_says_that_and_goes_on(tmp_path: Path) -> None:
    with database_away_for_all_threads(tmp_path):
        told = standing()
    assert (told["ready", "database"], told["ready", "broker"]) == (0, 1)
    assert ("broker_messages", "images") in told
    assert ("oldest_unfinished_seconds",) not in told


def test_as_many_queries_for_many_jobs_as_for_one() -> None:
    accepted(1)
    with CaptureQueriesContext(connection) as few:
        standing()
    for hours in range(20):
        accepted(hours, stage=list(Stage)[hours % 4])
    with CaptureQueriesContext(connection) as many:
        standing()
    assert len(many) == len(few) >= 6
