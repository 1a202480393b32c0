"""What may happen to an upload, decided: pure functions from a row as it is to the `Change` that is to be written.

`Upload._apply` writes a change only if the row is still the one that the decision was made on.
Times are the database's: `row.db_now` is read together with the row.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings

from uploads.errors import REASONS, CodedError, IllegalTransition, NotAllowed
from uploads.stages import (
    FIRST_STEP,
    STAGE_OF,
    WORK,
    Stage,
    StepName,
    may_follow,
    passed_over,
    rank,
)
from uploads.text import in_words, storable

if TYPE_CHECKING:
    from uploads.models import Upload

PROGRESS_EVENT_EVERY = 5
"""Points of progress inside a step between two `step.progress` events."""


@dataclass(frozen=True)
class NewEvent:
    type: str
    message: str
    level: str = "info"
    data: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", storable(self.message))


@dataclass
class Change:
    columns: dict[str, Any] = field(default_factory=dict)
    events: list[NewEvent] = field(default_factory=list)
    steps: dict[StepName, dict[str, Any]] = field(default_factory=dict)
    """Columns of the step rows that change, by name; a row that is not there yet is made."""
    result: dict[str, Any] | None = None

    def add(self, type: str, message: str, level: str = "info", **data: Any) -> None:  # noqa: A002 - the column
        self.events.append(NewEvent(type, message, level, data))

    def told_outside_as(self, row: Upload) -> str | None:
        """The one type under which those outside hear of it, by its last event; only of another stage."""
        stage: Any = self.columns.get("stage", row.stage)
        if stage == row.stage:
            return None
        return {Stage.COMPLETE: "job.completed", Stage.FAILED: "job.failed"}.get(stage, "job.stage_changed")


def current_step(row: Upload) -> StepName | None:
    """The step that runs, or is to run next; None once the job has ended."""
    if row.stage is None:
        return FIRST_STEP
    work = WORK.get(Stage(row.stage))
    return work.step if work else None


def claim(row: Upload, step: StepName, lease: timedelta, run_id: str, is_running: Callable[[], bool]) -> Change | None:
    """None when the step is not this one, is somebody's, is not due, or has no attempt or time left.

    `is_running`: whether whoever had the step before has not ended it; asked only when somebody had.
    """
    if (
        row.step != step
        or (row.lease_until and row.lease_until > row.db_now)
        or row.due_at > row.db_now
        or row.attempt >= row.max_attempts
        or row.deadline_at <= row.db_now
    ):
        return None
    work, attempt = WORK[STAGE_OF[step]], row.attempt + 1
    change = Change(
        {
            "stage": STAGE_OF[step],
            "progress": max(row.progress, work.start),
            "attempt": attempt,
            "run_id": run_id,
            "fence": row.fence + 1,
            "lease_until": row.db_now + lease,
            "hinted_at": None,
            "started_at": row.started_at or row.db_now,
        },
        steps={step: {"status": "running", "attempt": attempt, "error": ""}},
    )
    if attempt == 1 and not row.lease_until:
        change.steps[step] |= {"started_at": row.db_now, "completed_at": None}
        change.add("step.started", work.doing, step=step, attempt=attempt)
    elif attempt > 1 and row.lease_until and is_running():
        # Nobody ended the attempt before this one: its worker was lost.
        message = f"Work was interrupted; attempt {attempt} of {row.max_attempts} goes on."
        change.add("step.retrying", message, "warn", step=step, attempt=attempt)
    return change


def move(row: Upload, stage: Stage, progress: int, message: str | None, *, fenced: bool, begun: bool) -> Change | None:
    """Forward to a working stage or to COMPLETE. None when the row already says so.

    `fenced`: a worker hands its finished step on, and the next one waits for its own claim. Without a fence
    a person or a script says where the job is now. `begun`: the step that is left behind was running.
    """
    if (row.stage, row.progress) == (stage, progress):
        return None
    if not may_follow(row.current_stage, row.progress, stage, progress):
        raise IllegalTransition(f"{row.stage or 'pending'} {row.progress} → {stage} {progress}")
    change = Change({"progress": progress})
    if row.stage == stage:
        change.events += _progress_events(row, progress, message)
        return change
    left = row.step
    change.columns |= {"stage": stage, "started_at": row.started_at or row.db_now, "lease_until": None}
    if not fenced:
        change.columns["fence"] = row.fence + 1
        # Over, but not NULL: whoever claims the step finds that it has begun.
        change.columns["lease_until"] = None if stage is Stage.COMPLETE else row.db_now
    if row.stage and left:
        _leave(change, row, left, begun)
    for name in passed_over(row.current_stage, stage):
        _skip(change, row, name)
    if stage is Stage.COMPLETE:
        change.columns["completed_at"] = row.db_now
        change.add("job.completed", message or "Your picture is ready.")
        return change
    change.columns |= {"attempt": 0, "due_at": row.db_now, "hinted_at": None}
    if not fenced:
        _enter(change, row, stage, message)
    return change


def gone_on_with(row: Upload, change: Change, lease: timedelta) -> Change:
    """The step that `change` comes to is claimed by the same run, if it is to be had."""
    there = copy(row)
    for name, value in change.columns.items():
        setattr(there, name, value)
    step = current_step(there)
    claimed = step and claim(there, step, lease, row.run_id, lambda: False)
    if not claimed:
        return change
    columns = change.columns | claimed.columns
    del columns["due_at"]  # nobody waits for it, and it is the one that an index holds
    return Change(columns, change.events + claimed.events, change.steps | claimed.steps, change.result)


def _leave(change: Change, row: Upload, step: StepName, begun: bool) -> None:
    if not begun:
        _skip(change, row, step)
        return
    change.steps[step] = {"status": "completed", "completed_at": row.db_now}
    change.add("step.completed", f"{WORK[STAGE_OF[step]].done}.", step=step)


def _skip(change: Change, row: Upload, step: StepName) -> None:
    change.steps[step] = {"status": "skipped", "completed_at": row.db_now}
    change.add("step.skipped", "This step had nothing to do.", step=step)


def _enter(change: Change, row: Upload, stage: Stage, message: str | None) -> None:
    work = WORK[stage]
    change.steps[work.step] = {"status": "running", "started_at": row.db_now}
    change.add("step.started", message or work.doing, step=work.step)


def _progress_events(row: Upload, progress: int, message: str | None) -> list[NewEvent]:
    """Every few points, or whenever there is something to say."""
    if not message and progress // PROGRESS_EVENT_EVERY == row.progress // PROGRESS_EVENT_EVERY:
        return []
    step = row.step
    words = message or f"{WORK[STAGE_OF[step]].doing}: {progress}%" if step else f"{progress}%"
    return [NewEvent("step.progress", words, data={"step": step, "progress": progress})]


def after(row: Upload) -> tuple[Stage, int]:
    """Where the job goes when its current step is done. A progress that is further already stays."""
    stages = list(Stage)
    stage = stages[rank(row.current_stage)]
    return stage, max(row.progress, WORK[stage].start if stage in WORK else 100)


def advance(row: Upload, progress: int) -> Change | None:
    """Progress inside the claimed step. A second attempt may start lower than the first one got: no change."""
    if progress <= row.progress:
        return None
    return Change({"progress": progress}, _progress_events(row, progress, None))


def again(row: Upload, error: CodedError, wait: timedelta, *, counts: bool) -> Change:
    """The claimed step is tried again after `wait`; without `counts` its attempt is given back."""
    step = row.step
    attempt = row.attempt if counts else row.attempt - 1
    if counts and row.attempt >= row.max_attempts:
        return fail(row, error, begun=True)
    change = Change(
        {
            "attempt": attempt,
            "fence": row.fence + 1,
            "lease_until": None if counts else row.db_now,
            "due_at": row.db_now + wait,
            "hinted_at": None,
            "error_detail": error.detail,
        }
    )
    if step:
        change.steps[step] = {"status": "pending", "error": error.message}
    change.add(
        "step.retrying",
        f"{error.message} Retrying in {in_words(wait)}.",
        "warn",
        step=step,
        attempt=row.attempt,
        code=error.code,
        dueAt=f"{row.db_now + wait:%Y-%m-%dT%H:%M:%S}Z",
    )
    return change


def hand_back(row: Upload) -> Change:
    """The worker shuts down: the step is due at once, and the attempt did not count.

    A lease that is over, but not NULL, tells the next claim that the step has begun before.
    """
    columns: dict[str, Any] = {"attempt": row.attempt - 1, "fence": row.fence + 1}
    columns |= {"lease_until": row.db_now, "due_at": row.db_now, "hinted_at": None}
    step = row.step
    return Change(columns, steps={step: {"status": "pending"}} if step else {})


def fail(row: Upload, error: CodedError, *, begun: bool) -> Change:
    """The job has failed; its progress stays. `begun`: the current step had begun, and failed with it."""
    if row.is_terminal:
        raise IllegalTransition(f"{row.stage} → failed")
    step = row.step
    change = Change(
        {
            "stage": Stage.FAILED,
            "error_code": error.code,
            "error_message": error.message,
            "error_detail": error.detail,
            "failed_step": step,
            "fence": row.fence + 1,
            "lease_until": None,
            "completed_at": row.db_now,
        }
    )
    if step and begun:
        change.steps[step] = {"status": "failed", "completed_at": row.db_now, "error": error.message}
        if error.code not in {"CANCELED", "DEADLINE_EXCEEDED"}:
            change.add("step.failed", error.message, "error", step=step, code=error.code)
    # Where and how far it was: the row says so no more once the job is tried again.
    place = {"stage": row.stage, "progress": row.progress, "run": row.run, "attempt": row.attempt}
    change.add("job.failed", error.message, "error", step=step, code=error.code, **place)
    return change


def give_up(row: Upload, has_begun: Callable[[], bool]) -> Change | None:
    """None when there is hope: time, and an attempt that is left or still running."""
    if row.is_terminal:
        return None
    if row.deadline_at <= row.db_now:
        return fail(row, CodedError("DEADLINE_EXCEEDED"), begun=has_begun())
    if row.attempt >= row.max_attempts and row.lease_until and row.lease_until <= row.db_now:
        return fail(row, CodedError("WORKER_LOST"), begun=True)
    return None


def discard(row: Upload, has_begun: Callable[[], bool]) -> Change | None:
    """Hidden from now on; a job that still runs is cancelled. Its key may be used again."""
    if row.deleted_at:
        return None
    change = Change() if row.is_terminal else fail(row, CodedError("CANCELED"), begun=has_begun())
    change.columns |= {"deleted_at": row.db_now, "idempotency_key": None}
    return change


def retry(row: Upload) -> Change:
    """A new run from the failed step; what is done is kept. Raises `NotAllowed` when that is no use."""
    gone = row.deleted_at or row.has_expired(row.db_now)
    if row.stage != Stage.FAILED or gone or not is_retryable(row.error_code):
        raise NotAllowed("NOT_RETRYABLE")
    step = StepName(row.failed_step)
    change = Change(
        {
            "stage": STAGE_OF[step],
            "run": row.run + 1,
            "attempt": 0,
            "fence": row.fence + 1,
            "lease_until": None,
            "due_at": row.db_now,
            "hinted_at": None,
            "deadline_at": row.db_now + settings.JOB_DEADLINE,
            "completed_at": None,
            "error_code": "",
            "error_message": "",
            "error_detail": "",
            "failed_step": "",
        },
        steps={step: {"status": "pending", "error": "", "started_at": None, "completed_at": None}},
    )
    change.add("job.retried", "The job is tried again.", step=step, run=row.run + 1)
    return change


def is_retryable(code: str) -> bool:
    """A code that is not in the table comes from workflow code of one's own: worth another try."""
    return code not in REASONS or REASONS[code].retryable
