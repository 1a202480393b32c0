from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

from django.conf import settings
from django.db import models, transaction
from django.db.models import Case, Q, Value, When
from django.db.models.functions import Now
from uuid_utils.compat import uuid7

from uploads import estimates, transitions
from uploads.errors import CodedError, IllegalTransition, LeaseLost, NotAllowed
from uploads.models.history import EVENT_LEVELS, Event, OutboxEntry, Result, Step
from uploads.models.queries import UploadQuerySet
from uploads.models.session import Session
from uploads.stages import TERMINAL, Stage, Status, StepName, status_of
from uploads.text import storable_data
from uploads.transitions import Change


def _is(*stages: Stage) -> Q:
    """Never NULL, for a CHECK would let that pass."""
    return Q(stage__isnull=False, stage__in=sorted(stage.value for stage in stages))


class Upload(models.Model):
    """One picture's job. `update_stage` and its relatives are the only writers of a row that has been accepted.

    All times are the database's. `version` grows with anything that a poller can see.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    session = models.ForeignKey(Session, on_delete=models.PROTECT, related_name="uploads")

    original = models.FileField(max_length=255)
    original_name = models.CharField(max_length=255, blank=True)
    content_type = models.CharField(max_length=64)
    byte_size = models.PositiveBigIntegerField()
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()
    sha256 = models.CharField(max_length=64)

    source = models.CharField(max_length=255, blank=True)
    idempotency_key = models.CharField(max_length=255, null=True, blank=True)  # noqa: DJ001 - NULLs may repeat
    prompt_version = models.CharField(max_length=32)
    webhook_url = models.URLField(max_length=2000, blank=True)

    # NULL is pending: no stage yet.
    stage = models.CharField(max_length=16, null=True, blank=True, choices=[(s.value, s.value) for s in Stage])  # noqa: DJ001
    status = models.GeneratedField(
        expression=Case(
            When(stage=None, then=Value(Status.PENDING.value)),
            When(stage=Stage.COMPLETE.value, then=Value(Status.COMPLETED.value)),
            When(stage=Stage.FAILED.value, then=Value(Status.FAILED.value)),
            default=Value(Status.PROCESSING.value),
        ),
        output_field=models.CharField(max_length=16),
        db_persist=True,
    )
    progress = models.PositiveSmallIntegerField(default=0)
    version = models.PositiveIntegerField(default=1)
    event_count = models.PositiveIntegerField(default=0)

    run = models.PositiveSmallIntegerField(default=1)
    attempt = models.PositiveSmallIntegerField(default=0)
    max_attempts = models.PositiveSmallIntegerField(default=3)
    run_id = models.CharField(max_length=64, blank=True)

    fence = models.PositiveIntegerField(default=0)
    lease_until = models.DateTimeField(null=True, blank=True)
    due_at = models.DateTimeField(db_default=Now())
    hinted_at = models.DateTimeField(null=True, blank=True)
    deadline_at = models.DateTimeField()

    error_code = models.CharField(max_length=64, blank=True)
    error_message = models.TextField(blank=True)
    error_detail = models.TextField(blank=True)
    failed_step = models.CharField(max_length=16, blank=True)

    estimated_completion_at = models.DateTimeField(null=True, blank=True)
    cost_usd = models.DecimalField(max_digits=12, decimal_places=6, default=0)

    created_at = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(null=True, blank=True)
    completed_at = models.DateTimeField(null=True, blank=True)
    updated_at = models.DateTimeField(db_default=Now())
    deleted_at = models.DateTimeField(null=True, blank=True)
    files_purged_at = models.DateTimeField(null=True, blank=True)

    objects = UploadQuerySet.as_manager()

    db_now: datetime
    """Read by `with_time`, for a row that is about to be decided on."""
    result_id: UUID | None
    queue_position: int | None
    """These two are read by `with_outlook`, for those who show the job."""

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                name="upload_stage_is_known",
                condition=Q(stage=None) | Q(stage__in=[stage.value for stage in Stage]),
            ),
            models.CheckConstraint(name="upload_progress_is_percent", condition=Q(progress__gte=0, progress__lte=100)),
            models.CheckConstraint(
                name="upload_complete_is_100", condition=Q(progress=100) | ~Q(stage=Stage.COMPLETE.value)
            ),
            models.CheckConstraint(
                name="upload_failed_has_a_code",
                condition=(_is(Stage.FAILED) & ~Q(error_code="")) | (~_is(Stage.FAILED) & Q(error_code="")),
            ),
            models.CheckConstraint(
                name="upload_ended_has_a_time",
                condition=(_is(*TERMINAL) & Q(completed_at__isnull=False)) | (~_is(*TERMINAL) & Q(completed_at=None)),
            ),
            models.UniqueConstraint(name="upload_idempotency", fields=["session", "idempotency_key"]),
        ]
        indexes: ClassVar = [
            # Sweep: unfinished, due, in order of due_at. Also the only index that a transition touches.
            models.Index(name="upload_due", fields=["due_at"], condition=Q(completed_at=None)),
            # The place in the queue: not started yet, in order of acceptance.
            models.Index(name="upload_waiting", fields=["id"], condition=Q(started_at=None, completed_at=None)),
            # Retention: ended, and the files still there; and ended with nothing left but the row.
            models.Index(
                name="upload_to_purge",
                fields=["completed_at"],
                condition=Q(completed_at__isnull=False, files_purged_at=None),
            ),
            models.Index(name="upload_purged", fields=["completed_at"], condition=Q(files_purged_at__isnull=False)),
            models.Index(name="upload_deleted", fields=["deleted_at"], condition=Q(deleted_at__isnull=False)),
            # A session's jobs, newest first.
            models.Index(name="upload_session_newest", fields=["session", "-id"]),
            # By the caller's own reference.
            models.Index(name="upload_source", fields=["source", "-id"], condition=~Q(source="")),
            # The admin: what failed, newest first, also by code. Written only when a job fails or is tried again.
            models.Index(name="upload_failed", fields=["-id", "error_code"], condition=~Q(error_code="")),
        ]

    def __str__(self) -> str:
        return str(self.id)

    @property
    def current_stage(self) -> Stage | None:
        return Stage(self.stage) if self.stage else None

    @property
    def is_terminal(self) -> bool:
        return self.stage in TERMINAL

    def has_expired(self, now: datetime) -> bool:
        """Its pictures are gone, or may go at any moment."""
        if self.files_purged_at:
            return True
        return self.completed_at is not None and self.completed_at < now - timedelta(days=settings.RETENTION_DAYS)

    @property
    def step(self) -> StepName | None:
        """The step that runs, or is to run next; None once the job has ended."""
        return transitions.current_step(self)

    # What a person, a script or a view may do

    def update_stage(
        self,
        stage: Stage | str,
        progress: int = 0,
        *,
        message: str | None = None,
        error: CodedError | str | None = None,
        fence: int | None = None,
    ) -> bool:
        """Move the job forward. The only writer of stage and progress; False when the row said so already.

        `progress` is percent of the whole job, clamped to 0–100; COMPLETE means 100, FAILED keeps the last.
        `message` is told to whoever watches. `error` is for FAILED: an error, or a code of
        `uploads.errors.REASONS`; INTERNAL when none is given. `fence` is the caller's claim; without one an
        accepted change of stage takes the fence, so that a running worker notices.

        Raises `IllegalTransition` for a way back or out of a terminal stage, and `LeaseLost` when the fence is
        no longer the row's. Then nothing has changed.
        """
        stage = Stage(stage)
        if stage is Stage.FAILED:
            return self._fail(_as_error(error, message), fence, again_is_quiet=True)
        progress = 100 if stage is Stage.COMPLETE else min(max(int(progress), 0), 100)
        change = self._change(
            lambda row: transitions.move(
                row,
                stage,
                progress,
                message,
                fenced=fence is not None,
                begun=fence is not None or row._step_is_running(),
            ),
            fence,
        )
        return change is not None

    def log(self, level: str, message: str, data: dict[str, Any] | None = None, *, fence: int | None = None) -> None:
        """Say something to whoever watches; `level` is info, warn or error. Not once the job has ended.

        What is longer than 4 KiB is cut, and says so: the message ends in “…”, the data has `"cut": true`.
        """
        if level not in EVENT_LEVELS:
            raise ValueError(f"{level!r} is none of {', '.join(EVENT_LEVELS)}")
        facts = storable_data(data or {})

        def decide(row: Upload) -> Change:
            if row.is_terminal:
                raise IllegalTransition(f"log() after {row.stage}")
            return Change(events=[transitions.NewEvent("log", message, level, facts | {"step": row.step})])

        self._change(decide, fence)

    def fail(self, error: CodedError, *, fence: int | None = None) -> None:
        """Raises `IllegalTransition` when the job has ended already."""
        self._fail(error, fence)

    def _fail(self, error: CodedError, fence: int | None, *, again_is_quiet: bool = False) -> bool:
        def decide(row: Upload) -> Change | None:
            if again_is_quiet and row.stage == Stage.FAILED:
                return None
            return transitions.fail(row, error, begun=row._step_has_begun())

        return self._change(decide, fence) is not None

    def retry(self) -> None:
        """Run a failed job again from its failed step. Raises `NotAllowed("NOT_RETRYABLE")`."""
        self._change(transitions.retry)

    def cancel(self) -> None:
        """End the job now; what a worker still brings is thrown away. Raises `NotAllowed("ALREADY_FINISHED")`."""

        def decide(row: Upload) -> Change:
            if row.is_terminal:
                raise NotAllowed("ALREADY_FINISHED")
            return transitions.fail(row, CodedError("CANCELED"), begun=row._step_has_begun())

        self._change(decide)

    def unlock(self) -> bool:
        """Let the session have the full picture; False when it may already.

        Raises `NotAllowed("NOT_FINISHED")` while there is none.
        """
        results = Result.objects.filter(upload=self, upload__stage=Stage.COMPLETE)
        if results.filter(unlocked_at=None).update(unlocked_at=Now()):
            return True
        if not results.exists():
            raise NotAllowed("NOT_FINISHED")
        return False

    def discard(self) -> bool:
        """Hide the job for good; files and row follow once no worker can still be writing. False when it is hidden."""
        return self._change(lambda row: transitions.discard(row, row._step_has_begun)) is not None

    # What the runner may do

    def claim(self, step: StepName, lease: timedelta, run_id: str) -> int | None:
        """Take the step and a new fence, which is returned; None when the step is not to be had."""
        change = self._change(lambda row: transitions.claim(row, step, lease, run_id, row._step_is_running))
        return self.fence if change else None

    def renew(self, fence: int, lease: timedelta) -> bool:
        """Keep the claim for another `lease`; False when it is lost."""
        renewed = Upload.objects.filter(pk=self.pk, fence=fence, completed_at=None)
        return bool(renewed.update(lease_until=Now() + lease))

    def advance(self, progress: int, *, fence: int) -> None:
        """Progress of the claimed step, in percent of the whole job; less than was recorded changes nothing."""
        self._change(lambda row: transitions.advance(row, progress), fence)

    def complete_step(
        self,
        *,
        fence: int,
        output: dict[str, Any],
        result: dict[str, Any] | None = None,
        skipped: bool = False,
        lease: timedelta | None = None,
    ) -> int | None:
        """The claimed step is done: publish what it made, and go on to the next stage, all in one transaction.

        With a `lease` the same worker goes on, and claims the next step at once: the fence of that is returned, or
        None when it is not to be had.
        """

        def decide(row: Upload) -> Change:
            if row.is_terminal or not row.attempt:
                raise LeaseLost  # it has ended, or is at a step that nobody has claimed
            stage, progress = transitions.after(row)
            change = transitions.move(row, stage, progress, None, fenced=True, begun=not skipped)
            assert change is not None  # noqa: S101 - another stage is always a change
            change.steps[StepName(str(row.step))]["output"] = output
            change.result = result
            # The claim ends with its step: nothing that is late may count as the next step's.
            change.columns["fence"] = row.fence + 1
            return transitions.gone_on_with(row, change, lease) if lease else change

        self._change(decide, fence)
        return self.fence if lease and self.lease_until else None

    def try_again(self, error: CodedError, wait: timedelta, *, fence: int, counts: bool = True) -> None:
        """The claimed step did not succeed, and is due again after `wait`; failed when that was its last attempt."""
        self._change(lambda row: transitions.again(row, error, wait, counts=counts), fence)

    def give_up(self) -> bool:
        """Fail a job that has no time or no attempt left; False when it has both, or has ended."""
        return self._change(lambda row: transitions.give_up(row, row._step_has_begun)) is not None

    def hand_back(self, *, fence: int) -> None:
        self._change(transitions.hand_back, fence)

    # How all of them do it

    def _change(self, decide: Callable[[Upload], Change | None], fence: int | None = None) -> Change | None:
        """Read, decide, compare and set: decided anew for as long as another writer is quicker."""
        while True:
            with transaction.atomic():
                # On SQLite this waits for the lock before it reads the time that a lease begins at.
                row = Upload.objects.with_time().get(pk=self.pk)
                if fence is not None and row.fence != fence:
                    raise LeaseLost
                change = decide(row)
                if change is None or row._apply(change):
                    break
        self._become(row)
        return change

    def _apply(self, change: Change) -> bool:
        """Write the change, unless the row is no longer the one that it was decided on."""
        columns = change.columns | {
            "version": self.version + 1,
            "event_count": self.event_count + len(change.events),
            "updated_at": self.db_now,
        }
        if change.steps:
            stage = columns.get("stage", self.stage)
            columns["estimated_completion_at"] = estimates.completion_at(
                self, stage and Stage(stage), self.db_now, columns.get("due_at")
            )
        unchanged = Upload.objects.filter(pk=self.pk, version=self.version, lease_until=self.lease_until)
        if not unchanged.update(**columns):
            return False
        for step, values in change.steps.items():
            Step.objects.bulk_create(
                [Step(upload=self, name=step, **values)],
                update_conflicts=True,
                unique_fields=["upload", "name"],
                update_fields=list(values),
            )
        events = Event.objects.bulk_create(
            Event(upload=self, seq=seq, type=new.type, level=new.level, message=new.message, data=new.data)
            for seq, new in enumerate(change.events, start=self.event_count + 1)
        )
        if told := change.told_outside_as(self):
            OutboxEntry.objects.create(event=events[-1], upload=self, type=told)
        # Only whoever has the row's next version comes here.
        made = change.result
        if made is not None and not Result.objects.filter(upload=self).update(**made):
            Result.objects.create(upload=self, **made)
        for name, value in columns.items():
            setattr(self, name, value)
        self.status = status_of(self.current_stage)
        return True

    def _become(self, row: Upload) -> None:
        for column in self._meta.concrete_fields:
            setattr(self, column.attname, getattr(row, column.attname))

    def _step_is_running(self) -> bool:
        return self.steps.filter(name=self.step, status=Step.RUNNING).exists()

    def _step_has_begun(self) -> bool:
        """In this run, also when it waits to be tried again."""
        return self.steps.filter(name=self.step, started_at__isnull=False).exists()


def _as_error(error: CodedError | str | None, message: str | None) -> CodedError:
    if isinstance(error, CodedError):
        return error
    return CodedError(error or "INTERNAL", message or "")
