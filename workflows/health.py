"""Whether each component that Darkroom needs can be had: asked now, all at once, each for a bounded time."""

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple

from celery import current_app
from django.conf import settings
from django.core.files.storage import default_storage
from django.db import connection, connections
from django.db.migrations.executor import MigrationExecutor

from uploads.errors import DarkroomError
from workflows.models import Heartbeat

PATIENCE = 4
"""Seconds in which a component must have answered. Connecting to a database may take three."""
SWEEPER_MISSED_AFTER = timedelta(seconds=60 + 3 * settings.SWEEP_SECONDS)


LOOK_AT = {
    "database": "Look at DATABASE_URL, and whether its server runs and lets us in.",
    "migrations": "The database has to answer first.",
    "broker": "Look at CELERY_BROKER_URL, and whether its server runs and lets us in.",
    "storage": "Look at DATA_DIR and its owner, or at the settings that begin with S3_.",
    "sweeper": "The database has to answer first, and to have its migrations.",
}


class NotReady(DarkroomError):
    """Says in words what is wrong with a component, and what to mend. For those who run Darkroom only."""


class State(NamedTuple):
    component: str
    trouble: str
    """In words, for those who run Darkroom only; empty when the component is ready."""

    @property
    def is_ready(self) -> bool:
        return not self.trouble


class _Asking(threading.Thread):
    """A thread of its own: a component that hangs must not hold whoever asks."""

    def __init__(self, component: str) -> None:
        super().__init__(name=f"asking {component}", daemon=True)
        self.component = component
        self.trouble = ""
        self.until = time.monotonic() + PATIENCE

    def run(self) -> None:
        try:
            CHECKS[self.component]()
        except NotReady as error:
            self.trouble = str(error)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a component is the answer
            self.trouble = f"{LOOK_AT[self.component]} ({type(error).__name__}: {error})"
        finally:
            connections.close_all()


_asking: dict[str, _Asking] = {}
_lock = threading.Lock()


def states() -> list[State]:
    """Of all components. One that still has not answered an earlier call is not asked again, nor waited for."""
    with _lock:
        for component in CHECKS:
            if not (component in _asking and _asking[component].is_alive()):
                _asking[component] = _Asking(component)
                _asking[component].start()
        asked = list(_asking.values())
    return [_state(asking) for asking in asked]


def _state(asking: _Asking) -> State:
    asking.join(max(0.0, asking.until - time.monotonic()))
    if asking.is_alive():
        return State(asking.component, f"It has not answered within {PATIENCE} s.")
    return State(asking.component, asking.trouble)


def _database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


_migrated = threading.Event()
"""Seen once, it stays: a migration that comes later is not this process's."""


def _migrations() -> None:
    if _migrated.is_set():
        return
    executor = MigrationExecutor(connection)
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if missing and not executor.loader.applied_migrations:
        raise NotReady("Run `python manage.py migrate`: the database is empty.")
    if missing:
        names = ", ".join(f"{migration.app_label}.{migration.name}" for migration, _ in missing)
        raise NotReady(f"Run `python manage.py migrate`: the database lacks {names}.")
    _migrated.set()


def _broker() -> None:
    with current_app.connection_for_write() as broker:
        broker.ensure_connection(max_retries=1, timeout=PATIENCE)
        broker.default_channel  # noqa: B018 - opens one


def _storage() -> None:
    default_storage.exists("ready")
    has_room = getattr(default_storage, "has_room", None)
    if has_room and not has_room(0):
        raise NotReady("Less than DISK_RESERVE_BYTES is free: make room, or new pictures are refused.")


def _sweeper() -> None:
    age = Heartbeat.age(Heartbeat.SWEEP)
    if age is None:
        raise NotReady("It has never been seen: start beat, and a worker for the queue `house`.")
    if age > SWEEPER_MISSED_AFTER:
        raise NotReady(
            f"It was last seen {round(age.total_seconds())} s ago: look after beat, and the worker of `house`."
        )


CHECKS: dict[str, Callable[[], None]] = {
    "database": _database,
    "migrations": _migrations,
    "broker": _broker,
    "storage": _storage,
    "sweeper": _sweeper,
}
