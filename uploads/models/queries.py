from __future__ import annotations

import math
from datetime import timedelta
from decimal import Decimal
from statistics import mean
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models import Case, F, OuterRef, Subquery, When
from django.db.models.functions import Now

from uploads.models.session import Session
from uploads.stages import Status

if TYPE_CHECKING:
    from uploads.models.upload import Upload  # noqa: F401 - named in a string below

QUEUE_POSITION_MAX = 100


class _Count(Subquery):
    """How many rows the subquery has: counting stops where its slice ends."""

    template = "(SELECT COUNT(*) FROM (%(subquery)s) _counted)"
    output_field = models.IntegerField()


class UploadQuerySet(models.QuerySet["Upload"]):
    def for_session(self, session: Session) -> UploadQuerySet:
        """What this session may see, newest first."""
        return self.filter(session=session, deleted_at=None).order_by("-id")

    def for_source(self, source: str) -> UploadQuerySet:
        return self.filter(source=source, deleted_at=None).order_by("-id")

    def with_outlook(self) -> UploadQuerySet:
        """Also `result_id`, and `queue_position` while pending: 1 is next, and counting stops at 100."""
        outlook: dict[str, Any] = {
            "result_id": F("result__id"),
            "queue_position": Case(When(stage=None, then=self.queue_position("id"))),
        }
        return self.annotate(**outlook)

    def queue_position(self, outer: str) -> Subquery:
        """The place among those that wait for their first step, of the upload whose id is the column `outer`."""
        ahead = UploadQuerySet(self.model).waiting().filter(id__lte=OuterRef(outer))
        return _Count(ahead.values("id")[:QUEUE_POSITION_MAX])

    def with_time(self) -> UploadQuerySet:
        """Also `db_now`, the database's time."""
        time: dict[str, Any] = {"db_now": Now()}
        return self.annotate(**time)

    def stats(self) -> dict[str, Any]:
        """Counts by status, retries, cost, and how long the latest thousand took, from acceptance to the end."""
        counted = dict(self.order_by().values_list("status").annotate(models.Count("id")))
        totals = self.aggregate(
            retries=models.Sum(F("run") - 1, default=0), cost=models.Sum("cost_usd", default=Decimal(0))
        )
        completed = self.filter(status=Status.COMPLETED).order_by("-id")
        durations = sorted(
            round((completed_at - created_at) / timedelta(milliseconds=1))
            for created_at, completed_at in completed.values_list("created_at", "completed_at")[:1000]
            if completed_at
        )
        return {
            "total": sum(counted.values()),
            "byStatus": {status.value: counted.get(status, 0) for status in Status},
            "meanDurationMs": round(mean(durations)) if durations else None,
            "p95DurationMs": durations[math.ceil(0.95 * len(durations)) - 1] if durations else None,
            "retries": totals["retries"],
            "costUsd": float(totals["cost"]),
        }

    def waiting(self) -> UploadQuerySet:
        """For their first step."""
        return self.filter(started_at=None, completed_at=None)

    def unfinished(self) -> UploadQuerySet:
        return self.filter(completed_at=None)
