"""Dockerfile, compose.yaml, config/nginx.conf and what the README says for Debian, step by step on this machine: there
is no engine in CI.

What is left out: the base image, and the servers, in whose place are those of the tests.
"""

import http.client
import json
import os
import re
import shlex
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from django.conf import settings

from config.programs import programs
from tests.support import pictures
from tests.support.brokers import broker
from tests.support.installation import PATIENCE, Answer, Installation, _database, wait_for
from tests.support.ports import free_port

ROOT = Path(__file__).resolve().parents[3]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
OURS = ("web", "worker", "house", "deliver", "beat", "metrics")
CODE = ("manage.py", "config", "uploads", "status", "workflows", "templates", "static")
SOMEBODY = 10001
"""The user of the image."""


def dockerfile() -> list[tuple[str, str]]:
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line and line[0] != "#"]  # type: ignore[misc]


def command(service: str) -> list[str]:
    words = COMPOSE["services"][service].get("command") or yaml.safe_load(dict(dockerfile())["CMD"])
    return [str(word) for word in words]


# Of a Python below a home that only its owner may enter, an image has no counterpart: here it gets a way in.
AS_SOMEBODY = f"""
mount --bind "$1" /mnt && mount -t tmpfs -o mode=755 tmpfs "$2" && mkdir -p "$1" && mount --bind /mnt "$1" || exit
shift 2
exec setpriv --reuid {SOMEBODY} --regid {SOMEBODY} --clear-groups --inh-caps=-all "$@"
"""


@cache
def as_somebody() -> list[str]:
    """What to write before a command so that it runs as the image's user; nothing where that may not be."""
    words = ["setpriv", f"--reuid={SOMEBODY}", f"--regid={SOMEBODY}", "--clear-groups", "--inh-caps=-all"]
    home = Path.home()  # which may be closed to others
    if Path(sys.base_prefix).is_relative_to(home):
        words = ["unshare", "--mount", "sh", "-c", AS_SOMEBODY, "sh", sys.base_prefix, str(home)]
    whoami = [sys.executable, "-c", "import os, django; print(os.getuid())"]
    try:
        tried = subprocess.run([*words, *whoami], capture_output=True)
    except FileNotFoundError:
        return []
    return words if tried.stdout.strip() == str(SOMEBODY).encode() else []


class Deployed(Installation):
    """A folder of its own with the code in it, where commands run that are written down somewhere."""

    host = "darkroom.example"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.image = folder / "image"
        self.image.mkdir()
        self.services: dict[str, psutil.Popen] = {}
        self.somebody: list[str] = []

    def request(self, method: str, path: str, data: bytes | None = None, **headers: str) -> Answer:
        """As the proxy hands it on."""
        return super().request(
            method,
            path,
            data,
            Host=self.host,
            X_Forwarded_Proto="https",
            X_Forwarded_For="192.0.2.1",
            **headers,
        )

    def run(self, words: list[str], somebody: Sequence[str] = (), environment: dict[str, str] | None = None) -> None:
        ended = subprocess.run(
            [*somebody, *words],
            cwd=self.image,
            env=environment or self._environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert ended.returncode == 0, f"{shlex.join(words)}: {ended.stdout} {ended.stderr}"

    def begin(self, service: str, words: list[str]) -> None:
        words = [str(self.port) if word == "8000" else word for word in words]
        if "--respawn-interval" in words:
            # In which a new web process has to start before an old one ends: one, and longer, on a busy machine.
            words[words.index("--respawn-interval") + 1] = "30"
            words[words.index("--workers") + 1] = "1"
        with self.log.open("ab") as log:
            self.services[service] = psutil.Popen(
                [*self.somebody, *words], cwd=self.image, env=self._environment, stdout=log, stderr=log
            )

    def end(self) -> None:
        services = self.services.values()
        family = [child for service in services for child in [service, *service.children(recursive=True)]]
        for service in services:
            service.terminate()
        _, alive = psutil.wait_procs(family, timeout=PATIENCE)
        for process in alive:
            process.kill()

    def develops_a_picture(self) -> None:
        wait_for(self._healthy)
        wait_for(lambda: self.request("GET", "/readyz").json["ready"])
        self.token = self.request("POST", "/api/sessions").json["sessionToken"]
        sent = self.send(pictures.encoded(pictures.landscape(), "JPEG"))
        assert sent.status == 202, sent.body
        assert list(self.watch(sent.json["jobId"]))[-1]["status"] == "completed"

    def _healthy(self) -> bool:
        """As the web service's own health check finds it."""
        check = COMPOSE["services"]["web"]["healthcheck"]["test"][1:]
        words = [word.replace("8000", str(self.port)) for word in check]
        return subprocess.run(words, env=self._environment, capture_output=True, timeout=PATIENCE).returncode == 0


class Composed(Deployed):
    """The image's folder, and the services of compose.yaml as processes in it."""

    def __init__(self, folder: Path, database: str) -> None:
        super().__init__(folder)
        built = dict(re.findall(r"(\w+)=(\S+)", dict(dockerfile())["ENV"]))
        settings = built | COMPOSE["x-darkroom"]["environment"]
        written = {"PUBLIC_URL": "https://darkroom.example", "SECRET_KEY": "only-for-tests-" + "x" * 50}
        settings = {
            name: re.sub(r"\$\{(\w+)(?::[-?](.*?))?\}", lambda m: written.get(m[1], m[2] or ""), value)
            for name, value in settings.items()
        }
        here = {
            "DATABASE_URL": database,
            "CELERY_BROKER_URL": "filesystem://localhost",
            "CACHE_URL": "locmemcache://",
            "DATA_DIR": str(folder / "data"),
            "STATIC_ROOT": str(self.image / "static-built"),
            "METRICS_PORT": str(free_port()),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "ENV_FILE": str(folder / "none"),
        }
        self._environment = settings | here | {"HOME": str(folder), "GENERATOR": "local"}
        self._building = {name: self._environment[name] for name in (*built, "PATH", "ENV_FILE", "HOME")}
        # The tests' own PostgreSQL listens in a folder that only its owner may enter.
        self.somebody = as_somebody() if database.startswith("sqlite") else []
        (folder / "data").mkdir(mode=0o700)
        if self.somebody:
            os.chown(folder / "data", SOMEBODY, SOMEBODY)

    def build(self) -> None:
        """With the umask of somebody who is careful."""
        before = os.umask(0o077)
        try:
            for word, rest in dockerfile():
                if word == "COPY":
                    name, target = rest.split()
                    copied(ROOT / name, self.image / (target if (ROOT / name).is_dir() else name))
                elif word == "RUN" and not rest.startswith("useradd"):
                    # All of it is installed here already: pip says so without asking anybody, hashes and all.
                    step = rest.replace("pip install", "pip install --dry-run --no-deps")
                    self.run(["sh", "-c", step], environment=self._building)
        finally:
            os.umask(before)

    def compose(self, service: str) -> None:
        words = ["127.0.0.1" if word == "0.0.0.0" else word for word in command(service)]  # noqa: S104 - compared
        self.begin(service, [str(self.folder / "data" / "b") if word == "/tmp/beat" else word for word in words])  # noqa: S108 - compared


def copied(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"), copy_function=shutil.copyfile)
    else:
        shutil.copyfile(source, target)


@contextmanager
def open_folder(name: str) -> Iterator[Path]:
    """One that others than its owner may look into."""
    with tempfile.TemporaryDirectory(prefix=f"darkroom-{name}-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(scope="module")
def composed() -> Iterator[Composed]:
    with ExitStack() as stack:
        folder = stack.enter_context(open_folder("composed"))
        darkroom = Composed(folder, stack.enter_context(_database(folder)))
        darkroom.build()
        darkroom.run(command("migrate"), darkroom.somebody)
        stack.callback(darkroom.end)
        for service in OURS:
            darkroom.compose(service)
        yield darkroom


def test_every_step_of_the_image_and_every_service_make_a_darkroom(composed: Composed) -> None:
    composed.develops_a_picture()


def test_whoever_built_the_image_anybody_may_read_all_of_it_and_nobody_change_it(composed: Composed) -> None:
    inside = [composed.image, *composed.image.rglob("*")]
    assert len(inside) > 100
    assert not [path for path in inside if path.stat().st_mode & 0o022]
    assert not [path for path in inside if path.stat().st_mode & 0o444 != 0o444]
    assert not [path for path in inside if path.is_dir() and path.stat().st_mode & 0o111 != 0o111]


def test_static_files_are_everybodys_wherever_they_were_collected(tmp_path: Path) -> None:
    """Not by the image's means: on a machine it may be somebody else, too, who collects them."""
    environment = os.environ | {"STATIC_ROOT": str(tmp_path / "static")}
    subprocess.run(
        [sys.executable, "manage.py", "collectstatic", "--no-input"],
        env=environment,
        check=True,
        capture_output=True,
        timeout=PATIENCE,
    )
    modes = {path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    assert modes == {0o644, 0o755}


def test_behind_the_proxy_all_that_browsers_must_know_is_said(composed: Composed) -> None:
    wait_for(composed._healthy)
    page = composed.request("GET", "/")
    assert page.status == 200
    assert page.headers["Strict-Transport-Security"].startswith("max-age=31536000")
    login = composed.request("GET", "/admin/login/")
    cookie = login.headers["Set-Cookie"]
    assert cookie.startswith("__Host-csrf=")
    assert {"Secure", "HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))


def test_every_service_of_ours_runs_as_make_up_runs_it() -> None:
    """The same queues and pools, so that what the tests prove of one holds for the other."""
    of_make_up = {program.name: program.command for program in programs("127.0.0.1", 8000, metrics=True)}
    assert _value("--queues", command("worker")) == _value("--queues", of_make_up["worker"])
    # Less is to be done there: one process takes the queues of two, and sends what beat would.
    assert f"{_value('--queues', command('house'))},{_value('--queues', command('deliver'))}" == _value(
        "--queues", of_make_up["house"]
    )
    assert _value("--pool", command("deliver")) == _value("--pool", of_make_up["house"])
    assert int(_value("--concurrency", of_make_up["house"])) > int(_value("--concurrency", command("deliver")))
    assert "--clock" in of_make_up["house"]


def _value(option: str, words: Sequence[str]) -> str:
    return words[words.index(option) + 1]


def test_no_service_of_ours_is_left_out_here() -> None:
    ours = {name for name, service in COMPOSE["services"].items() if service.get("image") == "darkroom"}
    assert ours == {*OURS, "migrate"}
    of_make_up = {program.name for program in programs("127.0.0.1", 8000, metrics=True)}
    assert of_make_up | {"deliver", "beat"} == set(OURS)


def test_every_service_of_ours_reads_what_is_written_into_env() -> None:
    for name in (*OURS, "migrate"):
        service = COMPOSE["services"][name]
        assert service["env_file"] == [{"path": ".env", "required": False}]
        # A file for another kind of installation must not move the data out of its volume.
        assert (
            service["environment"]["DATA_DIR"]
            == dict(re.findall(r"(\w+)=(\S+)", dict(dockerfile())["ENV"]))["DATA_DIR"]
        )
        assert float(service["environment"]["SHUTDOWN_GRACE_SECONDS"]) < int(service["stop_grace_period"].rstrip("s"))


def test_a_worker_is_not_killed_while_it_may_stay_for_a_call() -> None:
    patience = int(COMPOSE["services"]["worker"]["stop_grace_period"].rstrip("s"))
    grace = float(COMPOSE["x-darkroom"]["environment"]["SHUTDOWN_GRACE_SECONDS"])
    assert patience > grace + settings.STEP_TIMEOUT.total_seconds()
    worker = next(program for program in programs("127.0.0.1", 8000, metrics=False) if program.name == "worker")
    assert worker.patience > settings.STEP_TIMEOUT.total_seconds() + 10


def test_the_proxy_starts_again_with_the_web_service_whose_address_it_knows() -> None:
    assert COMPOSE["services"]["proxy"]["depends_on"]["web"]["restart"] is True


# The proxy


@contextmanager
def proxy(upstream: int, more: str = "") -> Iterator[int]:
    """nginx with the file as it is, but for ports, certificate and where it keeps what it must; the port of its TLS."""
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        pytest.skip("There is no nginx here.")
    with open_folder("proxy") as folder:
        request = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -days 1 -keyout privkey.pem"
        subprocess.run([*request.split(), "-out", "fullchain.pem"], cwd=folder, check=True, capture_output=True)
        plain, port = free_port(), free_port()
        text = (ROOT / "config" / "nginx.conf").read_text()
        for old, new in (
            ("/certificates/", f"{folder}/"),
            ("server web:8000", f"server 127.0.0.1:{upstream}"),
            ("listen 80;", f"listen 127.0.0.1:{plain};"),
            ("listen 443 ", f"listen 127.0.0.1:{port} "),
            ("http {\n", f"http {{\n{more}\n"),
        ):
            assert old in text
            text = text.replace(old, new)
        places = "".join(
            f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (folder / "nginx.conf").write_text(text.replace("http {\n", f"http {{\n{places}\n"))
        user = "user root;" if os.geteuid() == 0 else ""
        words = [nginx, "-e", "stderr", "-c", str(folder / "nginx.conf"), "-g", f"daemon off; pid {folder}/pid; {user}"]
        with (folder / "log").open("wb") as log:
            process = psutil.Popen(words, stdout=log, stderr=log)
        try:
            wait_for(lambda: _listens(port) or not process.is_running())
            assert process.is_running(), (folder / "log").read_text()
            yield port
        finally:
            process.terminate()
            process.wait(PATIENCE)


def _listens(port: int) -> bool:
    try:
        through(port, "GET", "/healthz")
    except OSError:
        return False
    return True


def through(port: int, method: str, path: str, headers: dict[str, str] | None = None) -> tuple[int, Any, bytes]:
    unverified = ssl._create_unverified_context()  # noqa: S323 - it is the test's own
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=unverified, timeout=PATIENCE)
    try:
        connection.request(method, path, headers={"Host": "darkroom.example"} | (headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def test_new_code_comes_without_a_poll_that_fails(composed: Composed) -> None:
    """As the README has it: the new version in the place of the old, then a HUP to the web service."""
    wait_for(composed._healthy)
    code = composed.image / "config" / "health.py"
    text = code.read_text()
    assert '"alive\\n"' in text
    code.write_text(text.replace('"alive\\n"', '"alive anew\\n"'))
    answers: Counter[int | str | bytes] = Counter()
    seen: Counter[bytes] = Counter()
    done = threading.Event()

    def poll(port: int) -> None:
        while not done.is_set():
            try:
                status, _, told = through(port, "GET", f"/api/status/{'0' * 32}")
                answers[status if status == 401 else told] += 1
                seen[through(port, "GET", "/healthz")[2]] += 1
            except (OSError, http.client.HTTPException) as error:
                answers[type(error).__name__] += 1
            time.sleep(0.1)

    with proxy(composed.port) as port:
        pollers = [threading.Thread(target=poll, args=[port]) for _ in range(4)]
        for poller in pollers:
            poller.start()
        try:
            wait_for(lambda: seen[b"alive\n"] > 20)
            old = composed.services["web"].children()
            composed.services["web"].send_signal(signal.SIGHUP)
            psutil.wait_procs(old, timeout=PATIENCE)
            before = seen[b"alive\n"]
            wait_for(lambda: seen[b"alive anew\n"] > 50)
        finally:
            done.set()
            for poller in pollers:
                poller.join()
    # One that was on its way when the last old process ended may be noted after that, by each poller.
    assert seen[b"alive\n"] <= before + 4
    assert set(answers) == {401}, (answers, composed.log.read_text()[-2000:])


@pytest.mark.any_database
def test_what_the_proxy_has_to_say_itself_is_said_as_darkroom_would() -> None:
    with proxy(free_port()) as port:
        for path in ("/api/jobs", "/jobs/1/status"):
            status, headers, body = through(port, "GET", path)
            error = json.loads(body)["error"]
            assert (status, error["code"], error["retryable"]) == (503, "UNAVAILABLE", True)
            assert (headers["Retry-After"], headers["Content-Type"]) == ("5", "application/json")
            assert_scripts_may_read(headers)
        status, headers, body = through(port, "GET", "/")
        assert (status, headers["Retry-After"], headers["Content-Type"]) == (503, "5", "text/html")
        assert_scripts_may_read(through(port, "GET", "/media/link")[1])
        status, headers, body = through(port, "POST", "/api/uploads", {"Content-Length": "100000000"})
        assert (status, json.loads(body)["error"]["code"]) == (413, "FILE_TOO_LARGE")
        assert headers["Access-Control-Allow-Origin"] == "*"
        assert through(port, "GET", "/readyz")[0] == 404


def assert_scripts_may_read(headers: Any) -> None:
    """Those of pages on other origins, too: the proxy cannot know which Darkroom lists."""
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert headers["Access-Control-Expose-Headers"] == "Retry-After"


@pytest.mark.any_database
def test_the_proxy_adds_nothing_to_what_darkroom_lets_other_origins_read() -> None:
    with telling() as (upstream, asked), proxy(upstream) as port:
        _, headers, _ = through(port, "GET", "/api/jobs", {"Origin": "https://stranger.example"})
    assert asked[-1]["Origin"] == "https://stranger.example"
    assert "Access-Control-Allow-Origin" not in headers


@contextmanager
def telling() -> Iterator[tuple[int, list[Any]]]:
    """A server that keeps the headers of what it was asked."""
    asked: list[Any] = []

    class Tells(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as it is called
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Tells)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1], asked
    server.shutdown()
    thread.join()
    server.server_close()


SPOOFED = {"X-Forwarded-For": "198.51.100.1, 203.0.113.5", "X-Forwarded-Proto": "http", "X-Request-ID": "made-up-by-me"}


@pytest.mark.any_database
@pytest.mark.parametrize("behind", ["nobody", "a network of proxies"])
def test_the_proxy_hands_on_who_asks_and_not_who_they_say_they_are(behind: str) -> None:
    commented = (ROOT / "config" / "nginx.conf").read_text()
    lines = re.findall(r"^ +# ((?:set_real_ip_from|real_ip_\w+) .*;)", commented, re.MULTILINE)
    assert len(lines) == 3
    more = "\n".join(lines).replace("192.0.2.0/24", "127.0.0.1") if behind != "nobody" else ""
    with telling() as (upstream, asked), proxy(upstream, more) as port:
        through(port, "GET", "/", SPOOFED)
    # Behind others, what the outermost of them has seen: what stands further left, anybody can write.
    assert asked[-1]["X-Forwarded-For"] == ("127.0.0.1" if behind == "nobody" else "203.0.113.5")
    assert asked[-1]["X-Forwarded-Proto"] == "https"
    assert asked[-1]["X-Request-ID"] != SPOOFED["X-Request-ID"]


# Debian


def readme() -> str:
    text = (ROOT / "README.md").read_text()
    return text[text.index("**On Debian**") : text.index("| asks | what |")]


def debian_services() -> dict[str, list[str]]:
    """What systemd would run, by the words that tell one from the other."""
    lines = re.findall(r"^    ExecStart=(.*)$", readme(), re.MULTILINE)
    known = {name: line.replace("%%", "%") for line in lines for name in OURS if f" {OF_A_SERVICE[name]}" in line}
    assert len(lines) == len(known)
    return {name: known[name].replace("/srv/darkroom/", "").split() for name in OURS}


OF_A_SERVICE = {
    "web": "config.wsgi:application",
    "worker": "worker --queues images,generate",
    "house": "worker --queues house",
    "deliver": "worker --queues deliver",
    "beat": "beat ",
    "metrics": "manage.py metrics",
}


class Debian(Deployed):
    def __init__(self, folder: Path, **written: str) -> None:
        super().__init__(folder)
        for name in (*CODE, ".env.example"):
            copied(ROOT / name, self.image / name)
        (self.image / ".venv").symlink_to(Path(sys.executable).parent.parent)
        env = (self.image / ".env.example").read_text() + "\n".join(
            f"{name}={value}" for name, value in written.items()
        )
        (self.image / ".env").write_text(env)
        self._environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}


def test_the_commands_for_debian_make_a_darkroom_on_rabbitmq() -> None:
    with ExitStack() as stack:
        folder = stack.enter_context(open_folder("debian"))
        (folder / "data").mkdir()
        darkroom = Debian(
            folder,
            PUBLIC_URL="https://darkroom.example",
            SECRET_KEY="only-for-tests-" + "x" * 50,
            DATABASE_URL=stack.enter_context(_database(folder)),
            CELERY_BROKER_URL=stack.enter_context(broker("amqp")).url,
            TRUSTED_PROXIES="1",
            METRICS_PORT=str(free_port()),
        )
        commands = re.findall(r"^    sudo -u darkroom (\.venv/.*?)(?: +#.*)?$", readme(), re.MULTILINE)
        for line in commands:
            if "createsuperuser" not in line and "doctor" not in line:
                darkroom.run(shlex.split(line))
        stack.callback(darkroom.end)
        for name, words in debian_services().items():
            darkroom.begin(name, words)
        darkroom.develops_a_picture()
        darkroom.run(shlex.split(next(line for line in commands if "doctor" in line)))
        assert not [name for name, service in darkroom.services.items() if not service.is_running()]
        said = darkroom.log.read_text()
        assert "RESOURCE_LOCKED" not in said, said[-3000:]


@pytest.mark.any_database
def test_on_debian_all_runs_as_in_containers() -> None:
    for name, words in debian_services().items():
        in_a_container = command(name)
        for option in ("--queues", "--pool", "--concurrency", "--workers", "--blocking-threads", "--respawn-interval"):
            assert (option in words) is (option in in_a_container)
            if option in words:
                assert words[words.index(option) + 1] == in_a_container[in_a_container.index(option) + 1]


@pytest.mark.any_database
def test_the_command_for_the_proxy_on_debian_leaves_nothing_to_be_filled_in() -> None:
    line = next(line for line in readme().splitlines() if line.startswith("    sed "))
    made = subprocess.run(["sh", "-c", line.split(">")[0]], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "server 127.0.0.1:8000;" in made
    assert " /certificates/" not in made
    assert "ssl_certificate /etc/letsencrypt/live/darkroom.example/fullchain.pem;" in made
