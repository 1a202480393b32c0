"""A plugin: whatever a test makes Darkroom log, write to the database or send to the broker has no secret in it.

While tests run, a session's token begins with a word that nothing else has, so that it is known wherever it comes up,
whole or cut off; keys and signing secrets are known by their form.
"""

import logging
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from celery.signals import before_task_publish
from django.db import connection

TOKEN = "t0k3n"
SECRET = re.compile(rf"{TOKEN}|whsec_[\w+/=-]{{8}}|only-for-tests-x")


class Leaks(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def look(self, where: str, *things: object) -> None:
        said = "\n".join(map(str, things))
        if match := SECRET.search(said):
            self.found.append(f"{where}: …{said[max(0, match.start() - 80) : match.end() + 20]}…")

    def emit(self, record: logging.LogRecord) -> None:
        self.look(f"log of {record.name}", record.getMessage(), record.__dict__, logging.Formatter().format(record))

    def execute(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        """Around every statement; see Django's database instrumentation."""
        if not sql.startswith("SELECT"):
            self.look(f"database ({sql[:40]})", sql, *(params or ()))
        return execute(sql, params, many, context)

    def publish(self, body: object = None, headers: object = None, **_: object) -> None:
        self.look("broker", body, headers)


@contextmanager
def watched() -> Iterator[None]:
    leaks, made = Leaks(), secrets.token_urlsafe
    # This very list: at the end, `connection` may be another thread's or task's.
    wrappers = connection.execute_wrappers
    logging.getLogger().addHandler(leaks)
    wrappers.append(leaks.execute)
    before_task_publish.connect(leaks.publish, weak=False)
    secrets.token_urlsafe = lambda nbytes=None: TOKEN + made(nbytes)
    try:
        yield
    finally:
        secrets.token_urlsafe = made
        before_task_publish.disconnect(leaks.publish)
        wrappers.remove(leaks.execute)
        logging.getLogger().removeHandler(leaks)
    assert not leaks.found, f"secrets got out: {leaks.found}"


WATCH = pytest.StashKey[AbstractContextManager[None]]()


# Not a fixture: hypothesis takes exception to one that lives as long as a test.


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    item.stash[WATCH] = watched()
    item.stash[WATCH].__enter__()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    yield
    item.stash[WATCH].__exit__(None, None, None)
