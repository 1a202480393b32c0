"""The brokers of production: a whole job through each, and uploads while it is dead, deaf or emptied."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support import pictures
from tests.support.brokers import Broker, broker
from tests.support.installation import Installation, installation, wait_for

pytestmark = pytest.mark.any_database

PUBLISH_SECONDS = 2
"""Limit of the seconds that a publish to a broken broker adds to an upload."""
BUSY = 3
"""How many times slower this machine may be all the time; for a moment it may stand still."""


QUICK = {"STEP_LEASE_SECONDS": "3", "SWEEP_SECONDS": "1", "STEP_MAX_ATTEMPTS": "20"}
"""With attempts to spare: a worker that is held up for a lease loses one."""


class World(NamedTuple):
    darkroom: Installation
    broker: Broker


@pytest.fixture(scope="module", params=["amqp", "redis"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp(request.param)
    with (
        broker(request.param) as through,
        installation(folder, CELERY_BROKER_URL=through.url, **QUICK) as darkroom,
    ):
        yield World(darkroom, through)


@pytest.fixture(scope="module")
def picture() -> bytes:
    return pictures.encoded(pictures.landscape(320, 240), "JPEG")


def ends(darkroom: Installation, job: str) -> None:
    told = list(darkroom.watch(job))
    assert (told[-1]["status"], told[-1]["progress"]) == ("completed", 100)
    progress = [answer["progress"] for answer in told]
    assert progress == sorted(progress)
    kinds = [event["type"] for event in darkroom.events(job)]
    assert kinds.count("step.completed") == 4
    assert kinds.count("job.completed") == 1


def sent(darkroom: Installation, picture: bytes) -> str:
    """The job's id."""
    answer = darkroom.send(picture)
    assert answer.status == 202
    return str(answer.json["jobId"])


def test_a_whole_job(world: World, picture: bytes) -> None:
    ends(world.darkroom, sent(world.darkroom, picture))


@pytest.mark.parametrize("fault", ["refuse", "swallow"])
def test_an_upload_is_accepted_without_a_broker_and_goes_on_with_one(world: World, picture: bytes, fault: str) -> None:
    getattr(world.broker.proxy, fault)()
    try:
        jobs, took = [], []
        for _ in range(6):
            began = time.monotonic()
            jobs.append(sent(world.darkroom, picture))
            took.append(time.monotonic() - began)
        assert all(world.darkroom.status(job)["status"] == "pending" for job in jobs)
    finally:
        world.broker.proxy.heal()
    for job in jobs:
        ends(world.darkroom, job)
    # The quickest: what the broker costs, it costs every one of them.
    assert min(took) < PUBLISH_SECONDS * BUSY


def test_beat_says_in_one_line_that_the_broker_is_away(world: World) -> None:
    before = len(world.darkroom.log.read_text())
    world.broker.proxy.refuse()
    try:
        wait_for(lambda: world.darkroom.log.read_text()[before:].count("sweep was not sent") >= 2)
    finally:
        world.broker.proxy.heal()
    assert "celery/beat.py" not in world.darkroom.log.read_text()[before:]


def test_connections_cut_in_the_middle_of_jobs(world: World, picture: bytes) -> None:
    jobs = [sent(world.darkroom, picture) for _ in range(4)]
    for job in jobs:
        wait_for(lambda: world.darkroom.status(job)["status"] != "pending")  # noqa: B023
        world.broker.proxy.reset()
    for job in jobs:
        ends(world.darkroom, job)


def test_an_emptied_broker(world: World, picture: bytes) -> None:
    jobs = [sent(world.darkroom, picture) for _ in range(4)]
    world.broker.empty()
    for job in jobs:
        ends(world.darkroom, job)


def settings_with(folder: Path, **environment: str) -> Any:
    """The Celery settings of a process that has this environment."""
    code = "import json; from config import settings; print(json.dumps(vars(settings), default=repr))"
    environment |= {"DATA_DIR": str(folder), "SECRET_KEY": "x", "ENV_FILE": str(folder / "none")}
    return json.loads(
        subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True).stdout
    )


def test_redis_does_not_deliver_again_what_is_still_worked_on(tmp_path: Path) -> None:
    found = settings_with(tmp_path, CELERY_BROKER_URL="redis://127.0.0.1/1", STEP_TIMEOUT_SECONDS="3000")
    assert found["CELERY_BROKER_TRANSPORT_OPTIONS"]["visibility_timeout"] > 2 * found["CELERY_TASK_TIME_LIMIT"]


def test_rabbitmq_confirms_and_replicates(tmp_path: Path) -> None:
    found = settings_with(tmp_path, CELERY_BROKER_URL="amqp://guest:guest@127.0.0.1//")
    assert found["CELERY_BROKER_TRANSPORT_OPTIONS"]["confirm_publish"] is True
    assert all("quorum" in queue for queue in found["_queue_arguments"].values())
