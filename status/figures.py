"""The numbers behind the admin's plots, each read through an index, and of no more rows than it says.

A window is cut into buckets of the clock (UTC), the last of which is still filling. Jobs are counted in the bucket
in which they ended, those that were retried since in the one of their last end.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from django.db.models import Count, Min, QuerySet, Sum
from django.utils import timezone

from uploads.changelist import COUNTED
from uploads.models import ProviderCall, Step, Upload
from uploads.retention import first_id_at
from uploads.stages import FIRST_STEP, StepName

MOST_JOBS = 500_000
"""Once so many have been counted, the buckets before are left out."""
SAMPLES = 100
"""So many of the latest steps in each bucket show how long they took."""
CANCELED = "CANCELED"


class Window(NamedTuple):
    bucket: timedelta
    buckets: int


WINDOWS = {
    "1h": Window(timedelta(minutes=5), 13),
    "24h": Window(timedelta(hours=1), 25),
    "7d": Window(timedelta(hours=6), 29),
}


@dataclass
class Bucket:
    start: datetime
    end: datetime
    counted: bool = False
    """False for what lies beyond `MOST_JOBS`: then the numbers are not known."""
    accepted: int = 0
    completed: int = 0
    stopped: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    """By code; those that somebody stopped are not among them."""
    cost_usd: Decimal = Decimal(0)
    """Of the paid calls that began."""
    waits: list[float] = field(default_factory=list)
    """Seconds from acceptance to the first step, of samples."""
    durations: dict[StepName, list[float]] = field(default_factory=dict)
    """Seconds, of samples that were completed."""

    @property
    def failed(self) -> int:
        return self.failures.total()

    @property
    def ended(self) -> int:
        return self.completed + self.stopped + self.failed


class Queue(NamedTuple):
    """As it is now. Ages in seconds, None when there is nothing."""

    waiting: int
    """For their first step; at most `COUNTED`."""
    oldest_waiting: float | None
    unfinished: int
    """At most `COUNTED`."""
    oldest_unfinished: float | None


def read(name: str) -> list[Bucket]:
    """Oldest first; `name` is one of `WINDOWS`."""
    buckets = _buckets(WINDOWS[name], timezone.now())
    left = MOST_JOBS
    for bucket in reversed(buckets):
        if left <= 0:
            break
        _count(bucket)
        _sample(bucket)
        left -= max(bucket.accepted, bucket.ended)
    return buckets


def _buckets(window: Window, now: datetime) -> list[Bucket]:
    width = window.bucket
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    last = epoch + (now - epoch) // width * width
    starts = [last - width * back for back in reversed(range(window.buckets))]
    return [Bucket(start, start + width) for start in starts]


def _count(bucket: Bucket) -> None:
    bucket.counted = True
    bucket.accepted = Upload.objects.filter(id__gte=first_id_at(bucket.start), id__lt=first_id_at(bucket.end)).count()
    calls = ProviderCall.objects.filter(started_at__gte=bucket.start, started_at__lt=bucket.end)
    bucket.cost_usd = calls.aggregate(cost=Sum("cost_usd", default=Decimal(0)))["cost"]
    for ended in _ended(bucket):
        for code, count in ended.order_by().values_list("error_code").annotate(Count("id")):
            if not code:
                bucket.completed += count
            elif code == CANCELED:
                bucket.stopped += count
            else:
                bucket.failures[code] += count


def _ended(bucket: Bucket) -> Iterator[QuerySet[Upload]]:
    """In two, as the indexes for retention are: those whose files are still there, and the others."""
    ended = Upload.objects.filter(completed_at__gte=bucket.start, completed_at__lt=bucket.end)
    yield ended.filter(files_purged_at=None)
    yield ended.filter(files_purged_at__isnull=False)


def _sample(bucket: Bucket) -> None:
    for step in StepName:
        done = Step.objects.filter(name=step, status=Step.COMPLETED)
        within = done.filter(completed_at__gte=bucket.start, completed_at__lt=bucket.end)
        rows = within.order_by("-completed_at").values_list("started_at", "completed_at")
        if step is FIRST_STEP:
            firsts = rows.values_list("started_at", "completed_at", "upload__created_at", "upload__run")[:SAMPLES]
            bucket.waits = [_seconds(accepted, began) for began, _, accepted, run in firsts if began and run == 1]
            bucket.durations[step] = [_seconds(began, ended) for began, ended, _, _ in firsts if began and ended]
        else:
            bucket.durations[step] = [_seconds(began, ended) for began, ended in rows[:SAMPLES] if began and ended]


def _seconds(start: datetime, end: datetime) -> float:
    return max((end - start).total_seconds(), 0.0)


def queue() -> Queue:
    waiting, unfinished = Upload.objects.waiting(), Upload.objects.unfinished()
    now = timezone.now()
    return Queue(_bounded(waiting), _age(waiting, now), _bounded(unfinished), _age(unfinished, now))


def _bounded(uploads: QuerySet[Upload]) -> int:
    return uploads.order_by().values("pk")[:COUNTED].count()


def _age(uploads: QuerySet[Upload], now: datetime) -> float | None:
    # Not the first by id: to find it, all that is finished might be read.
    oldest = uploads.aggregate(oldest=Min("created_at"))["oldest"]
    return _seconds(oldest, now) if oldest else None


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that at least `share` of them do not exceed (nearest rank); None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    rank = -(-len(ordered) * share // 1)
    return ordered[max(int(rank), 1) - 1]
