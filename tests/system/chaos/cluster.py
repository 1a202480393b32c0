"""Real processes without `make up`: each can be killed at an exact point, and comes back at once."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qs, quote, urlsplit

import environ
import psutil
from django.db import connections

from tests.support.installation import Answer, Installation, _database, wait_for
from tests.support.proxy import Proxy, proxy_to
from uploads.models import Upload

ROOT = Path(__file__).resolve().parents[3]
ALIAS = "chaos"
"""Of the cluster's database, in Django's connections; past any proxy."""
LEASE, SWEEP, ATTEMPTS, TIMEOUT = 2.0, 1.0, 5, 6.0


class Place(NamedTuple):
    """Where a process runs: what stands before its command, and how the world looks from there."""

    inside: list[str]
    environment: dict[str, str]


HERE = Place([], {})


class Cluster(Installation):
    """An `Installation` whose processes are children of the test's own."""

    def __init__(
        self,
        folder: Path,
        database: str,
        *,
        spares: bool = True,
        places: Mapping[str, Place] = MappingProxyType({}),
        **environment: str,
    ) -> None:
        """`spares`: two of each but the web server. `places` says of some roles where they run; the others run here."""
        settings = {
            "STEP_LEASE_SECONDS": str(LEASE),
            "SWEEP_SECONDS": str(SWEEP),
            "STEP_MAX_ATTEMPTS": str(ATTEMPTS),
            "STEP_TIMEOUT_SECONDS": str(TIMEOUT),
            "SHUTDOWN_GRACE_SECONDS": "2",
            # All of it comes from one client, which is quicker than people are.
            "UPLOADS_PER_MINUTE": "1000000",
            "UPLOADS_PER_MINUTE_PER_ADDRESS": "1000000",
            "POLLS_PER_MINUTE_PER_ADDRESS": "1000000",
            "DATABASE_URL": database,
            "REMAP_SIGTERM": "SIGQUIT",
            "CHAOS_FOLDER": str(folder / "chaos"),
            "CHAOS_SEED": "1",
            "CHAOS_HARNESS": str(os.getpid()),
            "PYTHONPATH": str(ROOT),
        }
        super().__init__(folder, **settings | environment)
        self._environment["SECRET_KEY"] = "only-for-chaos-" + "x" * 40
        self.chaos = folder / "chaos"
        for name in ("armed", "fired", "hit"):
            (self.chaos / name).mkdir(parents=True)
        self.data = folder / "data"
        self.data.mkdir(exist_ok=True)
        self._spares = spares
        self._places = places
        self._commands = dict(self._roles(spares))
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._stopping = threading.Event()
        self._armed = 0
        self._resumed: set[float] = set()
        self._groups: set[int] = set()
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._read = 0
        self._journal: list[dict[str, Any]] = []
        self._reading = threading.Lock()
        self.restarts: Counter[str] = Counter()

    def _roles(self, spares: bool) -> Iterator[tuple[str, list[str]]]:
        folder = Path(sys.executable).parent
        celery = [str(folder / "celery"), "--quiet", "--app", "tests.system.chaos.app"]
        quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        serve = ["--interface", "wsgi", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        more = ["--blocking-threads", "4", "--respawn-failed-workers", "--no-ws", "tests.system.chaos.wsgi:application"]
        yield "web", [str(folder / "granian"), *serve, *more]
        for number in (1, 2) if spares else (1,):
            work = ["worker", "--queues", "images,generate", "--concurrency", "1" if spares else "2"]
            yield f"worker{number}", [*celery, *work, "--hostname", f"worker{number}@%h", "--loglevel", "INFO", *quiet]
            house = ["worker", "--queues", "house", "--pool", "solo", "--hostname", f"house{number}@%h"]
            yield f"house{number}", [*celery, *house, "--loglevel", "WARNING", *quiet]
            beat = ["beat", "--pidfile=", "--schedule", str(self.data / f"beat{number}")]
            yield f"beat{number}", [*celery, *beat, "--loglevel", "WARNING"]

    def start(self) -> None:
        subprocess.run(
            [sys.executable, "manage.py", "migrate", "--verbosity", "0"], cwd=ROOT, env=self._environment, check=True
        )
        for role in self._commands:
            self._spawn(role)
        self._keeper.start()
        wait_for(self._answers)
        self.token = self.request("POST", "/api/sessions").json["sessionToken"]

    def _spawn(self, role: str) -> None:
        with self.log.open("ab") as log:
            self._processes[role] = subprocess.Popen(
                [*self._place(role).inside, *self._commands[role]],
                cwd=ROOT,
                env=self._environment | self._environment_of(role),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._groups.add(self._processes[role].pid)

    def _environment_of(self, role: str) -> dict[str, str]:
        """With spares, clocks are a lease apart either way: conditions use the database's."""
        offset = {"worker1": LEASE, "house1": -LEASE, "house2": LEASE}.get(role, 0) if self._spares else 0
        return {"CHAOS_CLOCK_OFFSET": str(offset)} | self._place(role).environment

    def _place(self, role: str) -> Place:
        return self._places.get(role, HERE)

    def _answers(self) -> bool:
        try:
            return self.request("GET", "/api/jobs").status == 401
        except OSError:
            return False

    def _keep(self) -> None:
        """What dies comes back, as under `make up`; and what was stopped goes on when it is too late."""
        stopped: dict[int, tuple[float, dict[str, Any]]] = {}
        while not self._stopping.wait(0.05):
            for role, process in self._processes.items():
                if process.poll() is not None:
                    self.restarts[role] += 1
                    self._spawn(role)
            for fault in self.journal("fault"):
                if fault["how"] == "stop" and fault["at"] not in self._resumed:
                    stopped.setdefault(fault["at"], (time.monotonic(), fault))
            for at, (since, fault) in list(stopped.items()):
                if time.monotonic() - since > 4 * LEASE or self.is_too_late(fault):
                    with suppress(ProcessLookupError):
                        os.kill(fault["pid"], signal.SIGCONT)
                    self._resumed.add(at)
                    del stopped[at]
        connections[ALIAS].close()

    def is_too_late(self, fault: dict[str, Any]) -> bool:
        """Somebody else has gone on with what the stopped process held."""
        row = Upload.objects.using(ALIAS).get(pk=fault["upload"])
        return row.fence > fault["fence"] or row.completed_at is not None

    def stop(self) -> None:
        self._stopping.set()
        self._keeper.join()
        for group in self._groups:
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        for process in self._processes.values():
            process.wait()

    def told_to_stop(self) -> list[psutil.Process]:
        """Workers that got a SIGTERM, and have not ended."""
        parents = {fault["parent"] for fault in self.journal("fault") if fault["how"] in {"term", "quit"}}
        return [process for process in psutil.process_iter() if process.pid in parents & self._groups]

    def orphans(self) -> list[psutil.Process]:
        """Of process groups whose first process is gone, and has been replaced."""
        now = {process.pid for process in self._processes.values()}
        gone = self._groups - now
        return [process for process in psutil.process_iter() if _group_of(process) in gone]

    def arm(self, point: str, step: str, how: str) -> str:
        self._armed += 1
        token = f"{point}~{step}~{how}~{self._armed:04}"
        (self.chaos / "armed" / token).touch()
        return token

    def armed(self) -> list[str]:
        return sorted(path.name for path in (self.chaos / "armed").iterdir())

    def journal(self, *kinds: str) -> list[dict[str, Any]]:
        """All that was noted so far, in the order of the notes; each line of the file is read once."""
        with self._reading, suppress(FileNotFoundError), (self.chaos / "journal").open("rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):
                    break  # somebody is writing it
                self._read += len(line)
                self._journal.append(json.loads(line))
        return [entry for entry in self._journal if entry["kind"] in kinds]

    def fired(self, token: str) -> dict[str, Any]:
        """What the armed fault of this name came to, once it has."""
        return wait_for(lambda: next((fault for fault in self.journal("fault") if fault["token"] == token), None))

    def release(self, fault: dict[str, Any]) -> None:
        """What the fault holds goes on."""
        (self.chaos / "fired" / fault["token"]).unlink()

    def hold(self) -> None:
        """From now on what is `held` stands still in generate, until `let_go`."""
        (self.chaos / "held").touch()

    def let_go(self) -> None:
        (self.chaos / "held").unlink()

    def empty_the_broker(self) -> None:
        for message in (self.data / "broker").glob("queue.*/*"):
            message.unlink(missing_ok=True)

    def send_as(self, picture: bytes, key: str, source: str = "") -> Answer | None:
        """None when there was no answer at all."""
        edge = "chaos-boundary"
        fields = f'--{edge}\r\nContent-Disposition: form-data; name="source"\r\n\r\n{source}\r\n'
        head = f'--{edge}\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
        body = fields.encode() + head.encode() + picture + f"\r\n--{edge}--\r\n".encode()
        form = f"multipart/form-data; boundary={edge}"
        try:
            return self.request("POST", "/api/uploads", body, Content_Type=form, Idempotency_Key=key)
        except (OSError, HTTPException):
            return None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _group_of(process: psutil.Process) -> int:
    try:
        return os.getpgid(process.pid)
    except ProcessLookupError:
        return 0


@contextmanager
def database(folder: Path) -> Iterator[tuple[str, Proxy | None]]:
    """A database for a cluster, and the proxy in front of it; SQLite has none. Django knows it as ALIAS."""
    with _database(folder) as url, known_to_django(url):
        if url.startswith("sqlite"):
            (folder / "data").mkdir(exist_ok=True)
            yield url, None
            return
        parts = urlsplit(url)
        host = parse_qs(parts.query).get("host", [parts.hostname or "127.0.0.1"])[0]
        user = ":".join(quote(word) for word in (parts.username, parts.password) if word)
        with proxy_to(host, parts.port or 5432) as proxy:
            yield f"postgres://{user}@127.0.0.1:{proxy.port}{parts.path}", proxy


@contextmanager
def known_to_django(url: str) -> Iterator[None]:
    """As ALIAS, in this process."""
    connections.settings[ALIAS] = connections.settings["default"] | environ.Env.db_url_config(url)
    try:
        yield
    finally:
        connections[ALIAS].close()
        del connections[ALIAS]
        del connections.settings[ALIAS]
