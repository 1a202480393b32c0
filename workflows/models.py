from __future__ import annotations

from datetime import timedelta

from django.db import models
from django.db.models import ExpressionWrapper, F
from django.db.models.functions import Now


class Heartbeat(models.Model):
    """When something that must come round again and again last did; a row each, in database time."""

    SWEEP = "sweep"

    name = models.CharField(max_length=32, primary_key=True)
    seen_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.name}: {self.seen_at}"

    @staticmethod
    def beat(name: str) -> None:
        Heartbeat.objects.bulk_create(
            [Heartbeat(name=name, seen_at=Now())],
            update_conflicts=True,
            unique_fields=["name"],
            update_fields=["seen_at"],
        )

    @staticmethod
    def age(name: str) -> timedelta | None:
        """How long ago it was seen; None when it never was."""
        age = ExpressionWrapper(Now() - F("seen_at"), output_field=models.DurationField())
        return Heartbeat.objects.filter(name=name).values_list(age, flat=True).first()
