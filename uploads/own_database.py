"""The SQLite database in DATA_DIR. One on a server is left to those who run it."""

import fcntl

from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor


def migrate() -> None:
    """Create the tables, or bring them up to date, if the database is our own; safe when several processes do so."""
    if not settings.OWN_DATABASE:
        return
    with (settings.DATA_DIR / "migrating").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        executor = MigrationExecutor(connection)
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            call_command("migrate", verbosity=0)
