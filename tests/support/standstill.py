"""Holding the work still, so that a test has all the time it wants in the middle of a job."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil
import psycopg

from tests.support.installation import Installation, wait_for

WORKER = "--queues images,generate"
IN_A_TRANSACTION = """
SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%')
"""


@contextmanager
def standstill(darkroom: Installation, when: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Nothing is developed inside the block, which begins as soon as `when` holds; it may hold no more by then."""
    wait_for(when, every=0.02)
    family = _stopped(darkroom)
    try:
        yield
    finally:
        _resume(family)


@contextmanager
def half_drawn(
    darkroom: Installation, send: Callable[[], str], status: Callable[[str], Any] | None = None
) -> Iterator[str]:
    """A job whose picture is drawn in part, and nothing is developed inside the block.

    Sent again for as long as the job was over before the worker could be stopped: this machine may stand still
    for a moment, and the worker not. `status` is the job's, when it is in another session than the installation's.
    """
    ask = status or darkroom.status

    def caught() -> tuple[str, list[psutil.Process]] | None:
        job = send()
        wait_for(lambda: ask(job)["progress"] > 30, every=0.02)
        family = _stopped(darkroom)
        now = ask(job)
        if now["stage"] == "generating":
            return job, family
        _resume(family)
        return None

    job, family = wait_for(caught)
    try:
        yield job
    finally:
        _resume(family)


def _stopped(darkroom: Installation) -> list[psutil.Process]:
    """Not in the middle of a write: everybody else would have to wait for its end."""

    def stop() -> list[psutil.Process] | None:
        family = darkroom.processes(WORKER)
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.suspend()
        if family and darkroom.processes(WORKER) == family and _writable(darkroom):
            return family
        _resume(family)
        return None

    return wait_for(stop)


def _resume(family: list[psutil.Process]) -> None:
    for process in family:
        with suppress(psutil.NoSuchProcess):
            process.resume()


def _writable(darkroom: Installation) -> bool:
    """Whether others can write: a moment of somebody's own is waited for."""
    file = darkroom.folder / "data" / "darkroom.sqlite3"
    if not file.exists():
        return _no_transaction_is_open(darkroom)
    connection = sqlite3.connect(file, timeout=0.5, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    except sqlite3.OperationalError:
        return False
    finally:
        connection.close()
    return True


def _no_transaction_is_open(darkroom: Installation) -> bool:
    with psycopg.connect(darkroom._environment["DATABASE_URL"], autocommit=True) as connection:
        for _ in range(10):
            if connection.execute(IN_A_TRANSACTION).fetchone() != (True,):
                return True
            time.sleep(0.05)
    return False
