"""Claim → work → commit: the one place where the order of steps and the ownership of a job are enforced."""

import logging
import random
import threading
import time
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from datetime import timedelta

import structlog
from celery.exceptions import SoftTimeLimitExceeded
from django.conf import settings
from django.db import DatabaseError, connection

from uploads import ledger
from uploads.errors import CodedError, IllegalTransition, LeaseLost, Rejected
from uploads.models import Upload
from uploads.stages import STAGE_OF, STEP_AFTER, Stage, StepName
from workflows.errors import Deferred, Transient
from workflows.job import Job
from workflows.metrics import STEP_SECONDS
from workflows.pipeline import PIPELINE, hint

logger = logging.getLogger(__name__)

QUICK = 0.1
"""Of the time of a step: what follows then has nine tenths of it, at least."""
RENEW_AGAIN = 1.0
"""Seconds after which a lease that could not be renewed is tried again."""


def run(step: StepName, upload_id: str, run_id: str) -> bool:
    """Do the step if it is to be had; whatever comes of it is in the record. False when it was not to be had."""
    job = _claimed(step, upload_id, run_id)
    if job:
        _done(job, lambda _: False)
    return job is not None


def run_on(step: StepName, upload_id: str, run_id: str, served: Container[str]) -> None:
    """And go on with what follows, where that waits on one of the queues in `served`: a picture that was begun is
    done before others are begun, no message has to come for it, and each step is claimed as the one before it ends.

    Together they have the time of one step, for so long may a task run: only quick ones are gone on with.
    """
    began, limit = time.monotonic(), settings.STEP_TIMEOUT.total_seconds()

    def goes_on(following: StepName) -> bool:
        return PIPELINE[following].queue in served and time.monotonic() - began <= QUICK * limit

    job = _claimed(step, upload_id, run_id)
    while job:
        job = _done(job, goes_on)


def _claimed(step: StepName, upload_id: str, run_id: str) -> Job | None:
    upload, ends_at = Upload(pk=upload_id), time.monotonic() + settings.STEP_TIMEOUT.total_seconds()
    with _interruptible():
        try:
            fence = upload.claim(step, settings.STEP_LEASE, run_id)
        except Upload.DoesNotExist:
            return None
    return None if fence is None else Job(upload, step, fence, ends_at)


def _done(job: Job, goes_on: Callable[[StepName], bool]) -> Job | None:
    """The job of the step after it, once that is claimed; else whoever is to do it is told."""
    upload, step = job.upload, job.step
    structlog.contextvars.bind_contextvars(step=step.value, attempt=upload.attempt)
    with _interruptible():
        try:
            fence = _measured(job, goes_on)
            if fence is not None:
                return Job(upload, StepName(str(upload.step)), fence, job.ends_at)
            if _is_done(upload, step):
                hint(upload)
        finally:
            if job.exit:  # whatever has become of the step
                raise job.exit
    return None


@contextmanager
def _interruptible() -> Iterator[None]:
    try:
        yield
    except (SoftTimeLimitExceeded, SystemExit, KeyboardInterrupt):
        _void_connection()
        raise


def _measured(job: Job, goes_on: Callable[[StepName], bool]) -> int | None:
    upload, step, began = job.upload, job.step, time.monotonic()
    fence = None
    try:
        fence = _work(job, goes_on)
    except LeaseLost:
        logger.info("%s %s: void, it is somebody else's now", upload.pk, step)
        outcome = "void"
    else:
        logger.info("%s %s: %s after %.1f s", upload.pk, step, upload.stage, time.monotonic() - began)
        outcome = _outcome(upload, step)
    STEP_SECONDS.labels(step, outcome).observe(time.monotonic() - began)
    return fence


def _is_done(upload: Upload, step: StepName) -> bool:
    return upload.stage not in {STAGE_OF[step], Stage.FAILED}


def _outcome(upload: Upload, step: StepName) -> str:
    if _is_done(upload, step):
        return "completed"
    return "failed" if upload.stage == Stage.FAILED else "to be tried again"


def _work(job: Job, goes_on: Callable[[StepName], bool]) -> int | None:
    """Every way in which a step can end, recorded. The fence of the step after it, when that is claimed with it."""
    try:
        # No renewal once the step is committed: it would be that of the next step, which nobody has claimed.
        with _lease(job):
            outcome = PIPELINE[job.step].work(job)
        return job.upload.complete_step(
            fence=job.fence,
            output=outcome.output,
            result=outcome.result,
            skipped=outcome.skipped,
            lease=settings.STEP_LEASE if _is_gone_on_with(job, goes_on) else None,
        )
    except Rejected as error:
        job.upload.fail(error, fence=job.fence)
    except MemoryError as error:
        # It would be the same each time.
        logger.warning("%s of %s takes more than WORKER_MEMORY_BYTES", job.step, job.upload.pk)
        job.upload.fail(CodedError("MEMORY_EXCEEDED", detail=str(error)), fence=job.fence)
    except Deferred as error:
        job.upload.try_again(error, deferral(job, error.wait), fence=job.fence, counts=False)
    except Transient as error:
        _try_again(job, error)
    except (SystemExit, KeyboardInterrupt):
        # The worker shuts down, and its grace is over.
        _void_connection()
        _let_go(job)
        raise
    except SoftTimeLimitExceeded:
        _void_connection()
        _try_again(job, CodedError("STEP_TIMEOUT"))
    except (LeaseLost, IllegalTransition, DatabaseError):
        # Nothing can be recorded, or must be: the sweeper goes on from what the record says.
        raise
    except Exception as error:
        logger.exception("%s of %s", job.step, job.upload.pk)
        _try_again(job, CodedError("INTERNAL", detail=f"{type(error).__name__}: {error}"))
    return None


def _is_gone_on_with(job: Job, goes_on: Callable[[StepName], bool]) -> bool:
    following = STEP_AFTER[job.step]
    return following is not None and not job.exit and goes_on(following)


def _let_go(job: Job) -> None:
    """Handed back for nothing, unless a call is lost with this process that may have to be paid for: that counts as
    if the worker had been killed, or it could go on for ever."""
    try:
        if ledger.lose(job.upload, before=job.fence + 1):
            job.upload.renew(job.fence, timedelta(0))
        else:
            job.upload.hand_back(fence=job.fence)
    except LeaseLost:
        pass
    except DatabaseError as error:
        # The worker has to end all the same; the lease brings the job back.
        logger.warning("%s %s: not handed back: %s", job.upload.pk, job.step, error)


def _void_connection() -> None:
    """A signal's exception can come after BEGIN and before Django has noted it: the transaction would stay open, and
    on SQLite nobody else could write any more."""
    if not connection.in_atomic_block:
        connection.close()


def _try_again(job: Job, error: CodedError) -> None:
    job.upload.try_again(error, backoff(job.upload.attempt), fence=job.fence)


def deferral(job: Job, wait: timedelta | None = None) -> timedelta:
    """As long as was asked for; else half as long again as the step has waited so far, from 5 s to 5 minutes. Each
    with up to a fifth more by chance, or a minute."""
    if wait is not None:
        seconds = max(wait.total_seconds(), 1.0)
    else:
        began = job.upload.steps.values_list("started_at", flat=True).get(name=job.step)
        so_far = (job.upload.updated_at - began).total_seconds() if began else 0
        seconds = min(max(so_far / 2, 5.0), 300.0)
    return timedelta(seconds=seconds + random.uniform(0, min(seconds / 5, 60.0)))  # noqa: S311 - no secret


def backoff(attempt: int) -> timedelta:
    """2 s, 4 s, 8 s … up to a minute, each with up to half as much again by chance."""
    seconds = min(2.0**attempt, 60.0)
    return timedelta(seconds=seconds * random.uniform(1, 1.5))  # noqa: S311 - no secret


@contextmanager
def _lease(job: Job) -> Iterator[None]:
    """Renewed while the block runs, but never past the step's deadline: a hung step must be noticed."""
    done = threading.Event()
    keeper = threading.Thread(target=_keep, args=[job, done], name=f"lease of {job.upload.pk}", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        done.set()
        keeper.join()


def _keep(job: Job, done: threading.Event) -> None:
    lease = settings.STEP_LEASE
    third = pause = lease.total_seconds() / 3
    try:
        while not done.wait(pause):
            left = timedelta(seconds=job.seconds_left())
            if left <= timedelta(0):
                return
            pause = third if _renew(job, min(lease, left)) else min(third, RENEW_AGAIN)
    finally:
        connection.close()


def _renew(job: Job, lease: timedelta) -> bool:
    """False when the database is away. Once it is back, this must be quicker than the sweeper; if it is not, the
    fence keeps the record right."""
    try:
        job.lost = not job.upload.renew(job.fence, lease)
    except DatabaseError as error:
        logger.warning("lease of %s not renewed: %s", job.upload.pk, error)
        connection.close()
        return False
    return True
