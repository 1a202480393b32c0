"""The rules of the record, in one thread. test_update_stage_race.py has them in many processes."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.support.examples import examples
from tests.support.factories import UploadFactory
from uploads.errors import CodedError, IllegalTransition, LeaseLost, NotAllowed
from uploads.models import Step, Upload
from uploads.stages import Stage, StepName, status_of

pytestmark = pytest.mark.django_db
WORKING = [Stage.VALIDATING, Stage.GENERATING, Stage.STORING, Stage.WATERMARKING]


def types(upload: Upload) -> list[str]:
    return list(upload.events.order_by("seq").values_list("type", flat=True))


def test_a_job_goes_forward_to_the_end() -> None:
    upload = UploadFactory.create()
    for stage, progress in [*zip(WORKING, (10, 30, 80, 90), strict=True), (Stage.COMPLETE, 100)]:
        assert upload.update_stage(stage, progress)
        upload.refresh_from_db()
        assert (upload.stage, upload.progress) == (stage, progress)
    assert upload.status == "completed"
    assert upload.started_at
    assert upload.completed_at
    assert upload.started_at <= upload.completed_at
    assert set(upload.steps.values_list("name", "status")) == {(name, "completed") for name in StepName}
    assert types(upload)[-2:] == ["step.completed", "job.completed"]


def test_forward_jumps_skip_the_steps_between() -> None:
    upload = UploadFactory.create()
    upload.update_stage(Stage.VALIDATING, 10)
    upload.update_stage(Stage.WATERMARKING, 90)
    assert dict(upload.steps.values_list("name", "status")) == {
        "validate": "completed",
        "generate": "skipped",
        "store": "skipped",
        "watermark": "running",
    }


def test_saying_the_same_again_changes_nothing() -> None:
    upload = UploadFactory.create()
    assert upload.update_stage(Stage.GENERATING, 40)
    version, events = upload.version, types(upload)
    assert upload.update_stage(Stage.GENERATING, 40) is False
    upload.refresh_from_db()
    assert (upload.version, types(upload)) == (version, events)


@pytest.mark.parametrize(("stage", "progress"), [(Stage.VALIDATING, 60), (Stage.GENERATING, 39), (Stage.STORING, 39)])
def test_nothing_goes_back(stage: Stage, progress: int) -> None:
    upload = UploadFactory.create()
    upload.update_stage(Stage.GENERATING, 40)
    with pytest.raises(IllegalTransition):
        upload.update_stage(stage, progress)
    upload.refresh_from_db()
    assert (upload.stage, upload.progress) == (Stage.GENERATING, 40)


@pytest.mark.parametrize("end", [Stage.COMPLETE, Stage.FAILED])
@pytest.mark.parametrize("stage", [Stage.WATERMARKING, Stage.FAILED, Stage.COMPLETE])
def test_a_terminal_stage_is_left_by_nothing(end: Stage, stage: Stage) -> None:
    upload = UploadFactory.create()
    upload.update_stage(end, 50)
    before = types(upload)
    if stage is end:
        assert upload.update_stage(stage, 100) is False
    else:
        with pytest.raises(IllegalTransition):
            upload.update_stage(stage, 100)
    assert types(upload) == before


def test_progress_is_clamped() -> None:
    upload = UploadFactory.create()
    upload.update_stage(Stage.VALIDATING, -5)
    assert upload.progress == 0
    upload.update_stage(Stage.GENERATING, 400)
    assert upload.progress == 100


def test_complete_means_100() -> None:
    upload = UploadFactory.create()
    upload.update_stage(Stage.COMPLETE, 3)
    assert upload.progress == 100


def test_a_failed_upload_keeps_its_progress_and_has_a_code() -> None:
    upload = UploadFactory.create()
    upload.update_stage(Stage.GENERATING, 45)
    upload.update_stage(Stage.FAILED, 99)
    upload.refresh_from_db()
    assert (upload.progress, upload.error_code, upload.failed_step) == (45, "INTERNAL", "generate")
    assert upload.error_message
    assert types(upload)[-2:] == ["step.failed", "job.failed"]


def test_a_given_error_is_told_and_its_detail_is_kept_for_admins() -> None:
    upload = UploadFactory.create()
    upload.update_stage(Stage.FAILED, error=CodedError("CONTENT_BLOCKED", detail="IMAGE_SAFETY"))
    upload.refresh_from_db()
    assert (upload.error_code, upload.error_detail) == ("CONTENT_BLOCKED", "IMAGE_SAFETY")
    assert "IMAGE_SAFETY" not in upload.error_message + str(list(upload.events.values("message", "data")))


def test_words_that_cannot_be_stored_are_made_storable() -> None:
    upload = UploadFactory.create()
    upload.update_stage(Stage.GENERATING, 45, message="bad \0 byte" + "x" * 10_000)
    upload.update_stage(Stage.FAILED, error=CodedError("INTERNAL", "a \0 word", detail="bad \ud800 half"))
    upload.refresh_from_db()
    assert (upload.error_message, upload.error_detail) == ("a \ufffd word", "bad ? half")
    assert all(len(message.encode()) <= 4096 for message in upload.events.values_list("message", flat=True))


def test_a_lost_fence_changes_nothing() -> None:
    upload = UploadFactory.create()
    upload.update_stage(Stage.GENERATING, 40)
    before = Upload.objects.values().get(pk=upload.pk)
    with pytest.raises(LeaseLost):
        upload.update_stage(Stage.STORING, 80, fence=upload.fence + 1)
    assert Upload.objects.values().get(pk=upload.pk) == before


def test_a_change_of_stage_by_a_person_takes_the_fence() -> None:
    upload = UploadFactory.create()
    fence = upload.fence
    upload.update_stage(Stage.GENERATING, 40)
    assert upload.fence == fence + 1
    upload.update_stage(Stage.GENERATING, 50)
    assert upload.fence == fence + 1


def test_a_step_that_a_person_begins_and_a_worker_goes_on_with_begins_once() -> None:
    upload = UploadFactory.create()
    upload.update_stage(Stage.VALIDATING, 10)
    assert upload.claim(StepName.VALIDATE, timedelta(seconds=30), "task")
    assert types(upload) == ["step.started"]


def test_log_is_kept_in_order_and_ends_with_the_job() -> None:
    upload = UploadFactory.create()
    upload.log("info", "Looking at the light.", {"lux": 3})
    upload.log("warn", "It is dark.")
    upload.cancel()
    assert types(upload) == ["log", "log", "job.failed"]
    with pytest.raises(IllegalTransition):
        upload.log("info", "too late")


def test_retry_starts_a_new_run_at_the_failed_step() -> None:
    upload = UploadFactory.create()
    upload.update_stage(Stage.GENERATING, 45)
    upload.update_stage(Stage.FAILED, error="GENERATOR_UNAVAILABLE")
    upload.retry()
    upload.refresh_from_db()
    assert (upload.run, upload.stage, upload.progress, upload.error_code) == (2, "generating", 45, "")
    assert upload.completed_at is None
    assert upload.steps.get(name="validate").status == Step.SKIPPED
    assert upload.steps.get(name="generate").status == Step.PENDING
    assert types(upload)[-1] == "job.retried"


@pytest.mark.parametrize("code", ["UNREADABLE_IMAGE", "CONTENT_BLOCKED"])
def test_what_cannot_pass_is_not_retried(code: str) -> None:
    upload = UploadFactory.create()
    upload.update_stage(Stage.FAILED, error=code)
    with pytest.raises(NotAllowed, match="NOT_RETRYABLE"):
        upload.retry()


def test_cancel_ends_at_once_and_only_once() -> None:
    upload = UploadFactory.create()
    upload.update_stage(Stage.GENERATING, 45)
    fence = upload.fence
    upload.cancel()
    assert (upload.status, upload.error_code, upload.progress) == ("failed", "CANCELED", 45)
    assert upload.fence > fence
    with pytest.raises(NotAllowed, match="ALREADY_FINISHED"):
        upload.cancel()


@pytest.mark.parametrize("counts", [True, False], ids=["tried again", "deferred"])
@pytest.mark.parametrize("end", [Upload.cancel, Upload.discard, Upload.give_up])
def test_a_step_that_waits_fails_with_its_job(end: Callable[[Upload], object], counts: bool) -> None:
    upload = UploadFactory.create()
    fence = upload.claim(StepName.VALIDATE, timedelta(minutes=1), "run")
    assert fence
    upload.try_again(CodedError("STORAGE_UNAVAILABLE"), timedelta(minutes=5), fence=fence, counts=counts)
    if end == Upload.give_up:
        Upload.objects.filter(pk=upload.pk).update(deadline_at=upload.created_at)
    end(upload)
    step = upload.steps.get()
    assert (upload.status, step.status) == ("failed", "failed")
    assert step.completed_at


def test_the_status_column_and_the_function_agree() -> None:
    for stage in [None, *Stage]:
        upload = UploadFactory.create()
        if stage:
            upload.update_stage(stage, 50)
        told = upload.status
        upload.refresh_from_db()
        assert upload.status == told == status_of(stage)


@pytest.mark.parametrize(
    "columns",
    [
        {"stage": "dreaming"},
        {"progress": 101},
        {"stage": "complete", "progress": 99},
        {"stage": "failed"},
        {"error_code": "INTERNAL"},
        {"stage": "complete", "progress": 100},
    ],
)
def test_the_schema_refuses_what_makes_no_sense(columns: dict[str, object]) -> None:
    upload = UploadFactory.create()
    with pytest.raises(IntegrityError), transaction.atomic():
        Upload.objects.filter(pk=upload.pk).update(**columns)


def test_nor_a_step_or_an_event_of_no_known_kind() -> None:
    upload = UploadFactory.create()
    upload.log("info", "first")
    with pytest.raises(IntegrityError), transaction.atomic():
        upload.steps.create(name="validate", status="resting")
    with pytest.raises(IntegrityError), transaction.atomic():
        upload.events.update(level="debug")


@pytest.mark.parametrize("columns", [{"progress": 39}, {"stage": "validating"}, {"stage": None}, {"run": 2}])
def test_postgresql_refuses_a_way_back_from_anybody(columns: dict[str, object]) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no such trigger: remaking a table would drop it")
    upload = UploadFactory.create()
    upload.update_stage(Stage.GENERATING, 40)
    with pytest.raises(IntegrityError, match="may not go"), transaction.atomic():
        Upload.objects.filter(pk=upload.pk).update(**columns)


class Record(RuleBasedStateMachine):
    """Random orders of everything that a person, a script and a worker do, beside a model of the rules."""

    @initialize()
    def accept(self) -> None:
        self.upload = UploadFactory.create()
        self.seen: list[tuple[int, int, int]] = []
        self.claimed: int | None = None

    @rule(stage=st.sampled_from(WORKING), progress=st.integers(-10, 120))
    def move(self, stage: Stage, progress: int) -> None:
        old = (self.upload.stage, self.upload.progress)
        clamped = min(max(progress, 0), 100)
        order: list[str | None] = [None, *WORKING]
        legal = not self.upload.is_terminal and order.index(stage) >= order.index(old[0]) and clamped >= old[1]
        if legal:
            assert self.upload.update_stage(stage, progress) is ((stage, clamped) != old)
            assert (self.upload.stage, self.upload.progress) == (stage, clamped)
        else:
            with pytest.raises(IllegalTransition):
                self.upload.update_stage(stage, progress)

    @rule()
    @precondition(lambda self: not self.upload.is_terminal)
    def complete(self) -> None:
        self.upload.update_stage(Stage.COMPLETE)

    @rule()
    @precondition(lambda self: not self.upload.is_terminal)
    def fail(self) -> None:
        self.upload.update_stage(Stage.FAILED, error="GENERATOR_UNAVAILABLE")

    @rule()
    @precondition(lambda self: self.upload.status == "failed")
    def retry(self) -> None:
        self.upload.retry()

    @rule(step=st.sampled_from(StepName))
    def claim(self, step: StepName) -> None:
        fence = self.upload.claim(step, timedelta(seconds=60), "task")
        self.claimed = fence or self.claimed

    @rule(progress=st.integers(0, 100))
    @precondition(lambda self: self.claimed is not None)
    def advance(self, progress: int) -> None:
        assert self.claimed
        before = self.upload.progress
        if self.claimed == self.upload.fence:
            self.upload.advance(progress, fence=self.claimed)
            assert self.upload.progress == max(before, progress)
        else:
            with pytest.raises(LeaseLost):
                self.upload.advance(progress, fence=self.claimed)

    @rule()
    @precondition(lambda self: self.claimed is not None)
    def finish_step(self) -> None:
        assert self.claimed
        if self.claimed == self.upload.fence and not self.upload.is_terminal:
            self.upload.complete_step(fence=self.claimed, output={})
        else:
            with pytest.raises(LeaseLost):
                self.upload.complete_step(fence=self.claimed, output={})
        self.claimed = None

    @invariant()
    def the_record_is_forward_only_and_whole(self) -> None:
        row = Upload.objects.get(pk=self.upload.pk)
        place = (row.run, [None, *Stage].index(row.stage), row.progress)
        if self.seen:
            assert place >= self.seen[-1]
            assert row.progress >= self.seen[-1][2]
        self.seen.append(place)
        seqs = list(row.events.order_by("seq").values_list("seq", flat=True))
        assert seqs == list(range(1, row.event_count + 1))
        ends = row.events.filter(type__in=["job.completed", "job.failed"]).count()
        assert ends == row.run - 1 + row.is_terminal


Record.TestCase.settings = hypothesis_settings(max_examples=examples(60), stateful_step_count=25, deadline=None)


class TestRecord(Record.TestCase, TestCase):  # type: ignore[misc, valid-type]
    """Each example in a transaction of its own."""
