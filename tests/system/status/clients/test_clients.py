"""Clients as others write them from the documentation alone, against a whole Darkroom of its own."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support import pictures
from tests.support.installation import PATIENCE, Installation, installation
from tests.support.required import cannot
from tests.support.standstill import half_drawn, standstill

pytestmark = pytest.mark.any_database

HERE = Path(__file__).parent
PACKAGES = ["react@19", "react-dom@19", "@tanstack/react-query@5", "jsdom@26"]
PLAIN = ["messages.mjs", "progress.mjs", "build.mjs"]
REACT = ["build-hook.mjs", "status-query.mjs"]
Lines = list[dict[str, Any]]


@pytest.fixture(scope="module")
def node() -> str:
    return shutil.which("node") or cannot("The clients' tests need Node (node), which is not installed.")


@pytest.fixture(scope="module")
def project(node: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the clients, and with the packages that some of them need."""
    npm = shutil.which("npm") or cannot("The clients' tests need npm, which is not installed.")
    folder = tmp_path_factory.mktemp("clients")
    (folder / "package.json").write_text('{"private": true, "type": "module"}')
    install = [npm, "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", *PACKAGES]
    done = subprocess.run(install, cwd=folder, capture_output=True, text=True, timeout=2 * PATIENCE, check=False)
    if done.returncode:
        cannot(f"npm could not install {', '.join(PACKAGES)}: {done.stderr}")
    for client in REACT:
        shutil.copy(HERE / client, folder)
    return folder


@pytest.fixture(scope="module")
def darkroom(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installation(tmp_path_factory.mktemp("installation"), SWEEP_SECONDS="1") as running:
        yield running


@pytest.fixture(scope="module")
def picture() -> bytes:
    """Large enough that developing it takes a while."""
    return pictures.encoded(pictures.landscape(2400, 1800), "JPEG", quality=90)


@pytest.fixture(params=[*PLAIN, *REACT])
def client(request: pytest.FixtureRequest, node: str) -> list[str]:
    folder = request.getfixturevalue("project") if request.param in REACT else HERE
    return [node, str(folder / request.param)]


def watch(
    client: list[str], darkroom: Installation, job: str, once_it_watches: Callable[[], object], errors: Path
) -> Lines:
    """What the client printed until it ended by itself; `once_it_watches` is called when it has told how far it is."""
    command = [*client, darkroom.url, darkroom.token, job]
    lines: Lines = []
    with (
        errors.open("w") as output,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=output, text=True) as process,
    ):
        try:
            assert process.stdout
            for text in process.stdout:
                line = json.loads(text)
                if "percent" in line and not any("percent" in earlier for earlier in lines):
                    once_it_watches()
                lines.append(line)
            process.wait(PATIENCE)
        finally:
            process.kill()
    assert process.returncode == 0, errors.read_text()
    return lines


def test_a_client_follows_a_job_to_its_end(
    darkroom: Installation, picture: bytes, client: list[str], tmp_path: Path
) -> None:
    with ExitStack() as still:
        still.enter_context(standstill(darkroom))
        job = darkroom.send(picture).json["jobId"]
        lines = watch(client, darkroom, job, still.close, tmp_path / "errors")
    percents = [line["percent"] for line in lines if "percent" in line]
    assert percents[0] == 0
    assert percents == sorted(percents)
    assert percents[-1] == 100
    COMPLETED[Path(client[1]).name](lines, darkroom, job)


def test_a_client_is_told_that_a_job_was_cancelled(
    darkroom: Installation, picture: bytes, client: list[str], tmp_path: Path
) -> None:
    with half_drawn(darkroom, lambda: str(darkroom.send(picture).json["jobId"])) as job:

        def cancel() -> None:
            assert darkroom.request("POST", f"/api/jobs/{job}/cancel").status == 202

        lines = watch(client, darkroom, job, cancel, tmp_path / "errors")
    first, *_, last = [line for line in lines if "percent" in line]
    assert 30 < first["percent"] < 70
    assert last.get("status", last.get("state")) == "failed"
    assert "The job was cancelled." in json.dumps(lines)
    assert not any("preview" in line for line in lines)


def messages_of(darkroom: Installation, job: str) -> list[str]:
    return [event["message"] for event in darkroom.events(job)]


def messages_completed(lines: Lines, darkroom: Installation, job: str) -> None:
    assert lines[-2] == {"percent": 100, "step": "done", "state": "completed", "errors": []}
    assert lines[-1]["messages"] == messages_of(darkroom, job)


def progress_completed(lines: Lines, darkroom: Installation, job: str) -> None:
    steps = dict.fromkeys(("validate", "generate", "store", "watermark"), "completed")
    assert lines[-2] == {"percent": 100, "status": "completed", "steps": steps}
    assert lines[-1]["error"] is None
    assert all(milliseconds > 0 for milliseconds in lines[-1]["milliseconds"])


def build_completed(lines: Lines, darkroom: Installation, job: str) -> None:
    events = [line for line in lines if "id" in line]
    assert [event["id"] for event in events] == list(range(1, len(events) + 1))
    assert [event["message"] for event in events] == messages_of(darkroom, job)
    assert events[-1]["type"] == "deploy_completed"
    (preview,) = [line for line in lines if "preview" in line]
    assert (preview["preview"], preview["kind"].partition("/")[0]) == (200, "image")
    assert preview["bytes"] > 1000


def build_hook_completed(lines: Lines, darkroom: Installation, job: str) -> None:
    assert lines[-2]["ids"] == [f"event-{number}" for number in range(1, len(lines[-2]["ids"]) + 1)]
    assert lines[-2]["messages"] == messages_of(darkroom, job)
    assert (lines[-1]["preview"], lines[-1]["kind"].partition("/")[0]) == (200, "image")


def status_query_completed(lines: Lines, darkroom: Installation, job: str) -> None:
    result = darkroom.status(job)["resultId"]
    assert lines[-2] == {"percent": 100, "status": "completed", "result": result}
    assert lines[-1] == {"role": "status", "text": f"Done: {result}"}


COMPLETED: dict[str, Callable[[Lines, Installation, str], None]] = {
    "messages.mjs": messages_completed,
    "progress.mjs": progress_completed,
    "build.mjs": build_completed,
    "build-hook.mjs": build_hook_completed,
    "status-query.mjs": status_query_completed,
}
