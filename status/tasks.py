"""What Celery calls to tell the outside. Each of these may come late, twice or not at all."""

from __future__ import annotations

import logging
import threading
from typing import Any

from celery import shared_task
from celery.signals import worker_shutting_down
from kombu.exceptions import OperationalError

from status import analytics, deliverer, outbox
from status.models import WebhookDelivery

logger = logging.getLogger(__name__)

_capturing = threading.Lock()
stopping = threading.Event()
"""This process has been asked to end. A thread cannot be ended from outside, and would keep its worker."""


@worker_shutting_down.connect
def _stop(**_: Any) -> None:
    stopping.set()


@shared_task(name="status.publish")
def publish() -> None:
    if outbox.publish() and WebhookDelivery.objects.due().exists():
        hint_deliveries()


@shared_task(name="status.deliver")
def deliver() -> None:
    if deliverer.deliver(stopping=stopping) and deliverer.is_under_way():
        hint_deliveries()  # its time was over, and the next one goes on


@shared_task(name="status.capture")
def capture() -> None:
    if _capturing.acquire(blocking=False):
        try:
            analytics.send_captures(stopping=stopping)
        finally:
            _capturing.release()


@shared_task(name="status.tidy")
def tidy() -> None:
    analytics.forget_old()
    deliverer.forget_tests()


def hint_deliveries() -> None:
    """Something is due now; without the hint it goes out with the next tick of the clock."""
    try:
        deliver.apply_async(queue="deliver", expires=60, retry=True, retry_policy={"max_retries": 0})
    except (OperationalError, OSError) as error:
        logger.warning("No hint for deliveries, the next tick is one: %s", error)
