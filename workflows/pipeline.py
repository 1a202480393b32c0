"""The steps in order: which function does the work, and on which queue it waits."""

import logging
from collections.abc import Callable
from typing import NamedTuple

from celery import current_app
from django.db import transaction
from kombu.exceptions import OperationalError

from uploads.models import Upload
from uploads.stages import StepName
from workflows import steps
from workflows.job import Job, Outcome

logger = logging.getLogger(__name__)

ONCE = {"max_retries": 0}
"""Without a retry policy, a publish fails with whatever the broker's driver raises, and waits longer to connect."""


class Step(NamedTuple):
    work: Callable[[Job], Outcome]
    queue: str

    @property
    def task(self) -> str:
        return f"workflows.{self.work.__name__}"


PIPELINE = {
    StepName.VALIDATE: Step(steps.validate, "images"),
    StepName.GENERATE: Step(steps.generate, "generate"),
    StepName.STORE: Step(steps.store, "images"),
    StepName.WATERMARK: Step(steps.watermark, "images"),
}


def hint(upload: Upload) -> None:
    """Tell a worker, once the transaction is committed, that the upload's step is due.

    Only a hint: a worker that does not hear of it hears from the sweeper.
    """
    transaction.on_commit(lambda: send(upload), robust=True)


def send(upload: Upload) -> bool:
    """Tell a worker now; False when the broker is away, which is found out within two seconds."""
    if step := upload.step:
        task, queue = PIPELINE[step].task, PIPELINE[step].queue
        try:
            current_app.send_task(task, args=[str(upload.pk)], queue=queue, retry=True, retry_policy=ONCE)
        except (OperationalError, OSError) as error:
            logger.warning("No hint for %s, the sweeper will send one: %s", upload.pk, error)
            return False
    return True
