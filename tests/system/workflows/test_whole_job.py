"""Real processes, as `make up` starts them, spoken to over HTTP only."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import psutil
import pytest
from PIL import Image

from tests.support import pictures
from tests.support.installation import PATIENCE, Installation, installation, wait_for
from tests.support.standstill import half_drawn

LEASE, SWEEP = 12, 1
"""Seconds. A worker that is held up for as long as a lease loses its step: not in the few that a busy machine costs."""


@pytest.fixture(scope="module")
def darkroom(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("installation")
    with installation(folder, STEP_LEASE_SECONDS=str(LEASE), SWEEP_SECONDS=str(SWEEP)) as running:
        yield running


@pytest.fixture(scope="module")
def picture() -> bytes:
    """Large enough that developing it takes a while."""
    return pictures.encoded(pictures.landscape(2400, 1800), "JPEG", quality=90)


def sent(darkroom: Installation, picture: bytes) -> str:
    return str(darkroom.send(picture).json["jobId"])


def test_a_job_from_the_upload_to_the_end(darkroom: Installation, picture: bytes) -> None:
    accepted = darkroom.send(picture)
    assert accepted.status == 202
    told = list(darkroom.watch(accepted.json["jobId"]))
    assert (told[-1]["status"], told[-1]["progress"]) == ("completed", 100)
    progress = [answer["progress"] for answer in told]
    assert progress == sorted(progress)
    happened = darkroom.events(told[-1]["jobId"])
    reported = [event["data"]["progress"] for event in happened if event["type"] == "step.progress"]
    assert reported == sorted(reported)
    assert len({points for points in reported if 30 < points < 70}) >= 3
    assert [event["id"] for event in happened] == list(range(1, told[-1]["eventCount"] + 1))
    assert [event["type"] for event in happened if event["type"] != "step.progress"] == [
        "job.accepted",
        *(["step.started", "step.completed"] * 4),
        "job.completed",
    ]
    result = darkroom.request("GET", f"/api/results/{told[-1]['resultId']}").json
    preview = darkroom.request("GET", result["previewUrl"])
    with Image.open(BytesIO(preview.body)) as shown:
        assert shown.size == (1280, 960)


@pytest.mark.parametrize("victim", ["child", "parent", "group"])
def test_a_worker_killed_in_the_middle_of_generate(darkroom: Installation, picture: bytes, victim: str) -> None:
    with half_drawn(darkroom, lambda: sent(darkroom, picture)) as job:
        killed = _kill(darkroom, victim)
    # Not inside: a parent that stands still does not take leave of its child.
    psutil.wait_procs(killed, timeout=PATIENCE)
    told = list(darkroom.watch(job))
    assert told[-1]["status"] == "completed"
    assert [answer["progress"] for answer in told] == sorted(answer["progress"] for answer in told)
    kinds = [event["type"] for event in darkroom.events(job)]
    assert kinds.count("step.retrying") == 1
    assert kinds.count("step.started") == kinds.count("step.completed") == 4
    assert kinds.count("job.completed") == 1
    wait_for(lambda: len(darkroom.processes("--queues images,generate")) >= 2)


def _kill(darkroom: Installation, victim: str) -> list[psutil.Process]:
    family = darkroom.processes("--queues images,generate")
    parents = [process for process in family if process.ppid() == darkroom._supervisor.pid]
    chosen = {"parent": parents, "child": [p for p in family if p not in parents], "group": family}[victim]
    assert chosen
    for process in chosen:
        process.kill()
    return chosen


def test_every_killed_process_comes_back(darkroom: Installation, picture: bytes) -> None:
    for words in ("granian", "--queues house", "--queues images,generate"):
        process = wait_for(lambda: darkroom.processes(words))[0]  # noqa: B023
        children = process.children(recursive=True)
        process.kill()
        _, orphans = psutil.wait_procs(children, timeout=PATIENCE)
        assert not orphans, f"{words}: {orphans} outlived their parent"
        wait_for(lambda: [found for found in darkroom.processes(words) if found.pid != process.pid])  # noqa: B023
    wait_for(darkroom._answers)
    job = darkroom.send(picture).json["jobId"]
    assert list(darkroom.watch(job))[-1]["status"] == "completed"


def test_too_large_is_said_and_not_just_a_broken_connection(darkroom: Installation) -> None:
    answer = darkroom.send(bytes(65 * 1024 * 1024))
    assert (answer.status, answer.json["error"]["code"]) == (413, "FILE_TOO_LARGE")
    assert "64 MiB" in answer.json["error"]["message"]


def test_a_restart_finds_everything_as_it_was(tmp_path: Path, picture: bytes) -> None:
    with installation(tmp_path) as first:
        with half_drawn(first, lambda: sent(first, picture)) as job:
            first.interrupt()
        first.wait_for_the_end()
        first.start()
        assert list(first.watch(job))[-1]["status"] == "completed"
        kinds = [event["type"] for event in first.events(job)]
        assert "step.retrying" not in kinds, "the step was not handed back"
