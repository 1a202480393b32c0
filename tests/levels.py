"""A plugin: a test is as cheap as its level says.

tests/unit         no database and no process
tests/integration  a database; servers of the test's own run as threads
tests/system       whole processes, brokers, browsers, npm

`make test-quick` runs the first two. A test there that starts a process fails, with the command in its message.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

STARTS_A_PROCESS = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system"}
HERE = Path(__file__).parent
QUICK = (HERE / "unit", HERE / "integration")

_started: list[str] | None = None
"""What the running test has started, while one of a quick level runs."""


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if _started is not None and event in STARTS_A_PROCESS and arguments[0] != "lsb_release":  # PostHog's client does
        _started.append(f"{event}{arguments[:2]!r}"[:300])


def pytest_configure() -> None:
    sys.addaudithook(_note)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    global _started  # noqa: PLW0603 - an audit hook cannot be removed: this switches it on and off
    _started = [] if any(item.path.is_relative_to(level) for level in QUICK) else None
    try:
        return (yield)
    finally:
        _started = None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Iterator[None]:
    yield
    if _started:
        pytest.fail(f"a process was started: it belongs into tests/system ({_started[0]})", pytrace=False)
