"""What `make up` and `make dev` run: claims DATA_DIR and the port, prepares the installation, and runs its programs.

Nothing is said to be there before it is: the address is printed when the page answers. All of it may be done again: a
second `make up` finds the same secret, database and pictures.
"""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import environ

from config import secret
from config.claims import Refused, claim_folder, claim_port
from config.programs import programs
from config.supervisor import CannotRun, Supervisor, kill, start

ROOT = Path(__file__).resolve().parent.parent
CODE = [ROOT / name for name in ("config", "uploads", "status", "workflows")]
RELOADED = {".py", ".txt", ".json"}
"""Suffixes of what is read once, when a program starts; templates and static files are read for each request."""
COLOURS = {"web": 36, "worker": 33, "house": 35, "metrics": 34}
"""ANSI codes for the names in front of the programs' lines."""

_printing = Lock()


def main() -> None:
    environ.Env.read_env(os.environ.get("ENV_FILE", ROOT / ".env"))
    data = (ROOT / Path(os.environ.get("DATA_DIR", "").strip() or "var").expanduser()).resolve()
    host = os.environ.get("HOST", "").strip() or "127.0.0.1"
    port = os.environ.get("PORT", "").strip() or "8000"
    metrics_port = os.environ.get("METRICS_PORT", "").strip() or "0"
    watch = sys.argv[1:] == ["--watch"]
    try:
        claim_folder(data, f"it is on port {port}")
        claimed = claim_port("PORT", port, host)
        if metrics_port != "0":
            claim_port("METRICS_PORT", metrics_port, "127.0.0.1").close()
    except Refused as refused:
        sys.exit(str(refused))
    if not os.environ.get("SECRET_KEY"):
        with suppress(OSError):  # the settings say what is wrong with it
            secret.read_or_make(data / "secret_key")
    os.chdir(ROOT)
    os.environ.setdefault("SHUTDOWN_GRACE_SECONDS", "2")
    os.environ |= {"DATA_DIR": str(data), "HOST": host, "PORT": port}
    if watch:
        os.environ["LIVE_FILES"] = "1"
    try:
        with suppress(asyncio.CancelledError):
            asyncio.run(_run(claimed.getsockname()[0], int(port), metrics=metrics_port != "0", watch=watch))
    except CannotRun as error:
        sys.exit(str(error))


async def _run(address: str, port: int, *, metrics: bool, watch: bool) -> None:
    """Run until a signal asks to stop, which cancels this task; raises CannotRun."""
    supervisor = Supervisor(programs(address, port, metrics=metrics), partial(_page_answers, address, port), say)
    if task := asyncio.current_task():
        _listen_to_signals(task, supervisor)
    while True:
        # Begun before the code is loaded, so that no change is missed.
        change = asyncio.ensure_future(_change() if watch else asyncio.Event().wait())
        try:
            banner = await _prepare(os.environ["DATA_DIR"])
            await supervisor.run_until(change, banner)
        except CannotRun as error:
            if not watch:
                raise
            say(f"{error} It is tried again after the next change.")
            await change


def _listen_to_signals(task: asyncio.Task[None], supervisor: Supervisor) -> None:
    def hear() -> None:
        if task.cancelling():
            supervisor.kill()
        else:
            say("Stopping …")
            task.cancel()

    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Under nohup a SIGHUP is ignored, and stays so.
        if signum != signal.SIGHUP or signal.getsignal(signum) != signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(signum, hear)


async def _prepare(data: str) -> str:
    """Bring the database and the static files up to date; returns what to print once the page answers."""
    say("Preparing the database and the pages …")
    process = await start([sys.executable, "-m", "config.prepare"], stdout=PIPE, stderr=PIPE)
    try:
        written, complaint = await process.communicate()
    finally:
        kill(process)
    if process.returncode:
        raise CannotRun(complaint.decode(errors="replace").strip())
    say("Starting the web server and the workers …")
    return _banner(json.loads(written), data)


def _banner(facts: dict[str, Any], data: str) -> str:
    url = facts["public_url"]
    more = [f"http://{address}:{facts['port']}" for address in facts["addresses"] if address not in url]
    return "\n".join(
        [
            "",
            f"  Darkroom is at {url}    (Ctrl-C stops it)",
            *[f"  On this network it is also at {' and '.join(more)}" for _ in more[:1]],
            f"  The admin is at {url}/admin/    (`make admin` gives you an account)",
            f"  Everything it keeps is in {data}",
            "",
        ]
    )


async def _page_answers(address: str, port: int) -> bool:
    writer = None
    try:
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection(address, port)
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            _, status, _ = (await reader.readline()).split(b" ", 2)
    except (OSError, ValueError):
        return False
    finally:
        if writer:
            writer.close()
    return status < b"500"


async def _change() -> None:
    """Return when a file has changed that the programs have read."""
    from watchfiles import awatch  # noqa: PLC0415 - for developers only

    def is_code(_: object, path: str) -> bool:
        return Path(path).suffix in RELOADED

    async for changes in awatch(*CODE, watch_filter=is_code):
        names = sorted({str(Path(path).relative_to(ROOT)) for _, path in changes})
        say(f"{names[0]}{f' and {len(names) - 1} more' if names[1:] else ''} changed; starting anew …")
        return


def say(line: str, name: str = "") -> None:
    """Print a line: one of the program `name`, or of our own. Nobody has to read it."""
    if name and os.environ.get("LOG_FORMAT") != "json":
        label = f"{name:8}"
        if sys.stdout.isatty() and "NO_COLOR" not in os.environ:
            label = f"\x1b[{COLOURS.get(name, 37)}m{label}\x1b[0m"
        line = f"{label}{line}"
    words = f"{line}\n".encode()
    with _printing, suppress(OSError):  # the terminal has gone, or what reads a pipe
        while words:
            words = words[os.write(1, words) :]


if __name__ == "__main__":
    main()
