"""Drawing for money: every call stands in the ledger, and what was paid for is kept before anything else is done.

The call has a thread of its own. The step's thread tells how far it may be, and stops when the work is void; the
call goes on even then, to keep what it has bought and to settle what it owes.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from datetime import timedelta
from io import BytesIO
from statistics import median
from typing import TypeVar

from django.conf import settings
from django.db import DatabaseError, connection

from uploads import budget, ledger
from uploads.errors import NotAllowed, Rejected
from uploads.ledger import Outcome, Settlement
from uploads.models import ProviderCall
from workflows import images
from workflows.errors import Deferred, Transient
from workflows.generators.provider import Answer, Provider
from workflows.job import Job

logger = logging.getLogger(__name__)

T = TypeVar("T")
REPORT_EVERY = 1.0
ASK_AGAIN = timedelta(seconds=5)
RECENT = 20
"""Pictures of a model that tell how long the next one takes."""
MOST = 0.97
"""Of the step: the rest is for the picture itself."""


def bought(job: Job, provider: Provider, picture: bytes) -> str:
    """The name of what the provider drew of `picture`, for this attempt or for one before it.

    Each call has a name of its own for it, so that whoever comes late can spoil nothing for those after.
    """
    # Whoever had the step before is gone, and a call of theirs with them.
    ledger.lose(job.upload, before=job.fence)
    for call_id in ledger.may_have_drawn(job.upload, provider.model):
        raw = job.find(name := _name(job, call_id))
        if raw is not None and not _flaw(raw):
            return name
    name, raw = _buy(job, provider, picture)
    if flaw := _flaw(raw):
        raise Transient("GENERATOR_NO_PICTURE", detail=f"its picture is no use: {flaw}")
    return name


def _name(job: Job, call_id: int) -> str:
    return f"{job.upload.pk}/generate/call-{call_id}.raw"


def _flaw(raw: bytes) -> str:
    """Why it cannot be developed any further; empty when it can."""
    try:
        images.decode(BytesIO(raw), max_pixels=settings.UPLOAD_MAX_PIXELS, max_side=settings.WORK_MAX_SIDE)
    except Rejected as error:
        return error.code
    return ""


def _buy(job: Job, provider: Provider, picture: bytes) -> tuple[str, bytes]:
    seconds = job.seconds_left() - 2 * _spare()
    if seconds <= 0:
        raise Transient("STEP_TIMEOUT", detail="no time left for a call")
    if ledger.is_awaited(job.upload):
        # Cancelled, and tried again while the call went on: what it brings is for this run, too.
        raise Deferred(
            "GENERATOR_BUSY",
            "The image service is still drawing this picture for an earlier run.",
            detail="the call of an earlier run has not ended",
            wait=ASK_AGAIN,
        )
    # Whether anything can be stored is found out before it is paid for.
    job.drop(job.save("room", b"any"))
    call = _open_call(job, provider)
    name = _name(job, call.pk)
    until = time.monotonic() + seconds + _spare()

    def carry_out() -> bytes:
        answer = provider.ask(picture, job.upload.prompt_version, seconds)
        return _concluded(job, call, answer, name, until)

    expected = typical_seconds(provider)
    bargain = _in_a_thread(carry_out)
    try:
        return name, _awaited(job, bargain, expected)
    except (SystemExit, KeyboardInterrupt) as error:
        # The worker has to end, and its grace is over; but for what is bought it stays, as long as it is let.
        connection.close()
        logger.info("%s: this worker has to end, and waits for the call that it has made", job.upload.pk)
        if not wait([bargain], until - time.monotonic()).done:
            raise
        job.exit = error
        return name, bargain.result()


def _awaited(job: Job, bargain: Future[T], expected: float) -> T:
    began = time.monotonic()
    while not wait([bargain], REPORT_EVERY).done:
        _report(job, fraction_done(time.monotonic() - began, expected))
        if job.seconds_left() <= 0:
            raise Transient("GENERATOR_UNAVAILABLE", detail="no answer within the time of the step")
    return bargain.result()


def _report(job: Job, fraction: float) -> None:
    """A database that is away ends nothing: the call goes on, and another one must not be made."""
    try:
        job.report(fraction)
    except DatabaseError as error:
        logger.warning("progress of %s not recorded: %s", job.upload.pk, error)
        connection.close()


def _spare() -> float:
    """Seconds of the step for keeping the picture; so many again for looking at it."""
    return settings.STEP_TIMEOUT.total_seconds() / 20


def _open_call(job: Job, provider: Provider) -> ProviderCall:
    try:
        return ledger.open_call(
            job.upload,
            fence=job.fence,
            provider=provider.name,
            model=provider.model,
            reserved=settings.GENERATE_COST_USD,
            within=timedelta(seconds=job.seconds_left()) + settings.STEP_LEASE,
        )
    except NotAllowed as error:
        raise Deferred(
            error.code,
            "Today's budget for pictures is used up.",
            detail="the day's budget is used up",
            wait=budget.until_tomorrow(),
        ) from error


def _concluded(job: Job, call: ProviderCall, answer: Answer, name: str, until: float) -> bytes:
    """First keep what was bought, then settle; try both up to `until`, on the monotonic clock."""
    try:
        if answer.picture is None:
            raise answer.error or Transient("GENERATOR_NO_PICTURE")
        drawn = answer.picture
        return _insist(lambda: job.keep(name, drawn), Deferred, until)
    except Deferred as error:
        if answer.picture is None:
            raise
        # It has to be bought again, which must have an end.
        raise Transient(error.code, detail=error.detail) from error
    finally:
        _insist(lambda: ledger.settle(call.pk, _settlement(answer)), DatabaseError, until)


def _insist(action: Callable[[], T], trouble: type[Exception], until: float) -> T:
    """Money was paid: a store or a database that is away for a moment is waited for."""
    while True:
        try:
            return action()
        except trouble:
            if time.monotonic() > until:
                raise
            connection.close()
            time.sleep(1)


def _settlement(answer: Answer) -> Settlement:
    if answer.cost_usd is None:
        status = ProviderCall.UNKNOWN
    elif answer.outcome in {Outcome.PICTURE, Outcome.NO_PICTURE, Outcome.BLOCKED}:
        status = ProviderCall.SETTLED
    else:
        status = ProviderCall.FAILED
    return Settlement(
        status,
        answer.outcome,
        answer.cost_usd or Settlement.cost_usd,
        answer.tokens,
        answer.error_kind,
        answer.reason,
    )


def _in_a_thread(work: Callable[[], T]) -> Future[T]:
    """A daemon: a process that has to end does not wait for it. The call is then unknown, and counted as paid."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - it is the step's thread that has to end with it
            future.set_exception(error)
        finally:
            connection.close()

    threading.Thread(target=run, name="paid call", daemon=True).start()
    return future


def fraction_done(elapsed: float, expected: float) -> float:
    """Nine tenths at the expected time (both in seconds), and then ever slower: it never gets there by itself."""
    share = elapsed / max(expected, 0.1)
    return MOST * (0.9 * share if share < 1 else 1 - 0.1 * math.exp(1 - share))


def typical_seconds(provider: Provider) -> float:
    """The median of the model's latest pictures."""
    pictures = ProviderCall.objects.filter(model=provider.model, outcome=Outcome.PICTURE).order_by("-ended_at")
    times = pictures.values_list("started_at", "ended_at")[:RECENT]
    took = [(ended - started).total_seconds() for started, ended in times if ended]
    return median(took) if took else provider.typical_seconds
