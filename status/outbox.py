"""What has happened goes out once it is committed: each change of stage, to everybody who wants to know, once.

Publishing is local: it turns entries of the outbox into deliveries and captures, which `status.deliverer` and
`status.analytics` then bring out. An entry and what comes of it change hands in one transaction, row by row, so that
nothing is skipped when transactions commit out of order, and nothing is published twice by publishers side by side.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from django.db import transaction
from django.utils import timezone

from status import analytics, webhooks
from status.models import Capture, WebhookDelivery, WebhookEndpoint
from uploads.models import OutboxEntry

logger = logging.getLogger(__name__)

BATCH = 100
SECONDS = 5.0


class Lag(NamedTuple):
    """Seconds; 0 when there is nothing on its way."""

    unpublished: float
    """The age of the oldest change of stage that is not published."""
    undelivered: float
    """The age of the oldest message that has not arrived, and still may."""
    withheld: float
    """The age of the oldest message that waits until somebody enables its endpoint."""


def publish(seconds: float = SECONDS) -> int:
    """How many entries were published; after about `seconds` the rest is left to the next round.

    One that cannot be put into words stays, and is tried again by the next round; those after it go out.
    """
    until, count, last = time.monotonic() + seconds, 0, 0
    failures: list[tuple[OutboxEntry, Exception]] = []
    entries = OutboxEntry.objects.select_related("event", "upload__result").order_by("pk")
    while batch := list(entries.filter(pk__gt=last)[:BATCH]):
        last = batch[-1].pk
        # Before the transaction: a link to a picture may need its storage's client.
        messages = dict(_in_words(batch, failures))
        taken = _publish(messages)
        count += taken
        # None were ours: other publishers have them, and they will see to the rest as well.
        if (messages and not taken) or time.monotonic() > until:
            break
    if failures:
        first, error = failures[0]
        words = "Outbox: %d entries, the first is %s, cannot be put into words and wait for the next round."
        logger.error(words, len(failures), first, exc_info=error)
    return count


def _in_words(
    batch: list[OutboxEntry], failures: list[tuple[OutboxEntry, Exception]]
) -> Iterator[tuple[int, _Messages]]:
    # Looked for after the entries: to one that was there before an event, it is told.
    endpoints = _endpoints()
    for entry in batch:
        try:
            yield entry.pk, _Messages.of(entry, endpoints)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one message is said, and stops no other
            failures.append((entry, error))


def _publish(messages: dict[int, _Messages]) -> int:
    if not messages:
        return 0
    with transaction.atomic():
        held = OutboxEntry.objects.select_for_update(skip_locked=True).filter(pk__in=messages)
        mine = [messages[pk] for pk in held.order_by("pk").values_list("pk", flat=True)]
        # In the order of the log. A message that is there already has been published: that is as good.
        WebhookDelivery.objects.bulk_create(
            [delivery for message in mine for delivery in message.deliveries], ignore_conflicts=True
        )
        Capture.objects.bulk_create([c for message in mine for c in message.captures], ignore_conflicts=True)
        OutboxEntry.objects.filter(pk__in=[message.entry_id for message in mine]).delete()
    return len(mine)


def _endpoints() -> list[WebhookEndpoint]:
    return list(WebhookEndpoint.objects.filter(disabled_at=None))


class _Messages(NamedTuple):
    entry_id: int
    deliveries: list[WebhookDelivery]
    captures: list[Capture]

    @classmethod
    def of(cls, entry: OutboxEntry, endpoints: Iterable[WebhookEndpoint]) -> _Messages:
        return cls(entry.pk, _deliveries(entry, endpoints), analytics.captures(entry))


def _deliveries(entry: OutboxEntry, endpoints: Iterable[WebhookEndpoint]) -> list[WebhookDelivery]:
    if entry.upload.deleted_at:
        return []
    url = entry.upload.webhook_url
    receivers: list[dict[str, Any]] = [{"endpoint": each} for each in endpoints if entry.type in each.types]
    if url:
        receivers.append({"url": url, "host": urlsplit(url).hostname or "", "session_id": entry.upload.session_id})
    if not receivers:
        return []
    message: dict[str, Any] = {
        "upload": entry.upload,
        "message_id": webhooks.message_id(entry.event),
        "type": entry.type,
        "body": webhooks.body(entry.type, entry.event, entry.upload),
    }
    return [WebhookDelivery(**message, **receiver) for receiver in receivers]


def lag_seconds() -> Lag:
    """How far behind the outside is."""
    oldest = OutboxEntry.objects.order_by("pk").values_list("event__created_at", flat=True).first()
    endpoints = WebhookEndpoint.objects.values_list("pk", "disabled_at")
    disabled = [pk for pk, since in endpoints if since]
    enabled = [pk for pk, since in endpoints if not since]
    return Lag(_age([oldest]), _age(map(_oldest, [None, *enabled])), _age(map(_oldest, disabled)))


def _oldest(endpoint_id: int | None) -> datetime | None:
    """Of the messages that wait; without an endpoint, of those for addresses that came with uploads."""
    waiting = WebhookDelivery.objects.filter(endpoint=endpoint_id, status=WebhookDelivery.PENDING)
    return waiting.order_by("pk").values_list("created_at", flat=True).first()


def _age(times: Iterable[datetime | None]) -> float:
    known = [time for time in times if time]
    return max(0.0, (timezone.now() - min(known)).total_seconds()) if known else 0.0
