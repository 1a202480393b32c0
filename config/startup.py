"""What must be so before a process begins to serve."""

import ctypes
import os
import signal
import sys

from django.db import OperationalError, connection
from django.db.migrations.executor import MigrationExecutor

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, or end now if it has ended already: a server's child
    would keep the port, and serve what nobody watches. Linux only."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def refuse_without_migrations() -> None:
    """Ends the process, in words, when the database is behind the code."""
    try:
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except OperationalError:
        return  # away for now: requests are answered with 503 until it is back
    finally:
        connection.close()
    if missing:
        names = ", ".join(f"{migration.app_label}.{migration.name}" for migration, _ in missing)
        sys.exit(f"The database is behind the code: run `python manage.py migrate` first (missing: {names}).")
