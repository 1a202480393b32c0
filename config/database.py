"""A PostgreSQL that takes what it is sent and never answers: its own time limits do not run while it is frozen, or
when a pooler hangs, and TCP sees nothing wrong. Threads that wait for it would wait for ever."""

from typing import Any

from django.conf import settings
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from psycopg import OperationalError
from psycopg.errors import _WaitTimeout


def _bound(sender: object, connection: BaseDatabaseWrapper, **_: Any) -> None:
    """Every wait of a new connection has an end, a little after the server's own."""
    if connection.vendor != "postgresql":
        return
    database: Any = connection.connection
    wait = database.wait

    def bounded(generator: Any, *args: Any, **options: Any) -> Any:
        try:
            return wait(generator, *args, **{"timeout": settings.DATABASE_PATIENCE} | options)
        except _WaitTimeout as error:
            database.pgconn.finish()
            raise OperationalError(f"no answer within {settings.DATABASE_PATIENCE} s") from error

    database.wait = bounded


def bound_waits() -> None:
    """Of all connections that this process will make."""
    connection_created.connect(_bound)
