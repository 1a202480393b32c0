"""The sweeper: finds what is due or abandoned, and hints it or fails it. Any number may run at once."""

import logging
from datetime import timedelta
from functools import reduce
from itertools import takewhile
from operator import or_
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from uploads import ledger
from uploads.models import Upload
from workflows.models import Heartbeat
from workflows.pipeline import send

logger = logging.getLogger(__name__)

BATCH = 200
SELDOM = timedelta(minutes=10)
"""Of a backlog of ten thousand that is 17 hints a second; and a broker that was emptied is felt no longer."""


def sweep() -> None:
    # Marked after it was sent: of a sweep that dies or finds the broker dead, the next one sends the rest.
    _mark(list(takewhile(send, unhinted()[:BATCH])))
    Heartbeat.beat(Heartbeat.SWEEP)
    for upload in _free(hopeless()):
        if upload.give_up():
            logger.warning("%s failed: %s", upload.pk, upload.error_code)
            ledger.lose(upload, before=upload.fence)
    ledger.give_up_overdue(BATCH)


def _free(uploads: QuerySet[Upload]) -> list[Upload]:
    """Without those that somebody else is just changing, which could be for long: the next sweep has them."""
    with transaction.atomic():
        return list(uploads.select_for_update(skip_locked=True)[:BATCH])


def _mark(hinted: list[Upload]) -> None:
    """Not what a worker was quick to take: its next hint is another one.

    In one statement that waits for nobody: what somebody else is just changing is left to the next sweep.
    """
    of_version: dict[int, list[UUID]] = {}
    for upload in hinted:
        of_version.setdefault(upload.version, []).append(upload.pk)
    unchanged = reduce(or_, (Q(version=version, pk__in=ids) for version, ids in of_version.items()), Q(pk__in=[]))
    with transaction.atomic():
        free = Upload.objects.filter(unchanged).order_by("pk").select_for_update(skip_locked=True)
        Upload.objects.filter(pk__in=free).update(hinted_at=Now())


ABANDONED = Q(attempt__gte=F("max_attempts"), lease_until__isnull=False, lease_until__lte=Now())
"""By the worker of the last attempt."""
HOPELESS = Q(deadline_at__lte=Now()) | ABANDONED


def hopeless() -> QuerySet[Upload]:
    return Upload.objects.unfinished().filter(HOPELESS).order_by("due_at")


def unhinted() -> QuerySet[Upload]:
    """Due, nobody's, and not hinted lately: again after two leases (a minute), then twice as long each time up to
    `SELDOM`, so that a backlog is no flood."""
    free = Q(lease_until=None) | Q(lease_until__lte=Now())
    doubling = Q(hinted_at__gt=Now() - (F("hinted_at") - F("due_at"))) & Q(hinted_at__gt=Now() - SELDOM)
    lately = Q(hinted_at__gt=Now() - 2 * settings.STEP_LEASE) | doubling
    return (
        Upload.objects.unfinished()
        .filter(free, due_at__lte=Now())
        .exclude(Q(hinted_at__isnull=False) & lately)
        .exclude(HOPELESS)
        .order_by("due_at")
    )
