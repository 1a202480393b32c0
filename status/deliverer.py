"""Brings webhook messages out. Any number may run at once, and be killed at any moment.

A claim takes a delivery for one attempt, until its lease is over. Each attempt has a thread; rows are read and
written by the caller alone. Slots are shared out so that a slow receiver holds up no other: an endpoint that answers
has several; those that are slow or fail have two each, in a lane of their own; and the addresses that came with
uploads have a third lane, with two for each host and four for each session: names of hosts cost nothing. Where slots
are few, sessions that have the fewest go first, and an endpoint that has none may always begin one.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import groupby
from queue import Empty, SimpleQueue
from typing import NamedTuple, TypeVar
from uuid import UUID

from django.conf import settings
from django.db import OperationalError, transaction
from django.db.models import Exists, Min, OuterRef, Q, Subquery
from django.db.models.functions import Now

from status import webhooks
from status.models import DeliveryQuerySet, WebhookDelivery, WebhookEndpoint
from status.posting import LIMIT, Answer, post

logger = logging.getLogger(__name__)

T = TypeVar("T")

SECONDS = 120.0
"""Of one round: brokers give a message that stays unacknowledged for several minutes to somebody else."""
LOST_AFTER = LIMIT + 5
"""Seconds after which an attempt is not waited for: looking up a name has a time limit of its own, and a longer one."""
PAUSE = 0.25
"""Seconds between two looks for what has become due, while attempts run."""
GATHER = 0.02
"""Seconds for which those that follow soon are waited for: to write and to claim some together costs as for one."""
PARTING = 1.0
"""Seconds that attempts have to come to an end when the process is asked to."""

TRIES = 4
RETRY_PAUSE = 0.5
"""Seconds, up to which a transaction that the database has ended waits before it is tried again."""


class Lane(NamedTuple):
    name: str
    slots: int
    each: int
    """Of those, for one receiver."""


QUICK, SLOW, UPLOADS = Lane("quick", 64, 16), Lane("slow", 16, 2), Lane("uploads", 64, 2)
OF_ONE_SESSION = 4
"""Slots for the addresses that came with its uploads."""
MOST = 256
"""Attempts at once in one process, also of endpoints for which their lane has no slot."""

HOSTS = 1000
"""Of uploads' addresses, so many that have waited longest are looked at together."""
LOOKING = 0.1
"""The share of its time that a deliverer may spend on looking for them: it reads all that are due."""

_running = threading.Lock()


def deliver(seconds: float = SECONDS, stopping: threading.Event | None = None) -> int:
    """Try all that is due; returns how many attempts were begun. One round at a time in each process.

    After `seconds` the round ends; what runs by then is seen to by the next one (`is_under_way`). Once `stopping` is
    set nothing more is begun, and what does not end in a moment is handed back: due now, its try not counted.
    """
    if not _running.acquire(blocking=False):
        return 0
    try:
        return _deliverer.run(seconds, stopping or threading.Event())
    finally:
        _running.release()


def is_under_way() -> bool:
    """Whether attempts of this process run, for which somebody has to wait."""
    return _deliverer.is_under_way


class _Attempt(NamedTuple):
    delivery: WebhookDelivery
    began: float
    lane: Lane

    @property
    def receiver(self) -> int | str:
        return self.delivery.endpoint_id or self.delivery.host


class _Slots:
    """Who has how many."""

    def __init__(self, attempts: Iterable[_Attempt]) -> None:
        self.taken = 0
        self.of_lane: Counter[Lane] = Counter()
        self.of_receiver: Counter[int | str] = Counter()
        self.of_session: Counter[UUID | None] = Counter()
        for attempt in attempts:
            self._count(attempt)

    def free(self, lane: Lane, receiver: int | str) -> int:
        free = min(lane.each - self.of_receiver[receiver], lane.slots - self.of_lane[lane])
        if lane is not UPLOADS and not self.of_receiver[receiver]:
            free = max(free, 1)
        return min(free, MOST - self.taken)

    def take(self, lane: Lane, delivery: WebhookDelivery) -> _Attempt:
        attempt = _Attempt(delivery, time.monotonic(), lane)
        self._count(attempt)
        return attempt

    def _count(self, attempt: _Attempt) -> None:
        self.taken += 1
        self.of_lane[attempt.lane] += 1
        self.of_receiver[attempt.receiver] += 1
        if attempt.delivery.session_id:
            self.of_session[attempt.delivery.session_id] += 1

    @property
    def full_sessions(self) -> list[UUID]:
        return [session for session, count in self.of_session.items() if session and count >= OF_ONE_SESSION]


class _Deliverer:
    """Of this process: what runs when a round ends is seen to by the next one."""

    def __init__(self) -> None:
        self._attempts: dict[int, _Attempt] = {}
        self._answers: SimpleQueue[tuple[_Attempt, Answer]] = SimpleQueue()
        self._hosts: dict[str, UUID | None] = {}
        """Of addresses that came with uploads, those that have something due, and whose it is that is next."""
        self._look_again = 0.0

    @property
    def is_under_way(self) -> bool:
        return bool(self._attempts)

    def run(self, seconds: float, stopping: threading.Event) -> int:
        until, count = time.monotonic() + seconds, 0
        while not stopping.is_set():
            count += self._begin_what_is_due(stopping)
            if not self._attempts or time.monotonic() > until:
                return count
            self._record_what_ends()
        self._part()
        return count

    def _part(self) -> None:
        until = time.monotonic() + PARTING
        while self._attempts and time.monotonic() < until:
            self._record_what_ends()
        left = sorted((attempt.delivery for attempt in self._attempts.values()), key=lambda delivery: delivery.pk)
        self._attempts.clear()
        for delivery in left:
            _insist(delivery.hand_back)

    def _begin_what_is_due(self, stopping: threading.Event) -> int:
        claimed = _insist(self._claim)
        for attempt in claimed:
            self._attempts[attempt.delivery.pk] = attempt
            if not stopping.is_set():
                name = f"webhook {attempt.delivery.pk}"
                threading.Thread(target=self._try, args=[attempt], name=name, daemon=True).start()
        return len(claimed)

    def _try(self, attempt: _Attempt) -> None:
        delivery = attempt.delivery
        headers = webhooks.headers(delivery.message_id, delivery.body, delivery.secrets(datetime.now(UTC)))
        answer = post(delivery.address, headers, delivery.body, allow_private=settings.WEBHOOK_ALLOW_PRIVATE)
        self._answers.put((attempt, answer))

    def _record_what_ends(self) -> None:
        _insist(partial(self._record, list(self._finished())))

    def _finished(self) -> Iterator[tuple[_Attempt, Answer]]:
        """Those that have come to an end; waits a moment for the first."""
        patience = PAUSE
        while self._attempts:
            try:
                attempt, answer = self._answers.get(timeout=patience)
            except Empty:
                break
            # Or it was given up before, and may have been claimed anew.
            if self._attempts.get(attempt.delivery.pk) is attempt:
                del self._attempts[attempt.delivery.pk]
                yield attempt, answer
            patience = GATHER
        for attempt in [each for each in self._attempts.values() if time.monotonic() - each.began > LOST_AFTER]:
            del self._attempts[attempt.delivery.pk]
            yield attempt, Answer(None, f"There was no answer within {LIMIT:g} s.")

    def _record(self, finished: list[tuple[_Attempt, Answer]]) -> None:
        if not finished:
            return
        # In the order of the keys: deliverers that write the same rows would else wait for each other. Of one
        # endpoint, answers stay in the order in which they came.
        deliveries = [(attempt.delivery, answer) for attempt, answer in finished]
        with transaction.atomic():
            counted = {each.pk for each, answer in sorted(deliveries, key=_key) if each.record(answer)}
            heard = [(each.endpoint, answer) for each, answer in deliveries if each.endpoint and each.pk in counted]
            for _, group in groupby(sorted(heard, key=_key), key=_key):
                endpoints, answers = zip(*group, strict=True)
                endpoints[-1].hear(answers)

    def _claim(self) -> list[_Attempt]:
        """As much of what is due as there are free slots, fairly."""
        # Looked for before the transaction: on SQLite it keeps writers waiting.
        slots = _Slots(self._attempts.values())
        endpoints = _endpoints_with_something_due()
        random.shuffle(endpoints)
        endpoints.sort(key=lambda endpoint: slots.of_receiver[endpoint.pk])
        self._look_for_hosts(slots)
        if not endpoints and not self._hosts:
            return []
        with transaction.atomic():
            return [*_claim_of_endpoints(endpoints, slots), *self._claim_of_uploads(slots)]

    def _look_for_hosts(self, slots: _Slots) -> None:
        began = time.monotonic()
        if self._attempts and began < self._look_again:
            return
        self._hosts = _hosts_with_something_due(slots.full_sessions)
        ended = time.monotonic()
        self._look_again = ended + (ended - began) / LOOKING

    def _claim_of_uploads(self, slots: _Slots) -> Iterator[_Attempt]:
        """Sessions with the fewest slots first, then those that have waited longest."""
        for most in range(OF_ONE_SESSION):
            for host, session in list(self._hosts.items()):
                if slots.of_session[session] <= most and slots.free(UPLOADS, host):
                    # One at a time: each may be its session's last.
                    taken = _due_of_uploads(slots.full_sessions).filter(host=host).claim(1)
                    if not taken:
                        del self._hosts[host]
                    for delivery in taken:
                        yield slots.take(UPLOADS, delivery)


def _claim_of_endpoints(endpoints: Iterable[WebhookEndpoint], slots: _Slots) -> Iterator[_Attempt]:
    for endpoint in endpoints:
        lane = SLOW if endpoint.is_slow or endpoint.failing_since else QUICK
        due = WebhookDelivery.objects.due().filter(endpoint=endpoint)
        for delivery in due.claim(slots.free(lane, endpoint.pk)):
            yield slots.take(lane, delivery)


_deliverer = _Deliverer()


def _insist(work: Callable[[], T]) -> T:
    """A transaction that the database has ended is tried again: what runs and what has come in would be forgotten."""
    for _ in range(TRIES - 1):
        try:
            return work()
        except OperationalError as error:
            logger.warning("Webhooks: a transaction is tried again: %s", error)
            time.sleep(random.uniform(0, RETRY_PAUSE))  # noqa: S311 - no secret
    return work()


def _key(answered: tuple[WebhookDelivery | WebhookEndpoint, Answer]) -> int:
    return answered[0].pk


def _due_of_uploads(full_sessions: list[UUID]) -> DeliveryQuerySet:
    """Of addresses that came with uploads, those whose session still has a slot."""
    due = WebhookDelivery.objects.due().filter(endpoint=None)
    return due.exclude(session_id__in=full_sessions) if full_sessions else due


def _hosts_with_something_due(full_sessions: list[UUID]) -> dict[str, UUID | None]:
    """Those that have waited longest first, each with the session of what is next."""
    due = _due_of_uploads(full_sessions)
    whose = due.filter(host=OuterRef("host")).order_by("due_at").values("session_id")[:1]
    hosts = due.values("host").annotate(since=Min("due_at"), whose=Subquery(whose)).order_by("since")
    return dict(hosts.values_list("host", "whose")[:HOSTS])


def _endpoints_with_something_due() -> list[WebhookEndpoint]:
    rested = Q(resting_until=None) | Q(resting_until__lte=Now())
    due = WebhookDelivery.objects.due().filter(endpoint=OuterRef("pk"))
    return list(WebhookEndpoint.objects.filter(rested, Exists(due), disabled_at=None))


def forget_tests() -> int:
    """Deliveries go with their upload; those that were sent for a test have none."""
    old = WebhookDelivery.objects.filter(upload=None, created_at__lt=Now() - timedelta(days=settings.RETENTION_DAYS))
    return old.delete()[0]
