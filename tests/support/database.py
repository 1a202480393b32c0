"""The tests' database, for other processes."""

import os

from django.db import connection


def database_url() -> str:
    """The database that this test is connected to."""
    return named(str(connection.settings_dict["NAME"]))


def named(name: str) -> str:
    """A database of the tests' server: a file's path, or a name in PostgreSQL."""
    if connection.vendor == "sqlite":
        return f"sqlite:///{name}"
    # The address of the wheel's server has its socket in the query.
    head, _, query = os.environ["DATABASE_URL"].partition("?")
    return f"{head.rsplit('/', 1)[0]}/{name}" + (f"?{query}" if query else "")
