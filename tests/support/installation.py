"""A whole Darkroom of its own: what `make up` starts, on a folder and a port that nobody else has."""

import json
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from uuid import uuid4

import psutil
import psycopg
from django.conf import settings
from psycopg import sql

from tests.leaks import SECRET
from tests.support.database import named
from tests.support.ports import free_port

T = TypeVar("T")
PATIENCE = 120
"""Seconds after which a test stops waiting for what should come in a few; the machine may be busy."""


def wait_for(what: Callable[[], T | None], *, every: float = 0.05) -> T:
    """The first truthy value; fails when none comes."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if value := what():
            return value
        time.sleep(every)
    raise AssertionError(f"waited {PATIENCE} s in vain for {what}")


class Answer(NamedTuple):
    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Installation:
    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "log"
        self._environment = os.environ | {"DATA_DIR": str(folder / "data"), "PORT": str(self.port)} | environment
        self._environment.pop("SECRET_KEY", None)
        self.token = ""
        self.command = [sys.executable, "-m", "config.up"]
        self.code = Path.cwd()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._supervisor = psutil.Popen(self.command, cwd=self.code, env=self._environment, stdout=log, stderr=log)
        try:
            wait_for(self._answers)
            self.token = self.token or self.request("POST", "/api/sessions").json["sessionToken"]
        except BaseException:
            with suppress(psutil.NoSuchProcess):
                self.interrupt()
                self._wait_for_its_processes()
            raise

    def _answers(self) -> bool:
        assert self._supervisor.is_running(), self.log.read_text()
        try:
            return self.request("GET", "/").status == 200
        except (OSError, HTTPException):
            return False

    def stop(self) -> None:
        """As Ctrl-C does."""
        self.interrupt()
        self.wait_for_the_end()

    def interrupt(self) -> None:
        self._family = [self._supervisor, *self._supervisor.children(recursive=True)]
        self._supervisor.send_signal(signal.SIGINT)

    def wait_for_the_end(self) -> None:
        self._wait_for_its_processes()
        self._kept_its_secrets()

    def _wait_for_its_processes(self) -> None:
        _, alive = psutil.wait_procs(self._family, timeout=PATIENCE)
        for process in alive:
            process.kill()
        assert not alive, f"still there after Ctrl-C: {alive}"

    def _kept_its_secrets(self) -> None:
        """Whatever its processes said in all their time; tests.leaks only hears this one."""
        said = self.log.read_text()
        own = [self.token, (self.folder / "data" / "secret_key").read_text()]
        assert not any(secret in said for secret in own), "a token or the key of all signatures is in the log"
        assert not SECRET.search(said), "a secret is in the log"

    def processes(self, words: str) -> list[psutil.Process]:
        """Those of this installation whose command line has these words, parents first."""
        found = []
        for process in self._supervisor.children(recursive=True):
            try:
                if words in " ".join(process.cmdline()):
                    found.append(process)
            except psutil.NoSuchProcess:
                continue
        return found

    def request(self, method: str, path: str, data: bytes | None = None, **headers: str) -> Answer:
        address = path if path.startswith("http") else self.url + path
        sent = {"X-Session-Token": self.token} | {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(address, data, sent, method=method)  # noqa: S310 - this machine's own
        try:
            with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
                return Answer(response.status, response.headers, response.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers, error.read())

    def send(self, picture: bytes, name: str = "picture.jpg", **fields: str) -> Answer:
        boundary = uuid4().hex
        part = f"--{boundary}\r\nContent-Disposition: form-data; name="
        others = "".join(f'{part}"{key}"\r\n\r\n{value}\r\n' for key, value in fields.items())
        head = f'{others}{part}"image"; filename="{name}"\r\n\r\n'
        body = head.encode() + picture + f"\r\n--{boundary}--\r\n".encode()
        return self.request("POST", "/api/uploads", body, Content_Type=f"multipart/form-data; boundary={boundary}")

    def status(self, job: str) -> Any:
        return self.request("GET", f"/api/status/{job}").json

    def events(self, job: str) -> list[Any]:
        return list(self.request("GET", f"/api/status/{job}/events?limit=500").json["events"])

    def watch(self, job: str, every: float = 0.05) -> Iterator[Any]:
        """Every answer of a poller, to the end of the job."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            told = self.status(job)
            yield told
            if told["isTerminal"]:
                return
            time.sleep(every)
        raise AssertionError(f"still {told['stage']} {told['progress']}: {self.log.read_text()[-3000:]}")


@contextmanager
def installation(folder: Path, **environment: str) -> Iterator[Installation]:
    """On SQLite in the folder, or in a new database of the tests' PostgreSQL."""
    with _database(folder) as url:
        # Those that the tests have collected: to do it again is a third of a start.
        environment = {"STATIC_ROOT": str(settings.STATIC_ROOT)} | environment
        darkroom = Installation(folder, DATABASE_URL=url, **environment)
        darkroom.start()
        try:
            yield darkroom
        finally:
            darkroom.stop()


@contextmanager
def _database(folder: Path) -> Iterator[str]:
    server = settings.DATABASES["default"]
    if "sqlite" in server["ENGINE"]:
        yield named(str(folder / "data" / "darkroom.sqlite3"))
        return
    name = f"installation_{uuid4().hex}"
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield named(name)
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
