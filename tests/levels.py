"""A plugin: each test is as cheap as its level says, and the slow ones begin first.

tests/unit         no database and no process
tests/integration  a database; servers of the test's own run as threads
tests/system       whole processes, brokers, browsers, npm

`make test-quick` runs the first two: a test there that starts a process fails, with the command in its message.
With pytest-xdist, tests of one system module share a worker, and so the installation that they start.
"""

import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from xdist.scheduler import LoadScopeScheduling

HERE = Path(__file__).parent
LEVELS = ("system", "integration", "unit")
"""In the order in which they run: the quick ones fill the time in which the last slow ones wait."""
STARTS_A_PROCESS = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system"}
POSTHOG_ASKS = ("lsb_release", "uname")
"""What its client starts, once, to tell the system's name."""
PAGE_WORKERS = 1
"""Workers among which the modules of tests/system/pages are divided: each has a Chromium and an installation."""


def _level(path: Path) -> str:
    return path.relative_to(HERE).parts[0] if path.is_relative_to(HERE) else "system"


def _kind(nodeid: str) -> str:
    """What the summary counts by: the level, and below tests/system the folder too."""
    folders = nodeid.split("::", maxsplit=1)[0].split("/")[1:-1]
    return "/".join(folders[: 2 if folders[:1] == ["system"] else 1])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LEVELS.index(_level(item.path)))


class _ByModule(LoadScopeScheduling):  # type: ignore[misc] # pytest-xdist ships no types
    """Sends a system module to one worker, so that its tests share an installation, and other tests to any."""

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.split("::", maxsplit=1)[0]
        if not module.startswith("tests/system/"):
            return nodeid
        if module.startswith("tests/system/pages/"):
            return f"pages {crc32(module.encode()) % PAGE_WORKERS}"
        return module


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    config.option.loadscopereorder = False  # in the order above
    return _ByModule(config, log)


class _Processes:
    """Notes what a test starts. An audit hook cannot be removed, so this one is switched on and off."""

    def __init__(self) -> None:
        self.watched = False
        self.started: list[str] = []

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.watched and event in STARTS_A_PROCESS and arguments[0] not in POSTHOG_ASKS:
            self.started.append(f"{event}{arguments[:2]!r}"[:300])


_processes = _Processes()
sys.addaudithook(_processes)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    _processes.watched, _processes.started = _level(item.path) != "system", []
    try:
        return (yield)
    finally:
        _processes.watched = False


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Iterator[None]:
    yield
    if _processes.watched and _processes.started:
        pytest.fail(f"It starts a process, so it belongs into tests/system: {_processes.started[0]}", pytrace=False)


class Summary:
    """What took how long, by kind."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._outcomes: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        kind = _kind(report.nodeid)
        self._seconds[kind] += report.duration
        if report.when == "call" or report.outcome != "passed":
            self._outcomes[kind][report.outcome] += 1

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.section(f"by kind, in {time.monotonic() - self._began:.0f} s")
        terminalreporter.write_line(f"{'':26}{'passed':>8}{'failed':>8}{'skipped':>8}{'seconds, added up':>20}")
        for kind in sorted(self._seconds, key=lambda kind: (-LEVELS.index(kind.split("/")[0]), kind)):
            counts = "".join(f"{self._outcomes[kind][outcome]:>8}" for outcome in ("passed", "failed", "skipped"))
            terminalreporter.write_line(f"{kind:26}{counts}{self._seconds[kind]:>20.1f}")


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # the workers of pytest-xdist report to this process
        config.pluginmanager.register(Summary())
