"""A worker that goes on with a picture that it has begun, before it begins another one."""

import math
import time
from pathlib import Path

import pytest
from celery import current_app
from django.conf import LazySettings
from django.db import connection
from django.db.models.functions import Now
from django.test import TestCase
from django.test.utils import CaptureQueriesContext

from tests.support.api import Api
from uploads.errors import Rejected
from uploads.models import Upload
from uploads.stages import StepName
from workflows import runner
from workflows.errors import Transient
from workflows.job import Job, Outcome
from workflows.pipeline import PIPELINE

pytestmark = pytest.mark.django_db
EVERYTHING = {"images", "generate"}


def messages() -> set[Path]:
    folder = Path(current_app.conf.broker_transport_options["folder"])
    return {path for path in folder.glob("queue.*/*") if path.is_file()}


def run_on(upload: Upload, served: set[str], step: StepName = StepName.VALIDATE) -> list[str]:
    """On which queues something waits because of it."""
    before = messages()
    with TestCase.captureOnCommitCallbacks(execute=True):
        runner.run_on(step, str(upload.pk), "task", served)
    upload.refresh_from_db()
    return [path.parent.name.removeprefix("queue.") for path in messages() - before]


def test_one_message_is_enough_for_a_worker_that_does_everything(api: Api) -> None:
    upload = api.accepted()
    assert run_on(upload, EVERYTHING) == []
    assert upload.status == "completed"
    assert [step.attempt for step in upload.steps.all()] == [1, 1, 1, 1]


def test_a_step_is_claimed_in_the_transaction_that_ends_the_one_before(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflows.job.REPORT_EVERY", math.inf)  # how often it reports, is the machine's to say
    upload, together = api.accepted(), api.accepted()
    for step in StepName:
        runner.run(step, str(upload.pk), "task")
    upload.refresh_from_db()
    with CaptureQueriesContext(connection) as queries:
        run_on(together, EVERYTHING)
    writes = [query for query in queries if query["sql"].startswith('UPDATE "uploads_upload"')]
    assert len(writes) == together.version - 1 == len(StepName) + 1
    assert upload.version - 1 == 2 * len(StepName)
    assert list(together.events.values_list("seq", "type")) == list(upload.events.values_list("seq", "type"))
    assert together.fence == upload.fence


def test_a_job_without_time_left_is_not_gone_on_with(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def generate(job: Job) -> Outcome:
        Upload.objects.filter(pk=job.upload.pk).update(deadline_at=Now())
        return Outcome()

    monkeypatch.setitem(PIPELINE, StepName.GENERATE, PIPELINE[StepName.GENERATE]._replace(work=generate))
    upload = api.accepted()
    assert run_on(upload, EVERYTHING) == ["images"]
    assert (upload.step, upload.attempt, upload.lease_until) == (StepName.STORE, 0, None)


def test_what_another_worker_does_is_hinted_there(api: Api) -> None:
    upload = api.accepted()
    assert run_on(upload, {"images"}) == ["generate"]
    assert (upload.stage, upload.step) == ("generating", StepName.GENERATE)
    assert run_on(upload, {"generate"}, StepName.GENERATE) == ["images"]
    assert run_on(upload, {"images"}, StepName.STORE) == []
    assert upload.status == "completed"


def test_after_a_step_that_took_long_the_next_one_gets_a_time_of_its_own(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "QUICK", 0)
    upload = api.accepted()
    assert run_on(upload, EVERYTHING) == ["generate"]
    assert upload.step == StepName.GENERATE


def test_no_step_has_more_time_than_its_task(api: Api, monkeypatch: pytest.MonkeyPatch, settings: LazySettings) -> None:
    left: list[float] = []

    def generate(job: Job) -> Outcome:
        left.append(job.seconds_left())
        raise Rejected("UNREADABLE_IMAGE")

    monkeypatch.setitem(PIPELINE, StepName.GENERATE, PIPELINE[StepName.GENERATE]._replace(work=generate))
    began = time.monotonic()
    run_on(api.accepted(), EVERYTHING)
    spent = time.monotonic() - began
    limit = settings.STEP_TIMEOUT.total_seconds()
    assert limit - spent <= left[0] < limit


@pytest.mark.parametrize("error", [Transient("STORAGE_UNAVAILABLE"), Rejected("UNREADABLE_IMAGE")])
def test_what_did_not_come_to_an_end_is_not_gone_on_with(
    api: Api, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def generate(job: Job) -> Outcome:
        raise error

    monkeypatch.setitem(PIPELINE, StepName.GENERATE, PIPELINE[StepName.GENERATE]._replace(work=generate))
    upload = api.accepted()
    assert run_on(upload, EVERYTHING) == []
    assert not upload.steps.filter(name="store").exists()
    assert upload.steps.get(name="generate").attempt == 1


def test_a_step_that_is_somebody_elses_by_now_ends_it(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def generate(job: Job) -> Outcome:
        Upload.objects.filter(pk=job.upload.pk).update(fence=job.fence + 1)
        return Outcome({"raw": "nothing"})

    monkeypatch.setitem(PIPELINE, StepName.GENERATE, PIPELINE[StepName.GENERATE]._replace(work=generate))
    upload = api.accepted()
    assert run_on(upload, EVERYTHING) == []
    assert upload.stage == "generating"
