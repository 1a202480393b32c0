"""What Celery calls. A message is only a hint: each of these may come late, twice or not at all."""

from __future__ import annotations

import threading
from typing import Any

from celery import Task, shared_task

from status import outbox
from status.tasks import stopping
from uploads import retention
from uploads.stages import StepName
from workflows import recovery, runner

_retaining = threading.Lock()


@shared_task(name="workflows.validate", bind=True)
def validate(task: Task[Any, Any], upload_id: str) -> None:
    _run(task, StepName.VALIDATE, upload_id)


@shared_task(name="workflows.generate", bind=True)
def generate(task: Task[Any, Any], upload_id: str) -> None:
    _run(task, StepName.GENERATE, upload_id)


@shared_task(name="workflows.store", bind=True)
def store(task: Task[Any, Any], upload_id: str) -> None:
    _run(task, StepName.STORE, upload_id)


@shared_task(name="workflows.watermark", bind=True)
def watermark(task: Task[Any, Any], upload_id: str) -> None:
    _run(task, StepName.WATERMARK, upload_id)


def _run(task: Task[Any, Any], step: StepName, upload_id: str) -> None:
    served = task.app.amqp.queues.consume_from  # of this worker
    runner.run_on(step, upload_id, str(task.request.id), served)


@shared_task(name="workflows.sweep")
def sweep() -> None:
    recovery.sweep()


@shared_task(name="workflows.retain")
def retain() -> None:
    """One round at a time in each process."""
    if not _retaining.acquire(blocking=False):
        return
    try:
        # A row that goes takes with it what it still had to tell.
        outbox.publish()
        retention.retain(stopping=stopping)
    finally:
        _retaining.release()
