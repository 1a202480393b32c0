"""When a job will be done, from how long its steps really took lately.

What is stored with a job is its 80th percentile: four jobs in five are done by then. It is computed when a step
begins or ends, and only read by those who poll.
"""

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from django.apps import apps
from django.db.models import Count, Q
from django.db.models.functions import Now

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
ENOUGH = 8
"""Samples to learn more from than a duration."""
KEEP_SECONDS = 10
"""For so long a process uses the samples that it has read."""
CONFIDENCE = 0.8
KEEP_LOAD_SECONDS = 1
"""And for so long what it has seen of the other jobs."""


class Sample(NamedTuple):
    seconds: float
    megapixels: float
    ended: float = 0.0
    """Seconds since some moment, the same for all."""


class Forecast(NamedTuple):
    """Seconds."""

    median: float
    likely: float
    """The 80th percentile."""


def forecast(samples: Sequence[Sample], shipped: float, megapixels: float) -> Forecast:
    """How long a step will take for a picture of this size; `samples` are the latest first.

    Each sample is first made comparable: scaled to this size, if size is seen to matter.
    """
    sizes = [_size(sample.megapixels) for sample in samples]
    times = [math.log(max(sample.seconds, 1e-3)) for sample in samples]
    slope, size = _slope(sizes, times), _size(megapixels)
    values = [
        (took + slope * (size - other), FADING**age) for age, (took, other) in enumerate(zip(times, sizes, strict=True))
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


def _slope(sizes: Sequence[float], times: Sequence[float]) -> float:
    """The power of the size with which durations grow (least squares on logarithms); 0 where size explains little."""
    if len(sizes) < ENOUGH:
        return 0.0
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


def wait_for_turn(others: Mapping[Stage | None, int], crew: "Crew", steps: Mapping[StepName, Forecast]) -> Forecast:
    """Seconds until somebody has time: all the work that is there is done by all, or one step by those who do it.

    `others` are counted by the stage that they are at; each still needs its `steps` from there on.
    """
    if sum(others.values()) < crew.all:
        return Forecast(0.0, 0.0)
    need = {
        work.step: sum(count for stage, count in others.items() if rank(stage) <= rank(own))
        for own, work in WORK.items()
    }
    work = {step: number * steps[step].median for step, number in need.items()}
    median = max(sum(work.values()) / crew.all, *(work[step] / crew.by_step[step] for step in work))
    spread = sum(number * (steps[step].likely - steps[step].median) ** 2 for step, number in need.items())
    return Forecast(median, median + math.sqrt(spread) / crew.all)


class Crew(NamedTuple):
    """How many work at once."""

    all: int
    by_step: Mapping[StepName, int]


def crew_of(samples: Mapping[StepName, Sequence[Sample]], busy: Mapping[Stage | None, int]) -> Crew:
    """As many as were seen at work at the same time lately, or are now; `busy` are counted by stage."""
    now = {work.step: busy.get(stage, 0) for stage, work in WORK.items()}
    together = _most_at_once([sample for step in now for sample in samples[step]])
    everybody = max(1, together, sum(now.values()))
    by_step = {
        step: max(1, now[step], _most_at_once(samples[step])) if len(samples[step]) >= ENOUGH else everybody
        for step in now
    }
    return Crew(everybody, by_step)


def _most_at_once(samples: Iterable[Sample]) -> int:
    # At the same moment, one ends before another begins.
    changes = sorted(
        change for sample in samples for change in ((sample.ended - sample.seconds, 1), (sample.ended, -1))
    )
    return max(accumulate(change for _, change in changes), default=0)


def typical(samples: Sequence[Sample], shipped: float) -> Forecast:
    """Of a picture of any size: its median is the mean, for it is used for many."""
    values = [(sample.seconds, FADING**age) for age, sample in enumerate(samples)]
    values += [(shipped * factor, FADING ** len(samples)) for factor in SHIPPED_SPREAD]
    mean = sum(value * weight for value, weight in values) / sum(weight for _, weight in values)
    return Forecast(mean, max(mean, _quantile(values, CONFIDENCE)))


def completion_at(upload: "Upload", stage: Stage | None, now: datetime, due: datetime | None) -> datetime | None:
    """When a job is likely done that is at `stage`; None once it has ended.

    `due`: when it may go on; None when somebody works on it now.
    """
    if stage is not None and stage.is_terminal:
        return None
    samples = {step: _samples(step) for step in StepName}
    steps = {step: typical(samples[step], SHIPPED_SECONDS[step]) for step in samples}
    megapixels = upload.width * upload.height / 1e6
    own = [
        forecast(samples[work.step], SHIPPED_SECONDS[work.step], megapixels)
        for place, work in WORK.items()
        if rank(place) >= rank(stage)
    ]
    load = _load(upload)
    turn = wait_for_turn(_before(load.due, stage, is_due=due is not None), crew_of(samples, load.busy), steps)
    pause = max(0.0, ((due or now) - now).total_seconds())
    # While it is not due, the others go on.
    if pause > turn.median:
        turn = Forecast(pause, pause)
    return now + timedelta(seconds=total([turn, *own]))


def _before(jobs: Mapping[Stage | None, int], stage: Stage | None, *, is_due: bool) -> dict[Stage | None, int]:
    """What has begun goes first, then whoever came first."""
    least = rank(stage) if is_due else rank(stage) + 1
    return {other: number for other, number in jobs.items() if rank(other) >= least}


class _Load(NamedTuple):
    """Jobs by their stage."""

    due: dict[Stage | None, int]
    busy: dict[Stage | None, int]
    """Of these, the ones that somebody works on."""


_kept_load: list[tuple[float, _Load]] = []


def _load(upload: "Upload") -> _Load:
    """What there is to do for others; between two steps, it is counted once a second only."""
    is_new = upload._state.adding
    if is_new or not _kept_load or time.monotonic() - _kept_load[0][0] > KEEP_LOAD_SECONDS:
        _kept_load[:] = [(time.monotonic(), _counted())]
    load = _kept_load[0][1]
    if is_new:
        return load
    own = upload.current_stage
    return load._replace(due=load.due | {own: max(0, load.due.get(own, 0) - 1)})


def _counted() -> _Load:
    uploads: QuerySet[Upload] = apps.get_model("uploads", "Upload").objects.filter(completed_at=None, due_at__lte=Now())
    counted = uploads.values_list("stage").annotate(due=Count("id"), busy=Count("id", filter=Q(lease_until__gt=Now())))
    rows = [(stage and Stage(stage), due, busy) for stage, due, busy in counted]
    return _Load({stage: due for stage, due, _ in rows}, {stage: busy for stage, _, busy in rows})


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
        Sample((completed - started).total_seconds(), width * height / 1e6, completed.timestamp())
        for started, completed, model, width, height in rows
        if model == newest and started and completed
    ]


def _completed(step: StepName) -> "QuerySet[Step]":
    steps: QuerySet[Step] = apps.get_model("uploads", "Step").objects.all()
    return steps.filter(name=step, status="completed").order_by("-completed_at")


def forget() -> None:
    """Read samples and load anew at the next estimate."""
    _kept.clear()
    _kept_load.clear()


assert set(SHIPPED_SECONDS) == set(STAGE_OF)  # noqa: S101 - a new step needs a shipped duration
