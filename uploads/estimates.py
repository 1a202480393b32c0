"""When a job will be done, from how long its steps really took lately.

What is stored with a job is its 80th percentile: four jobs in five are done by then. It is computed when a step
begins or ends, and only read by those who poll.
"""

import math
import time
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from django.apps import apps

from uploads.stages import STAGE_OF, WORK, Stage, StepName, rank

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from uploads.models import Step, Upload

SHIPPED_SECONDS = {
    StepName.VALIDATE: 0.5,
    StepName.GENERATE: 4.0,
    StepName.STORE: 0.5,
    StepName.WATERMARK: 0.5,
}
"""For a photo of a phone on one core. Each stands for five samples that are older than all others."""
SHIPPED_SPREAD = (0.7, 0.85, 1.0, 1.2, 1.5)
RECENT = 60
"""Samples that are looked at; each weighs `FADING` times the one after it."""
FADING = 0.96
KEEP_SECONDS = 10
"""For so long a process uses the samples that it has read."""
CONFIDENCE = 0.8
PACE_JOBS = 8
"""So many finished jobs show the pace of the whole installation."""


class Sample(NamedTuple):
    seconds: float
    megapixels: float


class Forecast(NamedTuple):
    """Seconds."""

    median: float
    likely: float
    """The 80th percentile."""


def forecast(samples: Sequence[Sample], shipped: float, megapixels: float) -> Forecast:
    """How long a step will take for a picture of this size; `samples` are the latest first.

    Each sample is first made comparable: scaled to this size, if size is seen to matter.
    """
    slope = _slope(samples)
    values = [
        (math.log(max(sample.seconds, 1e-3)) + slope * (_size(megapixels) - _size(sample.megapixels)), FADING**age)
        for age, sample in enumerate(samples)
    ]
    values += [(math.log(shipped * factor), FADING ** len(samples)) for factor in SHIPPED_SPREAD]
    return Forecast(math.exp(_quantile(values, 0.5)), math.exp(_quantile(values, CONFIDENCE)))


def total(forecasts: Iterable[Forecast], share: float = CONFIDENCE) -> float:
    """Seconds for steps one after the other: their spreads add as those of independent variables do."""
    forecasts = list(forecasts)
    median = sum(step.median for step in forecasts)
    if share == 0.5:
        return median
    return median + math.sqrt(sum((step.likely - step.median) ** 2 for step in forecasts))


def _size(megapixels: float) -> float:
    """Small pictures cost as much as half a megapixel."""
    return math.log(megapixels + 0.5)


def _slope(samples: Sequence[Sample]) -> float:
    """The power of the size with which durations grow (least squares on logarithms); 0 where size explains little."""
    if len(samples) < 8:
        return 0.0
    sizes = [_size(sample.megapixels) for sample in samples]
    times = [math.log(max(sample.seconds, 1e-3)) for sample in samples]
    mean_size, mean_time = sum(sizes) / len(sizes), sum(times) / len(times)
    across = sum((size - mean_size) ** 2 for size in sizes)
    along = sum((took - mean_time) ** 2 for took in times)
    both = sum((size - mean_size) * (took - mean_time) for size, took in zip(sizes, times, strict=True))
    if across < 1e-9 or along < 1e-9 or both**2 / (across * along) < 0.2:
        return 0.0
    return min(max(both / across, 0.0), 1.5)


def _quantile(values: list[tuple[float, float]], share: float) -> float:
    """Of (value, weight), interpolated between the middles of the weights."""
    values = sorted(values)
    wanted = share * sum(weight for _, weight in values)
    before, last_middle, last_value = 0.0, 0.0, values[0][0]
    for value, weight in values:
        middle = before + weight / 2
        if middle >= wanted:
            part = (wanted - last_middle) / (middle - last_middle) if middle > last_middle else 1.0
            return last_value + (value - last_value) * part
        before, last_middle, last_value = before + weight, middle, value
    return values[-1][0]


def remaining(stage: Stage | None, megapixels: float) -> list[Forecast]:
    """Of the steps from this stage on, the stage's own included."""
    return [
        forecast(_samples(work.step), SHIPPED_SECONDS[work.step], megapixels)
        for place, work in WORK.items()
        if rank(place) >= rank(stage)
    ]


def completion_at(upload: "Upload", stage: Stage | None, begins: datetime) -> datetime | None:
    """When a job is likely done whose `stage` begins then; None once it has ended."""
    if stage is not None and stage.is_terminal:
        return None
    return begins + timedelta(seconds=total(remaining(stage, upload.width * upload.height / 1e6)))


def wait_for_turn(ahead: int, megapixels: float) -> timedelta:
    """Until the first step begins, with so many uploads before it: at the pace at which jobs were done lately."""
    if not ahead:
        return timedelta(0)
    alone = total(remaining(None, megapixels), 0.5)
    return timedelta(seconds=ahead * min(_pace() or alone, alone))


def _pace() -> float | None:
    """Seconds from one finished job to the next."""
    last = list(WORK.values())[-1].step
    times = _completed(last).values_list("completed_at", flat=True)[:PACE_JOBS]
    done = [completed for completed in times if completed]
    if len(done) < PACE_JOBS:
        return None
    return (done[0] - done[-1]).total_seconds() / (PACE_JOBS - 1)


_kept: dict[StepName, tuple[float, list[Sample]]] = {}


def _samples(step: StepName) -> list[Sample]:
    """The latest of the step that were done at the first attempt, by the model that did the newest of them."""
    read_at, samples = _kept.get(step, (-math.inf, []))
    if time.monotonic() - read_at > KEEP_SECONDS:
        samples = _read_samples(step)
        _kept[step] = (time.monotonic(), samples)
    return samples


def _read_samples(step: StepName) -> list[Sample]:
    columns = ("started_at", "completed_at", "output__model", "upload__width", "upload__height")
    rows = list(_completed(step).filter(attempt=1).values_list(*columns)[:RECENT])
    newest = next((row[2] for row in rows), None)
    return [
        Sample((completed - started).total_seconds(), width * height / 1e6)
        for started, completed, model, width, height in rows
        if model == newest and started and completed
    ]


def _completed(step: StepName) -> "QuerySet[Step]":
    steps: QuerySet[Step] = apps.get_model("uploads", "Step").objects.all()
    return steps.filter(name=step, status="completed").order_by("-completed_at")


def forget() -> None:
    """Read the samples anew at the next estimate."""
    _kept.clear()


assert set(SHIPPED_SECONDS) == set(STAGE_OF)  # noqa: S101 - a new step needs a shipped duration
