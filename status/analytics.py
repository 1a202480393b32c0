"""What PostHog is told. Without POSTHOG_API_KEY nothing is sent, kept or even imported.

How a job ended goes through the outbox: a `Capture` stays until PostHog has taken it. The rest may be lost: it is
handed to the client's own bounded queue, and no request waits for it.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from multiprocessing.util import Finalize
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from status.models import Capture
from uploads.models import OutboxEntry, Result, Session, Upload

if TYPE_CHECKING:
    from posthog import Posthog
if settings.POSTHOG_API_KEY:
    import posthog  # noqa: F401 - now, or the first request would wait for it

logger = logging.getLogger(__name__)

SAMPLE = 0.1
"""Of all polls."""
NAMESPACE = UUID("9a4b6d5c-2f51-4c7e-9d0f-6f1d0f3a7f0e")
TIMEOUT = 5
"""Seconds for one request to PostHog."""
FLUSH = 2.0
"""Seconds that a process which ends may spend on what it has not sent yet."""
QUEUE = 1000
INTERVAL = 5.0
"""Seconds for which what is queued may wait for more."""
BATCH = 50
LEASE = timedelta(seconds=2 * BATCH * TIMEOUT)
"""When somebody else may send what a killed process had taken; a whole batch may run into its time limit."""
KEPT = timedelta(days=7)


def upload_received(upload: Upload) -> None:
    _send("upload_received", upload.session_id, {"upload_id": str(upload.pk)})


def status_poll(read: Callable[[], Upload]) -> None:
    """Of one poll in ten; the upload is only read for those."""
    if settings.POSTHOG_API_KEY and random.random() < SAMPLE:  # noqa: S311 - no secret
        upload = read()
        place = {"stage": upload.stage, "progress": upload.progress}
        _send("status_poll", upload.session_id, {"upload_id": str(upload.pk)} | place)


def result_viewed(session: Session, result: Result) -> None:
    _send("result_viewed", session.pk, {"upload_id": str(result.upload_id), "result_id": str(result.pk)})


def _send(event: str, session_id: UUID, properties: dict[str, Any]) -> None:
    if settings.POSTHOG_API_KEY:
        _background().capture(event, distinct_id=str(session_id), properties=properties)


def captures(entry: OutboxEntry) -> list[Capture]:
    """What the end of a job is to PostHog; nothing else is worth keeping for it."""
    upload, event = entry.upload, entry.event
    if not settings.POSTHOG_API_KEY or entry.type not in {"job.completed", "job.failed"}:
        return []
    if entry.type == "job.completed":
        name, properties = "status_complete", _completed(upload)
    else:
        name = "status_failed"
        properties = {
            "final_stage": event.data.get("stage"),
            "final_progress": event.data.get("progress"),
            "error_code": event.data.get("code"),
        }
    return [
        Capture(
            uuid=uuid5(NAMESPACE, f"{upload.pk}.{event.seq}"),
            event=name,
            distinct_id=str(upload.session_id),
            properties={"upload_id": str(upload.pk)} | properties,
            happened_at=event.created_at,
        )
    ]


def _completed(upload: Upload) -> dict[str, Any]:
    result = getattr(upload, "result", None)
    took = upload.completed_at - upload.created_at if upload.completed_at else None
    return {
        "result_id": str(result.pk) if result else None,
        "total_duration_ms": round(took / timedelta(milliseconds=1)) if took is not None else None,
    }


def send_captures(seconds: float = 20.0, stopping: threading.Event | None = None) -> int:
    """How many PostHog has taken. The first that it does not take ends the round: it is away.

    Once `stopping` is set the request that runs is the last.
    """
    if not settings.POSTHOG_API_KEY:
        return 0
    stopping = stopping or threading.Event()
    until, count = time.monotonic() + seconds, 0
    while time.monotonic() < until and not stopping.is_set() and (batch := _claim()):
        for number, capture in enumerate(batch):
            if stopping.is_set():
                _give_back(batch[number:])
                return count
            if not _deliver(capture):
                _postpone(capture)
                _give_back(batch[number + 1 :])
                return count
            capture.delete()
            count += 1
    return count


def _claim() -> list[Capture]:
    due = Capture.objects.filter(due_at__lte=Now())
    if not due.exists():  # on SQLite the transaction would keep writers waiting
        return []
    with transaction.atomic():
        batch = list(due.select_for_update(skip_locked=True).order_by("due_at")[:BATCH])
        Capture.objects.filter(pk__in=[capture.pk for capture in batch]).update(due_at=Now() + LEASE)
    return batch


def _deliver(capture: Capture) -> bool:
    taken = _at_once().capture(
        capture.event,
        distinct_id=capture.distinct_id,
        properties=capture.properties,
        timestamp=capture.happened_at,
        uuid=str(capture.uuid),
    )
    return taken is not None


def _postpone(refused: Capture) -> None:
    """It waits longer each time, up to ten minutes."""
    wait = timedelta(seconds=min(5 * 2.0 ** min(refused.attempts, 10), 600))
    logger.warning("PostHog has not taken %s; it is sent again in %d s.", refused, wait.total_seconds())
    Capture.objects.filter(pk=refused.pk).update(attempts=F("attempts") + 1, due_at=Now() + wait)


def _give_back(untried: list[Capture]) -> None:
    Capture.objects.filter(pk__in=[capture.pk for capture in untried]).update(due_at=Now())


def forget_old() -> int:
    """What PostHog has not taken for `KEPT` is given up."""
    count, _ = Capture.objects.filter(happened_at__lt=Now() - KEPT).delete()
    if count:
        logger.error("%d events for PostHog were given up: it has not taken them for %d days.", count, KEPT.days)
    return count


@cache
def _background() -> Posthog:
    """Of this process; made when it is first needed, which in a server's child is after its fork."""
    client = _client(max_queue_size=QUEUE, flush_interval=INTERVAL, max_retries=1)
    # The client's own way, `atexit`, is not taken by the end of a server's child.
    Finalize(None, flush, exitpriority=1)
    return client


@cache
def _at_once() -> Posthog:
    return _client(sync_mode=True, max_retries=0)


def _client(**options: Any) -> Posthog:
    from posthog import Posthog  # noqa: PLC0415 - half a second of importing, for those who want it

    client = Posthog(
        settings.POSTHOG_API_KEY,
        host=settings.POSTHOG_HOST,
        timeout=TIMEOUT,
        disable_geoip=True,
        before_send=_only_ours,
        **options,
    )
    # A traceback for each attempt while PostHog is away, and a line for each event that its queue has no room for.
    client.log.setLevel(logging.CRITICAL)
    return client


def _only_ours(message: dict[str, Any]) -> dict[str, Any]:
    """Without what the client says of this machine; `$geoip_disable` keeps it from being put on a map."""
    ours = {name: value for name, value in message["properties"].items() if not name.startswith("$")}
    return message | {"properties": ours | {"$geoip_disable": True}}


def flush() -> None:
    """Send what is queued, for at most `FLUSH` seconds: the process ends."""
    if settings.POSTHOG_API_KEY and _background.cache_info().currsize:
        _background().flush(timeout_seconds=FLUSH)
