"""The stages of a job, their order, and the share of the bar that each has. Pure Python."""

from enum import StrEnum
from itertools import zip_longest
from typing import NamedTuple


class Stage(StrEnum):
    VALIDATING = "validating"
    GENERATING = "generating"
    STORING = "storing"
    WATERMARKING = "watermarking"
    COMPLETE = "complete"
    FAILED = "failed"

    @property
    def is_terminal(self) -> bool:
        return self in TERMINAL


TERMINAL = frozenset({Stage.COMPLETE, Stage.FAILED})


class Status(StrEnum):
    """What a poller is told first; a function of the stage."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"


class StepName(StrEnum):
    VALIDATE = "validate"
    GENERATE = "generate"
    STORE = "store"
    WATERMARK = "watermark"


class Work(NamedTuple):
    """What a job does while it is in one stage; `start` and `end` are percent of the whole bar."""

    step: StepName
    start: int
    end: int
    doing: str
    done: str


WORK = {
    Stage.VALIDATING: Work(StepName.VALIDATE, 10, 29, "Checking the picture", "The picture is fine"),
    Stage.GENERATING: Work(StepName.GENERATE, 30, 70, "Developing the picture", "The picture is developed"),
    Stage.STORING: Work(StepName.STORE, 80, 89, "Storing the result", "The result is stored"),
    Stage.WATERMARKING: Work(StepName.WATERMARK, 90, 99, "Drawing the watermark", "The watermark is on the preview"),
}
STAGE_OF = {work.step: stage for stage, work in WORK.items()}
FIRST_STEP = StepName.VALIDATE
STEP_AFTER: dict[StepName, StepName | None] = dict(zip_longest(STAGE_OF, list(STAGE_OF)[1:]))

_ORDER = {None: 0} | {stage: rank for rank, stage in enumerate(Stage, start=1)}


def rank(stage: Stage | None) -> int:
    """The place of a stage in the order; pending (None) is 0."""
    return _ORDER[stage]


def status_of(stage: Stage | None) -> Status:
    """The same function as the generated column `Upload.status`."""
    if stage is None:
        return Status.PENDING
    if stage is Stage.COMPLETE:
        return Status.COMPLETED
    return Status.FAILED if stage is Stage.FAILED else Status.PROCESSING


def may_follow(old: Stage | None, old_progress: int, new: Stage, new_progress: int) -> bool:
    """Whether a record may go from one place to the other: never back, never out of a terminal stage."""
    if old is not None and old.is_terminal:
        return False
    if new is Stage.FAILED:
        return True
    return rank(new) >= rank(old) and new_progress >= old_progress


def passed_over(old: Stage | None, new: Stage) -> list[StepName]:
    """The steps that lie strictly between two stages: a forward jump skips them."""
    if new is Stage.FAILED:
        return []
    return [work.step for stage, work in WORK.items() if rank(old) < rank(stage) < rank(new)]
