"""The web process alone, started with the very words that `make up` starts it with, and spoken to in bytes."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from django.conf import settings

from config.programs import programs
from tests.support.installation import PATIENCE, _database, wait_for
from tests.support.ports import free_port


class Told(NamedTuple):
    status: int
    """0 when the connection was closed without an answer."""
    head: str
    body: bytes


class Web:
    def __init__(self, folder: Path, **environment: str) -> None:
        self.port = free_port()
        self.log = folder / "web.log"
        self.environment = os.environ | {"DATA_DIR": str(folder / "data"), "PORT": str(self.port)} | environment

    def command(self) -> tuple[str, ...]:
        return programs("127.0.0.1", self.port, metrics=False)[0].command

    def manage(self, *words: str) -> None:
        subprocess.run(
            [sys.executable, "manage.py", *words],
            env=self.environment,
            check=True,
            capture_output=True,
            timeout=PATIENCE,
        )

    def alive(self) -> bool:
        try:
            return self.ask("GET", "/healthz").status == 200
        except OSError:
            return False

    def connect(self, data: bytes = b"", timeout: float = PATIENCE) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=timeout)
        connection.sendall(data)
        return connection

    def ask(self, method: str, path: str, *headers: str, body: bytes = b"") -> Told:
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", *headers]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        with self.connect() as connection:
            with suppress(OSError):  # it need not have read all of it to answer
                connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
            answer = b"".join(iter(lambda: _received(connection), b""))
        head, _, rest = answer.partition(b"\r\n\r\n")
        return Told(int(head.split(b" ", 2)[1]) if head else 0, head.decode("latin-1"), rest)


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except ConnectionError:
        return b""


@contextmanager
def web(folder: Path, **environment: str) -> Iterator[Web]:
    with _database(folder) as url:
        (folder / "data").mkdir(mode=0o700)
        started = Web(folder, DATABASE_URL=url, STATIC_ROOT=str(settings.STATIC_ROOT), **environment)
        started.manage("migrate", "--no-input")
        with started.log.open("ab") as log:
            process = subprocess.Popen(started.command(), env=started.environment, stdout=log, stderr=log)
        try:
            wait_for(started.alive)
            yield started
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE)
            finally:
                process.kill()
