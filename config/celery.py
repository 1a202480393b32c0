import gc
import os
import resource
import warnings
from typing import Any

from celery import Celery
from celery.signals import (
    beat_init,
    worker_before_create_process,
    worker_init,
    worker_process_init,
    worker_process_shutdown,
)
from click import Option

from config.clock import Clock
from config.database import bound_waits

PARENT = "DARKROOM_WORKER_PID"
"""In the environment of a worker's children, the process that has forked them."""

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
# It is said for the sake of pickled messages, which nothing here accepts.
warnings.filterwarnings("ignore", "You're running the worker with superuser privileges")
bound_waits()
app = Celery("darkroom")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.steps["worker"].add(Clock)
app.user_options["worker"].add(Option(["--clock"], is_flag=True, help="Send what is due by the clock, as beat does."))


@worker_init.connect
@beat_init.connect
def _check_database(**_: Any) -> None:
    from config.startup import refuse_without_migrations  # noqa: PLC0415 - needs Django set up

    refuse_without_migrations()


@worker_before_create_process.connect
def _share_memory(**_: Any) -> None:
    """What is loaded before the fork, and not touched by the garbage collector afterwards, is in memory once."""
    from django.conf import settings  # noqa: PLC0415 - Celery loads this module to find them
    from django.utils.module_loading import import_string  # noqa: PLC0415

    from workflows.steps import GENERATORS  # noqa: PLC0415 - needs Django set up

    import_string(GENERATORS[settings.GENERATOR])
    gc.freeze()
    os.environ[PARENT] = str(os.getpid())


@worker_process_init.connect
def _end_with_worker(**_: Any) -> None:
    """Celery has asked the kernel for that by now; here we notice a worker that was killed before."""
    from config.startup import die_with_parent  # noqa: PLC0415 - needs Django set up

    die_with_parent(int(os.environ.get(PARENT, os.getppid())))


@worker_process_init.connect
def _limit_memory(**_: Any) -> None:
    """More is then a MemoryError in the step that asks for it, and no work for the kernel's killer."""
    from django.conf import settings  # noqa: PLC0415 - Celery loads this module to find them

    resource.setrlimit(resource.RLIMIT_DATA, (settings.WORKER_MEMORY_BYTES, settings.WORKER_MEMORY_BYTES))


@worker_process_shutdown.connect
def _flush_analytics(**_: Any) -> None:
    from status import analytics  # noqa: PLC0415 - needs Django set up

    analytics.flush()
