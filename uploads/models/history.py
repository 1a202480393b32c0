from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from uuid_utils.compat import uuid7

EVENT_LEVELS = ("info", "warn", "error")


class Step(models.Model):
    """What one step of one upload came to, in the latest run that reached it."""

    PENDING, RUNNING, COMPLETED, FAILED, SKIPPED = "pending", "running", "completed", "failed", "skipped"

    upload = models.ForeignKey("uploads.Upload", on_delete=models.CASCADE, related_name="steps")
    name = models.CharField(max_length=16)
    status = models.CharField(max_length=16, choices=[(s, s) for s in (PENDING, RUNNING, COMPLETED, FAILED, SKIPPED)])
    attempt = models.PositiveSmallIntegerField(default=0)
    started_at = models.DateTimeField(null=True, blank=True)
    completed_at = models.DateTimeField(null=True, blank=True)
    error = models.TextField(blank=True)
    output = models.JSONField(default=dict, blank=True)
    """What the step hands to those after it: names of files, for the most part."""

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(name="step_once_per_upload", fields=["upload", "name"]),
            models.CheckConstraint(
                name="step_status_is_known",
                condition=Q(status__in=["pending", "running", "completed", "failed", "skipped"]),
            ),
        ]
        indexes: ClassVar = [
            # Estimates: how long a step took lately.
            models.Index(name="step_latest", fields=["name", "-completed_at"], condition=Q(status="completed")),
        ]

    def __str__(self) -> str:
        return f"{self.name}: {self.status}"

    @property
    def duration_ms(self) -> int | None:
        if self.started_at is None or self.completed_at is None:
            return None
        return round((self.completed_at - self.started_at) / timedelta(milliseconds=1))


class Event(models.Model):
    """Something that has happened; append-only. `seq` is 1, 2, 3 … within its upload."""

    upload = models.ForeignKey("uploads.Upload", on_delete=models.CASCADE, related_name="events", db_index=False)
    seq = models.PositiveIntegerField()
    type = models.CharField(max_length=32)
    level = models.CharField(max_length=8)
    message = models.TextField()
    data = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(name="event_seq_per_upload", fields=["upload", "seq"]),
            models.CheckConstraint(name="event_level_is_known", condition=Q(level__in=EVENT_LEVELS)),
        ]

    def __str__(self) -> str:
        return f"{self.seq} {self.type}"


class OutboxEntry(models.Model):
    """A change of stage that the outside is still to be told of: written with its event, and gone once published.

    A table of its own, for a mark on the event would write a second version of every such row of a log that
    only grows; this one holds what is on its way, a few rows, and leaves out whatever happened before it was there.
    """

    # Publishing takes the oldest by primary key. The upload's going takes both away: the event needs no say.
    event = models.OneToOneField(
        Event, primary_key=True, on_delete=models.DO_NOTHING, db_constraint=False, related_name="unpublished"
    )
    upload = models.ForeignKey("uploads.Upload", on_delete=models.CASCADE, related_name="unpublished")
    type = models.CharField(max_length=32)
    """As the outside calls it: job.stage_changed, job.completed or job.failed."""

    class Meta:
        verbose_name_plural = "outbox entries"

    def __str__(self) -> str:
        return f"{self.event_id} {self.type}"


class Result(models.Model):
    """What came of an upload: names of files in the default storage, and how they were made."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    upload = models.OneToOneField("uploads.Upload", on_delete=models.CASCADE, related_name="result")
    full = models.FileField(max_length=255)
    preview = models.FileField(max_length=255, blank=True)
    thumbnail = models.FileField(max_length=255)
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()
    content_type = models.CharField(max_length=64)
    model = models.CharField(max_length=64)
    prompt_version = models.CharField(max_length=32)
    unlocked_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return str(self.id)
