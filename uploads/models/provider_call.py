from __future__ import annotations

from decimal import Decimal
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class ProviderCall(models.Model):
    """One call that costs money: written before it is made, settled once it is known what came of it.

    `cost_usd` is what the call counts as. Open, it counts nothing yet, and `reserved_usd` is kept free for it in the
    day's budget; settled, it is what the provider's own figures come to; failed, nothing, for it was refused; unknown,
    the whole reserve, for it may have been charged. `Upload.cost_usd` is always the sum over the upload's calls.
    """

    OPEN, SETTLED, FAILED, UNKNOWN = "open", "settled", "failed", "unknown"

    # What was paid stays paid: the row outlives its upload.
    upload = models.ForeignKey(
        "uploads.Upload", on_delete=models.SET_NULL, null=True, blank=True, related_name="provider_calls"
    )
    run = models.PositiveSmallIntegerField()
    attempt = models.PositiveSmallIntegerField()
    fence = models.PositiveIntegerField()
    provider = models.CharField(max_length=32)
    model = models.CharField(max_length=64)
    prompt_version = models.CharField(max_length=32)

    status = models.CharField(max_length=16, default=OPEN, choices=[(s, s) for s in (OPEN, SETTLED, FAILED, UNKNOWN)])
    reserved_usd = models.DecimalField(max_digits=12, decimal_places=6)
    cost_usd = models.DecimalField(max_digits=12, decimal_places=6, default=Decimal(0))
    tokens = models.JSONField(default=dict, blank=True)
    """How many of each kind, as the provider counted them."""
    outcome = models.CharField(max_length=16, blank=True)
    """One of `uploads.ledger.Outcome`; empty while the call is open."""
    error_kind = models.CharField(max_length=64, blank=True)
    reason = models.TextField(blank=True)
    """The provider's own words, for admins only."""

    started_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True, blank=True)
    deadline_at = models.DateTimeField()
    """From then on nobody can still be waiting for an answer."""

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                name="call_status_is_known", condition=Q(status__in=["open", "settled", "failed", "unknown"])
            ),
            models.CheckConstraint(
                name="call_open_has_no_end",
                condition=Q(status="open", ended_at=None, cost_usd=0) | (~Q(status="open") & Q(ended_at__isnull=False)),
            ),
            models.CheckConstraint(
                name="call_costs_nothing_or_more", condition=Q(cost_usd__gte=0, reserved_usd__gte=0)
            ),
        ]
        indexes: ClassVar = [
            # The budget: the sums of all calls of today, from the index alone.
            models.Index(name="call_day", fields=["started_at", "status", "cost_usd", "reserved_usd"]),
            # Sweep: open, and nobody can be waiting any more.
            models.Index(name="call_overdue", fields=["deadline_at"], condition=Q(status="open")),
            # How long a model takes: its latest pictures.
            models.Index(name="call_latest", fields=["model", "-ended_at"], condition=Q(outcome="picture")),
        ]

    def __str__(self) -> str:
        return f"{self.model}: {self.outcome or self.status}"
