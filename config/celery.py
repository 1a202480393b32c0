import os
import resource
from typing import Any

from celery import Celery
from celery.signals import beat_init, worker_init, worker_process_init, worker_process_shutdown

from config.database import bound_waits

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
bound_waits()
app = Celery("darkroom")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@worker_init.connect
@beat_init.connect
def _check_database(**_: Any) -> None:
    from config.startup import refuse_without_migrations  # noqa: PLC0415 - needs Django set up

    refuse_without_migrations()


@worker_process_init.connect
def _limit_memory(**_: Any) -> None:
    """More is then a MemoryError in the step that asks for it, and no work for the kernel's killer."""
    from django.conf import settings  # noqa: PLC0415 - Celery loads this module to find them

    resource.setrlimit(resource.RLIMIT_DATA, (settings.WORKER_MEMORY_BYTES, settings.WORKER_MEMORY_BYTES))


@worker_process_shutdown.connect
def _flush_analytics(**_: Any) -> None:
    from status import analytics  # noqa: PLC0415 - needs Django set up

    analytics.flush()
