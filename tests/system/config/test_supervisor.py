"""Programs are run, restarted and ended; here they are a line each."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable

import psutil
import pytest

from config.programs import Program
from config.supervisor import CannotRun, Supervisor

pytestmark = pytest.mark.any_database

PATIENCE = 60


def program(code: str, *, patience: float = PATIENCE) -> Program:
    return Program("house", (sys.executable, "-c", code), patience)


class World:
    """What a supervisor has said, and what is asked of it."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []

    def run(self, one: Program, until: Callable[["World"], bool], *, ready: bool = True) -> None:
        async def is_ready() -> bool:
            return ready

        async def holds() -> None:
            while not until(self):
                await asyncio.sleep(0.01)

        async def all_of_it() -> None:
            supervisor = Supervisor([one], is_ready, lambda line, name: self.said.append((name, line)))
            await asyncio.wait_for(supervisor.run_until(asyncio.create_task(holds()), "It is ready."), PATIENCE)

        asyncio.run(all_of_it())

    def lines(self, name: str = "house") -> list[str]:
        return [line for known, line in self.said if known == name]


@pytest.fixture
def world() -> World:
    return World()


def test_a_program_runs_and_is_ended(world: World) -> None:
    world.run(program("import os, time; print(os.getpid(), flush=True); time.sleep(600)"), lambda it: it.lines() != [])
    assert not psutil.pid_exists(int(world.lines()[0]))
    assert ("", "It is ready.") in world.said


def test_a_killed_program_is_started_again_and_it_is_said(world: World) -> None:
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"

    def killed_once(it: World) -> bool:
        if len(it.lines()) == 1 and psutil.pid_exists(int(it.lines()[0])):
            os.kill(int(it.lines()[0]), signal.SIGKILL)
        return len(it.lines()) == 2

    world.run(program(code), killed_once)
    assert "The process “house” was killed by SIGKILL, and is started again." in world.lines("")
    first, second = world.lines()
    assert first != second


def test_a_program_that_cannot_run_ends_all_in_a_sentence(world: World) -> None:
    with pytest.raises(CannotRun, match="its process “house” ended with exit code 3"):
        world.run(program("print('why'); raise SystemExit(3)"), lambda _: False, ready=False)
    assert world.said == [("house", "why")]


def test_a_program_that_fails_again_and_again_ends_all_too(world: World) -> None:
    with pytest.raises(CannotRun, match="its process “house” was killed by SIGABRT"):
        world.run(program("import os; print(1, flush=True); os.abort()"), lambda _: False)
    assert len(world.lines()) == 5


def test_a_program_that_does_not_end_is_killed_with_its_children(world: World) -> None:
    code = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(os.getpid(), child.pid, flush=True)
time.sleep(600)
"""
    world.run(program(code, patience=6), lambda it: it.lines() != [])
    for pid in world.lines()[0].split():
        _wait_for_the_end_of(int(pid))
    assert any("finishes what it has begun, in 1 s at most" in line for line in world.lines(""))


def test_what_celery_says_of_its_end_is_left_out(world: World) -> None:
    said = ["worker: Hitting Ctrl+C again will terminate all running tasks!", "", "done"]
    code = f"import time; print(*{said!r}, sep='\\n', flush=True); time.sleep(600)"
    world.run(program(code), lambda it: it.lines() != [])
    assert world.lines() == ["done"]


def test_programs_end_when_the_supervisor_is_killed() -> None:
    house = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    code = f"""
import asyncio, sys
from config.programs import Program
from config.supervisor import Supervisor

async def never(): return False

house = Program("house", (sys.executable, "-c", {house!r}), 60)
supervisor = Supervisor([house], never, lambda line, name: print(line, flush=True))

async def run(): await supervisor.run_until(asyncio.create_task(asyncio.sleep(600)), "")

asyncio.run(run())
"""
    with psutil.Popen([sys.executable, "-c", code], stdout=-1) as supervisor:
        pid = int(supervisor.stdout.readline())
        supervisor.kill()
    _wait_for_the_end_of(pid)


def _wait_for_the_end_of(pid: int) -> None:
    """A signal has been sent, and the kernel delivers it in its own time."""
    until = time.monotonic() + PATIENCE
    while _lives(pid) and time.monotonic() < until:
        time.sleep(0.05)
    assert not _lives(pid)


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
