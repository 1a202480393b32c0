"""Runs programs until it is told to stop, restarts those that end, and gives up, in words, on one that cannot run."""

import asyncio
import os
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

from config.programs import Program

CHILD = Path(__file__).with_name("child.py")

STEADY_SECONDS = 10
"""A program that ends sooner has failed to start; on a slow machine, one that exits within three times of what the page
has taken to answer."""
MAX_FAILURES = 4
"""Starts of a program that may fail in a row."""
LONG_SECONDS = 5
"""A stop that takes longer is explained."""
CELERYS_OWN = ("worker: Hitting Ctrl+C again", "worker: Cold shutdown", "worker: Warm shutdown")
"""What Celery says when it is asked to end: advice that is not true under a supervisor."""

Say = Callable[[str, str], None]
"""Prints a line that a program has said; the second argument is its name, or empty for the supervisor."""


class CannotRun(Exception):
    """Says in a sentence which program cannot run."""


async def start(command: Sequence[str], environment: Mapping[str, str] = os.environ, **streams: Any) -> Process:
    """Start a command that is killed when this process ends, whatever ends it. It has a session of its own: the
    terminal's signals are for us alone, and each process is told once, and in its own way."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", str(CHILD), str(os.getpid()), *command),
        env=environment,
        stdin=DEVNULL,
        start_new_session=True,
        **streams,
    )


def kill(process: Process) -> None:
    """With what is left of its children; nothing when it has ended."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


class Supervisor:
    def __init__(self, programs: Sequence[Program], is_ready: Callable[[], Awaitable[bool]], say: Say) -> None:
        self._programs = programs
        self._is_ready = is_ready
        self._say = say
        self._running: dict[str, Process] = {}
        self._ready = asyncio.Event()
        self._start_took = 0.0

    async def run_until(self, event: asyncio.Future[Any], banner: str) -> None:
        """Run the programs until `event`, or until one of them cannot run, which raises CannotRun; then stop all.

        `banner` is printed as soon as `is_ready` says so.
        """
        self._ready.clear()
        keepers = [asyncio.create_task(self._keep(program)) for program in self._programs]
        announcing = asyncio.create_task(self._announce(banner))
        try:
            await asyncio.wait([event, *keepers], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (announcing, *keepers):
                task.cancel()
            outcomes = await asyncio.gather(announcing, *keepers, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome

    def kill(self) -> None:
        """Stop all at once, whatever they are doing."""
        for process in self._running.values():
            kill(process)

    async def _keep(self, program: Program) -> None:
        failures = 0
        while True:
            began = time.monotonic()
            process, reader = await self._start(program)
            try:
                code = await process.wait()
            except asyncio.CancelledError:
                await self._end(program, process)
                raise
            reader.join(timeout=1)
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            steady = STEADY_SECONDS if code < 0 else max(STEADY_SECONDS, 3 * self._start_took)
            failures = failures + 1 if time.monotonic() - began < steady else 0
            if failures > MAX_FAILURES or (code > 0 and not self._ready.is_set()):
                raise CannotRun(f"Darkroom cannot run: its process “{program.name}” {how}. See above what it said.")
            self._say(f"The process “{program.name}” {how}, and is started again.", "")
            await asyncio.sleep(0.5 * 2 ** (failures - 1) if failures else 0)

    async def _start(self, program: Program) -> tuple[Process, Thread]:
        output, its_end = os.pipe()
        process = await start(program.command, os.environ | dict(program.environment), stdout=its_end, stderr=its_end)
        os.close(its_end)
        self._running[program.name] = process
        # A thread, because a terminal that takes no output must not keep us from hearing signals.
        reader = Thread(target=self._pass_on, args=[program.name, output], daemon=True)
        reader.start()
        return process, reader

    def _pass_on(self, name: str, output: int) -> None:
        with open(output, errors="replace") as lines:
            for line in lines:
                if line.strip() and not line.startswith(CELERYS_OWN):
                    self._say(line.rstrip("\n"), name)

    async def _end(self, program: Program, process: Process) -> None:
        # To the program alone: it tells its children, and a second signal would break off what they finish.
        with suppress(ProcessLookupError):
            process.terminate()
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), LONG_SECONDS)
            return
        rest = program.patience - LONG_SECONDS
        self._say(
            f"The process “{program.name}” finishes what it has begun, in {rest:.0f} s at most; "
            "Ctrl-C again breaks it off.",
            "",
        )
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), rest)
        kill(process)
        await process.wait()

    async def _announce(self, banner: str) -> None:
        began = said = time.monotonic()
        while not await self._is_ready():
            await asyncio.sleep(0.05)
            if time.monotonic() - said > 30:
                said = time.monotonic()
                self._say(f"The page does not answer yet, after {said - began:.0f} s; still waiting.", "")
        self._start_took = time.monotonic() - began
        self._ready.set()
        self._say(banner, "")
