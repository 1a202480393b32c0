"""Claim → work → commit, and every way in which a step can end. Steps are exchanged; all else is real."""

import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from django.conf import LazySettings
from django.db import OperationalError, connection
from django.db.models.functions import Now

from tests.support import pictures
from tests.support.api import Api, develop, stored_files
from tests.support.installation import wait_for
from uploads.errors import LeaseLost, Rejected
from uploads.models import Upload
from uploads.stages import Stage, StepName
from workflows import runner
from workflows.errors import Deferred, Transient
from workflows.job import Job, Outcome
from workflows.pipeline import PIPELINE

pytestmark = pytest.mark.django_db
Work = Callable[[Job], Outcome]


@pytest.fixture
def validate_with(monkeypatch: pytest.MonkeyPatch) -> Callable[[Work], None]:
    def exchange(work: Work) -> None:
        monkeypatch.setitem(PIPELINE, StepName.VALIDATE, PIPELINE[StepName.VALIDATE]._replace(work=work))

    return exchange


def raising(error: BaseException) -> Work:
    def work(job: Job) -> Outcome:
        raise error

    return work


def run(upload: Upload, step: StepName = StepName.VALIDATE) -> bool:
    done = runner.run(step, str(upload.pk), "task")
    upload.refresh_from_db()
    return done


def events(upload: Upload) -> list[str]:
    return list(upload.events.order_by("seq").values_list("type", flat=True))


def make_due(upload: Upload) -> None:
    """As if the wait were over."""
    Upload.objects.filter(pk=upload.pk).update(due_at=upload.created_at)


def test_the_four_steps_make_a_result(api: Api) -> None:
    upload = api.finished()
    assert (upload.status, upload.progress, upload.error_detail) == ("completed", 100, "")
    assert [step.status for step in upload.steps.order_by("id")] == ["completed"] * 4
    assert all(step.duration_ms is not None for step in upload.steps.all())
    assert upload.result.model == "local-ink-1"
    told = [kind for kind in events(upload) if kind != "step.progress"]
    assert told == ["job.accepted", *(["step.started", "step.completed"] * 4), "job.completed"]
    reports = upload.events.filter(type="step.progress").order_by("seq")
    progress: list[int] = [event.data["progress"] for event in reports]
    assert progress == sorted(progress)


def test_a_hint_for_another_step_does_nothing(api: Api) -> None:
    upload = api.accepted()
    for step in (StepName.GENERATE, StepName.STORE, StepName.WATERMARK):
        assert run(upload, step) is False
    assert (upload.stage, events(upload)) == (None, ["job.accepted"])


def test_hints_that_come_again_do_nothing(api: Api) -> None:
    upload = api.finished()
    before = Upload.objects.values().get(pk=upload.pk)
    files = stored_files()
    develop(upload)
    assert Upload.objects.values().get(pk=upload.pk) == before
    assert stored_files() == files


def test_a_hint_for_what_is_gone_does_nothing(api: Api) -> None:
    upload = api.accepted()
    upload.discard()
    assert run(upload) is False
    assert runner.run(StepName.VALIDATE, "00000000-0000-0000-0000-000000000000", "task") is False


def test_a_rejected_picture_fails_at_once(api: Api, validate_with: Callable[[Work], None]) -> None:
    validate_with(raising(Rejected("UNREADABLE_IMAGE", detail="marker missing")))
    upload = api.accepted()
    run(upload)
    assert (upload.stage, upload.error_code, upload.error_detail) == ("failed", "UNREADABLE_IMAGE", "marker missing")
    assert events(upload)[-2:] == ["step.failed", "job.failed"]


def test_a_step_that_takes_too_much_memory_fails_at_once(api: Api, validate_with: Callable[[Work], None]) -> None:
    """It would take as much each time."""
    validate_with(raising(MemoryError()))
    upload = api.accepted()
    run(upload)
    assert (upload.stage, upload.error_code, upload.attempt) == ("failed", "MEMORY_EXCEEDED", 1)
    assert events(upload)[-2:] == ["step.failed", "job.failed"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Transient("STORAGE_UNAVAILABLE"), "STORAGE_UNAVAILABLE"),
        (SoftTimeLimitExceeded(), "STEP_TIMEOUT"),
        (RuntimeError("secret internals"), "INTERNAL"),
    ],
)
def test_what_may_pass_is_tried_again_up_to_the_maximum(
    api: Api, validate_with: Callable[[Work], None], error: BaseException, code: str
) -> None:
    validate_with(raising(error))
    upload = api.accepted()
    for attempt in (1, 2):
        run(upload)
        assert (upload.status, upload.attempt, upload.lease_until) == ("processing", attempt, None)
        assert upload.due_at > upload.updated_at
        assert run(upload) is False
        make_due(upload)
    run(upload)
    assert (upload.status, upload.error_code, upload.attempt) == ("failed", code, 3)
    retrying = ["step.retrying", "step.retrying"]
    assert events(upload) == ["job.accepted", "step.started", *retrying, "step.failed", "job.failed"]
    assert "secret" not in str(list(upload.events.values_list("message", "data")))


def test_what_is_away_is_waited_for_without_using_up_attempts(api: Api, validate_with: Callable[[Work], None]) -> None:
    validate_with(raising(Deferred("STORAGE_UNAVAILABLE")))
    upload = api.accepted()
    for _ in range(5):
        assert run(upload)
        assert (upload.status, upload.attempt) == ("processing", 0)
        assert upload.due_at > upload.updated_at
        make_due(upload)
    validate_with(lambda _job: Outcome())
    run(upload)
    assert upload.stage == Stage.GENERATING
    assert events(upload) == ["job.accepted", "step.started", *["step.retrying"] * 5, "step.completed"]


def test_a_store_that_refuses_is_waited_for(api: Api, settings: LazySettings, tmp_path: Path) -> None:
    upload = api.accepted()
    (Path(settings.MEDIA_ROOT) / str(upload.pk) / "validate").write_text("a file where a folder should be")
    run(upload)
    assert (upload.status, upload.attempt) == ("processing", 0)
    assert "NotADirectory" in upload.error_detail or "FileExists" in upload.error_detail


def test_a_wait_grows_and_varies() -> None:
    waits = [[runner.backoff(attempt).total_seconds() for _ in range(50)] for attempt in (1, 2, 3, 9)]
    assert [min(wait) >= least for wait, least in zip(waits, (2, 4, 8, 60), strict=True)] == [True] * 4
    assert [max(wait) <= 1.5 * least for wait, least in zip(waits, (2, 4, 8, 60), strict=True)] == [True] * 4
    assert all(len(set(wait)) > 1 for wait in waits)


def test_a_second_attempt_never_shows_less_progress(api: Api, validate_with: Callable[[Work], None]) -> None:
    seen = []

    def work(job: Job) -> Outcome:
        job._reported_at = 0
        job.report(0.9 if job.upload.attempt == 1 else 0.2)
        seen.append(Upload.objects.get(pk=job.upload.pk).progress)
        if job.upload.attempt == 1:
            raise Transient("STORAGE_UNAVAILABLE")
        return Outcome()

    validate_with(work)
    upload = api.accepted()
    run(upload)
    make_due(upload)
    run(upload)
    assert seen == [27, 27]
    assert upload.stage == Stage.GENERATING


def test_a_worker_that_must_stop_hands_the_step_back(api: Api, validate_with: Callable[[Work], None]) -> None:
    validate_with(raising(SystemExit()))
    upload = api.accepted()
    with pytest.raises(SystemExit):
        run(upload)
    upload.refresh_from_db()
    assert (upload.status, upload.attempt) == ("processing", 0)
    assert upload.due_at <= upload.updated_at
    validate_with(lambda _job: Outcome())
    assert run(upload)
    assert events(upload) == ["job.accepted", "step.started", "step.completed"]


def test_a_worker_that_must_stop_does_so_also_while_the_database_is_away(
    api: Api, validate_with: Callable[[Work], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    validate_with(raising(SystemExit()))
    monkeypatch.setattr(Upload, "hand_back", _is_away)
    with pytest.raises(SystemExit):
        run(api.accepted())

    def bought(job: Job) -> Outcome:
        job.exit = SystemExit()
        return Outcome()

    validate_with(bought)
    monkeypatch.setattr(Upload, "complete_step", _is_away)
    with pytest.raises(SystemExit):
        run(api.accepted())


def _is_away(*_: object, **__: object) -> None:
    raise OperationalError("the database is away")


def test_a_step_with_nothing_to_go_on_from_fails_at_once(api: Api) -> None:
    upload = api.accepted()
    upload.update_stage(Stage.GENERATING, 45)
    assert run(upload, StepName.GENERATE)
    assert (upload.status, upload.error_code, upload.attempt) == ("failed", "INTERNAL", 1)
    assert upload.error_detail == "validate has handed on nothing to go on from"


def test_a_file_larger_than_any_that_was_stored_is_not_read(
    api: Api, validate_with: Callable[[Work], None], settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflows.job.FILE_MAX_BYTES", 1000)
    settings.UPLOAD_MAX_BYTES = 1000
    read = []

    def work(job: Job) -> Outcome:
        read.append(len(job.read(job.save("just", bytes(1000)))))
        read.append(len(job.read(job.save("over", bytes(1001)))))
        return Outcome()

    validate_with(work)
    upload = api.accepted(pictures.encoded(pictures.landscape(8, 6), "PNG"))
    run(upload)
    assert (read, upload.attempt) == ([1000], 1)
    assert upload.error_detail.endswith("over is larger than anything that was stored")


def test_work_that_lost_its_claim_changes_nothing(api: Api, validate_with: Callable[[Work], None]) -> None:
    def work(job: Job) -> Outcome:
        Upload.objects.get(pk=job.upload.pk).cancel()
        job.save("late.png", b"late")
        return Outcome({"work": "late"}, result={"full": "late"})

    validate_with(work)
    upload = api.accepted()
    run(upload)
    assert (upload.error_code, upload.progress) == ("CANCELED", 10)
    assert events(upload)[-1] == "job.failed"
    assert upload.steps.get(name="validate").output == {}
    assert not hasattr(upload, "result")


@pytest.mark.parametrize("error", [Rejected("UNREADABLE_IMAGE"), Transient("INTERNAL"), RuntimeError()])
def test_a_late_failure_changes_nothing_either(
    api: Api, validate_with: Callable[[Work], None], error: Exception
) -> None:
    def work(job: Job) -> Outcome:
        Upload.objects.get(pk=job.upload.pk).cancel()
        raise error

    validate_with(work)
    upload = api.accepted()
    run(upload)
    assert upload.error_code == "CANCELED"
    assert events(upload).count("job.failed") == 1


def test_a_cancelled_step_is_told_when_it_reports(api: Api, validate_with: Callable[[Work], None]) -> None:
    reached = []

    def work(job: Job) -> Outcome:
        Upload.objects.get(pk=job.upload.pk).cancel()
        job._reported_at = 0
        with pytest.raises(LeaseLost):
            job.report(0.5)
        reached.append(True)
        raise LeaseLost

    validate_with(work)
    run(api.accepted())
    assert reached


@pytest.mark.django_db(transaction=True)
def test_the_lease_is_renewed_while_the_work_goes_on(
    api: Api, validate_with: Callable[[Work], None], settings: LazySettings
) -> None:
    settings.STEP_LEASE = timedelta(seconds=0.6)
    leases: list[datetime] = []

    def work(job: Job) -> Outcome:
        def renewed_twice() -> bool:
            lease = Upload.objects.get(pk=job.upload.pk).lease_until
            if lease and lease not in leases:
                leases.append(lease)
            return len(leases) > 2

        wait_for(renewed_twice)
        return Outcome()

    validate_with(work)
    upload = api.accepted()
    run(upload)
    assert len(leases) > 2
    assert leases == sorted(leases)
    assert upload.stage == Stage.GENERATING


@pytest.mark.django_db(transaction=True)
def test_a_lease_that_could_not_be_renewed_is_tried_again_soon(api: Api, settings: LazySettings) -> None:
    """Once the database is back, its owner must be quicker than the sweeper."""
    settings.STEP_LEASE = timedelta(seconds=30)
    upload = api.accepted()
    fence = upload.claim(StepName.VALIDATE, timedelta(0), "task")
    assert fence
    job = Job(upload, StepName.VALIDATE, fence, time.monotonic() + 60)
    pauses, away = Pauses(), [OperationalError("gone")]

    def once(execute: Callable[..., Any], *statement: Any) -> Any:
        if away:
            raise away.pop()
        return execute(*statement)

    with connection.execute_wrapper(once):
        runner._keep(job, pauses)
    assert pauses.asked == [10, runner.RENEW_AGAIN, 10]
    assert not job.lost
    assert Upload.objects.filter(pk=upload.pk, lease_until__gt=Now()).exists()


class Pauses(threading.Event):
    """Takes no time, and is over after the third."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.asked.append(timeout)
        return len(self.asked) == 3


@pytest.mark.django_db(transaction=True)
def test_the_lease_is_not_renewed_past_the_deadline_of_the_step(
    api: Api, validate_with: Callable[[Work], None], settings: LazySettings
) -> None:
    settings.STEP_LEASE, settings.STEP_TIMEOUT = timedelta(seconds=0.6), timedelta(seconds=1)
    expired = []

    def work(job: Job) -> Outcome:
        def over() -> bool:
            row = Upload.objects.with_time().get(pk=job.upload.pk)
            return row.lease_until is not None and row.lease_until < row.db_now

        wait_for(over)
        # For longer than renewals are apart: nobody renews it any more.
        threading.Event().wait(0.5)
        expired.append(over())
        return Outcome()

    validate_with(work)
    run(api.accepted())
    assert expired == [True]


@pytest.mark.django_db(transaction=True)
def test_one_of_many_claims_wins(api: Api, validate_with: Callable[[Work], None]) -> None:
    ran = []
    together, hold = threading.Barrier(6), threading.Event()

    def work(job: Job) -> Outcome:
        ran.append(job.fence)
        hold.wait(5)
        return Outcome()

    validate_with(work)
    upload = api.accepted()

    def hinted() -> None:
        together.wait()
        try:
            if not runner.run(StepName.VALIDATE, str(upload.pk), "task"):
                losers.append(True)
                if len(losers) == 5:
                    hold.set()
        finally:
            connection.close()

    losers: list[bool] = []
    threads = [threading.Thread(target=hinted) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(ran), len(losers)) == (1, 5)


def test_a_step_can_be_skipped(api: Api, settings: LazySettings) -> None:
    settings.WATERMARK_TEXT = ""
    upload = api.finished()
    assert upload.status == "completed"
    assert upload.steps.get(name="watermark").status == "skipped"
    assert "step.skipped" in events(upload)
    assert upload.result.preview.name == upload.result.full.name


def test_a_retried_job_keeps_what_was_done(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        broken = PIPELINE[StepName.STORE]._replace(work=raising(Rejected("STORAGE_UNAVAILABLE")))
        patch.setitem(PIPELINE, StepName.STORE, broken)
        upload = api.finished()
    assert (upload.status, upload.failed_step, upload.progress) == ("failed", "store", 80)
    raw = upload.steps.get(name="generate").output
    response = api.post(f"/api/jobs/{upload.pk}/retry")
    assert response.status_code == 202
    develop(upload)
    assert (upload.status, upload.run) == ("completed", 2)
    assert upload.steps.get(name="generate").output == raw
    assert events(upload).count("step.started") == 5


def test_a_job_that_may_not_be_retried_or_cancelled_says_so(api: Api) -> None:
    upload = api.finished()
    retried, cancelled = (api.post(f"/api/jobs/{upload.pk}/{verb}") for verb in ("retry", "cancel"))
    assert (retried.status_code, retried.json()["error"]["code"]) == (409, "NOT_RETRYABLE")
    assert (cancelled.status_code, cancelled.json()["error"]["code"]) == (409, "ALREADY_FINISHED")


def test_what_a_person_deletes_is_gone_at_once(api: Api) -> None:
    upload = api.accepted()
    assert api.delete(f"/api/jobs/{upload.pk}").status_code == 204
    assert api.get(f"/api/status/{upload.pk}").status_code == 404
    assert api.get("/api/jobs").json()["jobs"] == []
    assert run(upload) is False
