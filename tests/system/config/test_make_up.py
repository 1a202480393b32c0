"""`make up` says that Darkroom is there when it is, says in a sentence why it is not, and leaves nothing behind."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from config.network import addresses
from tests.support import pictures
from tests.support.installation import PATIENCE, Installation, installation, wait_for
from tests.support.ports import free_port

pytestmark = pytest.mark.any_database

ROOT = Path(__file__).resolve().parents[3]
CODE = ("config", "uploads", "status", "workflows", "templates", "static", "manage.py")
UP = [sys.executable, "-m", "config.up"]
ANY = "0.0.0.0"  # noqa: S104
PICTURE = pictures.encoded(pictures.landscape(320, 240), "JPEG")


def environment(folder: Path, **more: str) -> dict[str, str]:
    return os.environ | {"DATA_DIR": str(folder / "data"), "PORT": str(free_port())} | more


def refused(folder: Path, **more: str) -> str:
    """The sentence with which `make up` ends, before it has said anything else."""
    ended = subprocess.run(UP, env=environment(folder, **more), capture_output=True, text=True, timeout=PATIENCE)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.count("\n") == 1
    return ended.stderr


@contextmanager
def started(folder: Path, command: list[str] = UP, **more: str) -> Iterator["psutil.Popen"]:
    """`make up`, with what it says in its `stdout`; at the end nothing of it is left."""
    process = psutil.Popen(
        command, env=environment(folder, **more), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    family: list[psutil.Process] = [process]
    try:
        yield process
        with suppress(psutil.NoSuchProcess):
            family += process.children(recursive=True)
    finally:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGINT)
        _, alive = psutil.wait_procs(family, timeout=PATIENCE)
        for each in alive:
            each.kill()
        process.stdout.close()
    assert not alive


def read_until(process: "psutil.Popen", words: str) -> str:
    """What it says, up to the line with these words."""
    said = ""
    for line in process.stdout:
        said += str(line)
        if words in line:
            return said
    raise AssertionError(f"never said {words!r}: {said}")


def copy_of_the_code(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in CODE:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(ROOT / name, folder / name)
    (folder / ".venv").symlink_to(Path(sys.prefix))
    return folder


@pytest.fixture(scope="module")
def darkroom(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """In a folder whose name has spaces."""
    folder = tmp_path_factory.mktemp("a folder with spaces")
    with installation(folder) as running:
        yield running


def test_a_second_one_on_the_same_data_is_refused_in_a_sentence(darkroom: Installation) -> None:
    said = refused(darkroom.folder)
    assert re.search(rf"Darkroom runs already with DATA_DIR .*: it is on port {darkroom.port}, process \d+\.", said)
    assert darkroom.request("GET", "/api/jobs").status == 200


def test_a_second_one_on_the_same_port_is_refused_in_a_sentence(darkroom: Installation, tmp_path: Path) -> None:
    assert f"Port {darkroom.port} is taken" in refused(tmp_path, PORT=str(darkroom.port))
    assert {darkroom.request("GET", "/api/jobs").status for _ in range(20)} == {200}


def test_what_it_says_has_no_noise(darkroom: Installation) -> None:
    """Also as root, and with a picture developed."""
    list(darkroom.watch(darkroom.send(PICTURE).json["jobId"]))
    said = darkroom.log.read_text()
    assert "Warning" not in said
    assert "Traceback" not in said
    assert [line for line in said.splitlines() if line][:3] == [
        "Preparing the database and the pages …",
        "Starting the web server and the workers …",
        f"  Darkroom is at http://127.0.0.1:{darkroom.port}    (Ctrl-C stops it)",
    ]


def test_the_address_is_said_when_the_page_is_there(tmp_path: Path) -> None:
    with started(tmp_path) as process:
        said = read_until(process, "Darkroom is at")
        url = re.search(r"http://127\.0\.0\.1:\d+", said)
        assert url
        with socket.create_connection(("127.0.0.1", int(url[0].rpartition(":")[2]))) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 200 ")


@pytest.mark.usefixtures("in_a_terminal")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGHUP, signal.SIGTERM])
def test_however_it_ends_nothing_goes_on(tmp_path: Path, how: signal.Signals) -> None:
    """Children and their children: those of the web server and of the worker, too."""
    with started(tmp_path) as process:
        read_until(process, "Darkroom is at")
        family = wait_for(lambda: _with_grandchildren(process))
        process.send_signal(how)
        _, alive = psutil.wait_procs([process, *family], timeout=PATIENCE)
    assert not alive
    assert process.returncode == (-how if how == signal.SIGKILL else 0)


def _with_grandchildren(process: "psutil.Popen") -> list[psutil.Process] | None:
    """Once the web server and the worker have children of their own."""
    family = process.children(recursive=True)
    return family if len([each for each in family if each.ppid() != process.pid]) >= 2 else None


def test_a_closed_terminal_does_not_end_what_nohup_has_started(tmp_path: Path) -> None:
    with started(tmp_path, ["nohup", *UP]) as process:
        read_until(process, "Darkroom is at")
        process.send_signal(signal.SIGHUP)
        process.children()[0].kill()
        # It hears and does all else.
        assert "Stopping" not in read_until(process, "is started again")


def test_a_process_that_cannot_run_ends_all_in_a_sentence(tmp_path: Path) -> None:
    with started(tmp_path, CELERY_BROKER_URL="nonsense://localhost") as process:
        said = process.stdout.read()
        assert process.wait(PATIENCE) == 1
    assert re.search(r"its process “(worker|house)” ended with exit code \d+", said.splitlines()[-1])
    assert "Darkroom is at" not in said or said.index("Darkroom is at") < said.index("is started again")


def test_a_database_that_does_not_answer_is_a_sentence(tmp_path: Path) -> None:
    with started(tmp_path, DATABASE_URL=f"postgres://127.0.0.1:{free_port()}/darkroom") as process:
        said = process.stdout.read()
        assert process.wait(PATIENCE) == 1
    assert "The database cannot be used. Look at DATABASE_URL" in said
    assert "Traceback" not in said
    assert "Darkroom is at" not in said


def test_a_folder_that_is_a_file_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    assert "is a file. It must be a folder." in refused(tmp_path)


def test_a_port_for_metrics_that_is_taken_is_a_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert f"Port {port} is taken by another program" in refused(tmp_path, METRICS_PORT=str(port))


def test_words_go_to_a_socket_and_to_nobody(tmp_path: Path) -> None:
    """What stdout is cannot be opened by its name; and when its reader goes, all goes on."""
    ours, its = socket.socketpair()
    process = psutil.Popen(UP, env=environment(tmp_path), stdout=its.fileno(), stderr=its.fileno())
    its.close()
    try:
        with ours, ours.makefile() as lines:
            said = next(line for line in lines if "Darkroom is at" in line)
        web = wait_for(lambda: [each for each in process.children() if "granian" in " ".join(each.cmdline())])
        web[0].kill()
        port = int(re.findall(r":(\d+) ", said)[0])
        wait_for(lambda: _listens(port) and process.children())
    finally:
        family = [process, *process.children(recursive=True)]
        process.send_signal(signal.SIGINT)
        _, alive = psutil.wait_procs(family, timeout=PATIENCE)
        for each in alive:
            each.kill()
    assert not alive
    assert process.returncode == 0


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not addresses(ANY), reason="this machine is on no network")
def test_on_a_network_others_can_open_it_send_and_see(tmp_path: Path) -> None:
    with installation(tmp_path, HOST=ANY) as darkroom:
        address = f"http://{addresses(ANY)[0]}:{darkroom.port}"
        assert f"Darkroom is at {address} " in darkroom.log.read_text()
        darkroom.url = address
        assert darkroom.request("GET", "/").status == 200
        done = list(darkroom.watch(darkroom.send(PICTURE).json["jobId"]))[-1]
        preview = darkroom.request("GET", f"/api/results/{done['resultId']}").json["previewUrl"]
        assert preview.startswith(f"{address}/")
        assert darkroom.request("GET", preview).status == 200
        assert darkroom.request("GET", "/", Host="elsewhere.example").status == 400


def test_in_a_path_with_spaces_and_with_new_static_files_after_a_restart(tmp_path: Path) -> None:
    code = copy_of_the_code(tmp_path / "with some spaces")
    darkroom = Installation(tmp_path)
    darkroom.code, darkroom.command = code, [str(code / ".venv" / "bin" / "python"), "-m", "config.up"]
    darkroom.start()
    try:
        assert list(darkroom.watch(darkroom.send(PICTURE).json["jobId"]))[-1]["status"] == "completed"
        darkroom.stop()
        with (code / "static" / "js" / "words.js").open("a") as script:
            script.write("// anew\n")
        darkroom.start()
        assert darkroom.request("GET", "/static/js/words.js").body.endswith(b"// anew\n")
    finally:
        darkroom.stop()


@pytest.fixture(scope="module")
def developed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """What `make dev` runs, on a copy of the code."""
    folder = tmp_path_factory.mktemp("dev")
    darkroom = Installation(folder)
    darkroom.code, darkroom.command = copy_of_the_code(folder / "code"), [*UP, "--watch"]
    darkroom.start()
    try:
        yield darkroom
    finally:
        darkroom.stop()


def test_changed_templates_and_scripts_are_in_the_next_answer(developed: Installation) -> None:
    pids = {process.pid for process in developed.processes("")}
    for file, path in (("templates/upload.html", "/"), ("static/js/words.js", "/static/js/words.js")):
        changed = developed.code / file
        words = changed.read_text()
        assert developed.request("GET", path).status == 200
        changed.write_text(words.replace("</h1>", " anew</h1>", 1) if path == "/" else f"{words}// anew\n")
        assert b" anew" in developed.request("GET", path).body
    assert {process.pid for process in developed.processes("")} == pids


def test_changed_code_is_run_by_new_processes_and_a_mistake_is_waited_out(developed: Installation) -> None:
    health = developed.code / "config" / "health.py"
    words = health.read_text()
    before = {process.pid for process in developed.processes("")}
    health.write_text(words.replace('"alive\\n"', '"alive anew\\n"'))
    wait_for(lambda: _body(developed, "/healthz") == b"alive anew\n")
    wait_for(lambda: developed.processes("--queues images,generate") and developed.processes("--queues house"))
    assert not before & {process.pid for process in developed.processes("")}
    health.write_text("this is no Python")
    wait_for(lambda: "It is tried again after the next change." in developed.log.read_text())
    health.write_text(words)
    wait_for(lambda: _body(developed, "/healthz") == b"alive\n")
    assert list(developed.watch(developed.send(PICTURE).json["jobId"]))[-1]["status"] == "completed"


def test_what_goes_wrong_is_not_shown_to_visitors(developed: Installation) -> None:
    page = developed.request("GET", "/no/such/page")
    assert page.status == 404
    assert b"urlpatterns" not in page.body
    assert b"DEBUG" not in page.body


def _body(darkroom: Installation, path: str) -> bytes:
    try:
        return darkroom.request("GET", path).body
    except OSError:
        return b""
