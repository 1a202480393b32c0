"""Who is told besides those who poll: webhook endpoints, what is on its way to them, and captures for PostHog."""

from __future__ import annotations

import logging
import random
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from django.db import models
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Greatest, Now
from django.utils import timezone

from status import webhooks
from uploads.models import Upload

if TYPE_CHECKING:
    from status.posting import Answer

logger = logging.getLogger(__name__)

ROTATION = timedelta(hours=24)
"""For how long messages are also signed with the secret before a rotation."""
MAX_ATTEMPTS = 12
"""With the waits of `backoff` between them, over about a day."""
HOPELESS_AFTER = timedelta(days=5)
"""An endpoint that has not taken one message for so long is disabled."""
PAUSE_MOST = timedelta(hours=7)
"""Longer than any wait between two tries, also one that the receiver asks for. After a longer silence the time that an
endpoint has been failing for begins anew: it was sent nothing that it could have taken."""
SLOW_MS = 2000
LEASE = timedelta(seconds=60)
"""When somebody else may try what a killed deliverer had taken; well over the time limit of an attempt."""
HISTORY = 30
"""Attempts of one delivery that are kept in words; more than MAX_ATTEMPTS, for it may be replayed."""


def backoff(attempt: int) -> timedelta:
    """After the first attempt 5 s, then four times as long each time up to four hours; up to a quarter more."""
    seconds = min(5 * 4.0 ** (attempt - 1), 4 * 3600)
    return timedelta(seconds=seconds * random.uniform(1, 1.25))  # noqa: S311 - no secret


def new_salt() -> str:
    return secrets.token_hex(16)


class WebhookEndpoint(models.Model):
    """An address that hears of every job. Its secret derives from SECRET_KEY and `salt`, and is stored nowhere."""

    url = models.CharField("URL", max_length=2000, validators=[webhooks.validate_address])
    description = models.CharField(max_length=255, blank=True)
    types = models.JSONField(default=webhooks.all_types)
    salt = models.CharField(max_length=32, default=new_salt, editable=False)
    previous_salt = models.CharField(max_length=32, blank=True, editable=False)
    previous_until = models.DateTimeField(null=True, blank=True, editable=False)
    """When the secret before the rotation ends."""
    disabled_at = models.DateTimeField(null=True, blank=True, editable=False)
    disabled_reason = models.TextField(blank=True, editable=False)
    failing_since = models.DateTimeField(null=True, blank=True, editable=False)
    """The first failure since the last success, or since a silence."""
    last_failure_at = models.DateTimeField(null=True, blank=True, editable=False)
    is_slow = models.BooleanField(default=False, editable=False)
    """Its last answer took longer than `SLOW_MS`: it is sent less at once."""
    resting_until = models.DateTimeField(null=True, blank=True, editable=False)
    """It answered 429 or 503, and asked not to be sent anything before."""
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering: ClassVar = ["pk"]

    def __str__(self) -> str:
        return self.description or self.url

    @property
    def is_enabled(self) -> bool:
        return self.disabled_at is None

    def secret(self) -> str:
        return webhooks.secret("endpoint", self.salt)

    def secrets(self, now: datetime) -> list[str]:
        """All that a message is signed with, the new one first."""
        secrets = [self.secret()]
        if self.previous_salt and self.previous_until and self.previous_until > now:
            secrets.append(webhooks.secret("endpoint", self.previous_salt))
        return secrets

    def rotate(self) -> None:
        """A new secret; the old one stays valid for `ROTATION`."""
        self.previous_salt, self.salt = self.salt, new_salt()
        self.previous_until = timezone.now() + ROTATION
        self.save(update_fields=["salt", "previous_salt", "previous_until"])

    def enable(self) -> bool:
        """What was waiting goes out; False when it was enabled already."""
        disabled = WebhookEndpoint.objects.filter(pk=self.pk, disabled_at__isnull=False)
        return bool(disabled.update(disabled_at=None, disabled_reason="", failing_since=None, resting_until=None))

    def hear(self, answers: Sequence[Answer]) -> None:
        """Take note of what attempts came to, in the order of their ends, if that is news.

        What is news, the database says: this row may have been read a while ago.
        """
        known, last = WebhookEndpoint.objects.filter(pk=self.pk), answers[-1]
        if self.is_slow != (is_slow := last.duration_ms > SLOW_MS):
            known.update(is_slow=is_slow)
        if any(answer.is_success for answer in answers):
            known.exclude(failing_since=None).update(failing_since=None)
        if any(answer.is_gone for answer in answers):
            self._disabled("It answered 410: it wants no more messages.")
        elif not last.is_success:
            self._fails(last)
        if rests := [answer.retry_after for answer in answers if answer.status in {429, 503} and answer.retry_after]:
            known.update(resting_until=Now() + rests[-1])

    def _fails(self, answer: Answer) -> None:
        known = WebhookEndpoint.objects.filter(pk=self.pk)
        known.exclude(failing_since__isnull=False, last_failure_at__gte=Now() - PAUSE_MOST).update(failing_since=Now())
        known.update(last_failure_at=Now())
        since = known.values_list("failing_since", flat=True).first()
        if since and timezone.now() - since > HOPELESS_AFTER:
            self._disabled(f"It has taken no message since {since:%d %B %Y, %H:%M} UTC. {answer.error}")

    def _disabled(self, reason: str) -> None:
        if self.disable(reason):
            logger.error("Webhook endpoint %s was disabled: %s", self.pk, reason)

    def disable(self, reason: str) -> bool:
        """Nothing is sent any more, and nothing new is noted; False when it was disabled already."""
        enabled = WebhookEndpoint.objects.filter(pk=self.pk, disabled_at=None)
        return bool(enabled.update(disabled_at=Now(), disabled_reason=reason))


class DeliveryQuerySet(models.QuerySet["WebhookDelivery"]):
    def due(self) -> DeliveryQuerySet:
        return self.filter(status=WebhookDelivery.PENDING, due_at__lte=Now())

    def to_enabled(self) -> DeliveryQuerySet:
        """Without those of endpoints that are sent nothing."""
        return self.filter(endpoint__disabled_at=None)

    def replay(self) -> int:
        """Once more from the start: the same ids and bodies, due now. Returns how many."""
        return self.update(status=WebhookDelivery.PENDING, due_at=Now(), tries_left=MAX_ATTEMPTS, delivered_at=None)

    def claim(self, most: int) -> list[WebhookDelivery]:
        """Take at most so many, oldest first, for one attempt each; those of a deleted job go. In a transaction."""
        if most <= 0:
            return []
        rows = self.select_related("endpoint", "upload").select_for_update(skip_locked=True, of=("self",))
        taken = list(rows.order_by("due_at")[:most])
        void = {delivery.pk for delivery in taken if delivery.upload and delivery.upload.deleted_at}
        if void:
            WebhookDelivery.objects.filter(pk__in=void).delete()
            taken = [delivery for delivery in taken if delivery.pk not in void]
        WebhookDelivery.objects.filter(pk__in=[delivery.pk for delivery in taken]).update(
            # Not below none: whoever had the last try may have been killed.
            attempts=F("attempts") + 1,
            tries_left=Greatest(F("tries_left") - 1, 0),
            due_at=Now() + LEASE,
        )
        for delivery in taken:
            delivery.attempts += 1
            delivery.tries_left = max(delivery.tries_left - 1, 0)
        return taken


class WebhookDelivery(models.Model):
    """One message for one receiver: an endpoint, or the address that came with the upload."""

    PENDING, DELIVERED, DEAD = "pending", "delivered", "dead"

    endpoint = models.ForeignKey(
        WebhookEndpoint, on_delete=models.CASCADE, related_name="deliveries", null=True, blank=True, db_index=False
    )
    upload = models.ForeignKey(Upload, on_delete=models.CASCADE, related_name="+", null=True, blank=True)
    url = models.CharField("URL", max_length=2000, blank=True)
    """Of the upload; an endpoint's own may be mended between two attempts."""
    host = models.CharField(max_length=255, blank=True)
    """Of the upload's address: one that is slow holds up no other."""
    session_id = models.UUIDField(null=True, blank=True, editable=False)
    """Of the upload whose address it is: who sends many along holds up no other. Not of older rows."""
    message_id = models.CharField(max_length=64)
    type = models.CharField(max_length=32)
    body = models.TextField()

    status = models.CharField(max_length=16, default=PENDING, choices=[(s, s) for s in (PENDING, DELIVERED, DEAD)])
    attempts = models.PositiveSmallIntegerField(default=0)
    """Also the claim's fence: what a deliverer brings counts only if nobody has tried since."""
    tries_left = models.PositiveSmallIntegerField(default=MAX_ATTEMPTS)
    due_at = models.DateTimeField(db_default=Now())
    """While an attempt runs, when it may be taken for lost."""
    created_at = models.DateTimeField(db_default=Now())
    delivered_at = models.DateTimeField(null=True, blank=True)
    last_status = models.PositiveSmallIntegerField(null=True, blank=True)
    last_error = models.TextField(blank=True)
    """Why the last attempt was no success, in words."""
    last_answer = models.TextField(blank=True)
    """The first KiB of it."""
    last_duration_ms = models.PositiveIntegerField(null=True, blank=True)
    history = models.JSONField(default=list, blank=True)
    """What every attempt came to, in short."""

    objects = DeliveryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "webhook deliveries"
        constraints: ClassVar = [
            models.UniqueConstraint(name="delivery_once_per_endpoint", fields=["endpoint", "message_id"]),
            models.UniqueConstraint(name="delivery_once_per_upload", fields=["message_id"], condition=Q(endpoint=None)),
        ]
        indexes: ClassVar = [
            # Claiming: what is due, one endpoint at a time.
            models.Index(name="delivery_due", fields=["endpoint", "due_at"], condition=Q(status="pending")),
            # The same for addresses that came with uploads, one host at a time; and which hosts those are, and whose.
            models.Index(
                name="delivery_due_host",
                fields=["host", "due_at", "session_id"],
                condition=Q(status="pending", endpoint=None),
            ),
            # The oldest that has not arrived, for the lag.
            models.Index(name="delivery_oldest", fields=["endpoint", "id"], condition=Q(status="pending")),
            # The dead letters.
            models.Index(name="delivery_dead", fields=["-id"], condition=Q(status="dead")),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.message_id}"

    @property
    def address(self) -> str:
        return self.endpoint.url if self.endpoint else self.url

    def secrets(self, now: datetime) -> list[str]:
        if self.endpoint:
            return self.endpoint.secrets(now)
        return [webhooks.session_secret(self.upload.session_id)] if self.upload else []

    def record(self, answer: Answer) -> bool:
        """What the claimed attempt came to; False when somebody else has tried since."""
        values: dict[str, Any] = {
            "last_status": answer.status,
            "last_error": answer.error,
            "last_answer": answer.body,
            "last_duration_ms": answer.duration_ms,
            "history": [*self.history, answer.in_words()][-HISTORY:],
        }
        if answer.is_success:
            values |= {"status": self.DELIVERED, "delivered_at": Now()}
        elif self.tries_left <= 0 or (answer.is_gone and not self.endpoint_id):
            values |= {"status": self.DEAD}
            logger.error("Webhook %s is given up after %d attempts: %s", self.message_id, self.attempts, answer.error)
        else:
            wait = max(backoff(MAX_ATTEMPTS - self.tries_left), answer.retry_after)
            values |= {"due_at": Now() + wait}
        return bool(self._claimed().update(**values))

    def hand_back(self) -> None:
        """The claimed attempt is broken off, and its try does not count: it is due now."""
        self._claimed().update(due_at=Now(), tries_left=F("tries_left") + 1)

    def _claimed(self) -> QuerySet[WebhookDelivery]:
        """This row, unless somebody else has tried since, or it is settled."""
        return WebhookDelivery.objects.filter(pk=self.pk, attempts=self.attempts, status=self.PENDING)


class Capture(models.Model):
    """An event for PostHog that has not arrived there yet. Without the upload's key: it outlives a deleted one."""

    uuid = models.UUIDField(primary_key=True)
    """From the event's: sent twice, it counts once."""
    event = models.CharField(max_length=32)
    distinct_id = models.CharField(max_length=64)
    properties = models.JSONField()
    happened_at = models.DateTimeField()
    attempts = models.PositiveSmallIntegerField(default=0)
    due_at = models.DateTimeField(db_default=Now())

    class Meta:
        # Sending: what is due.
        indexes: ClassVar = [models.Index(name="capture_due", fields=["due_at"])]

    def __str__(self) -> str:
        return f"{self.event} {self.uuid}"
