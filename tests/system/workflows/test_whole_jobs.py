"""All of it at once: web, workers, RabbitMQ, S3 and Gemini, spoken to over HTTP only."""

import threading
import urllib.request
from collections.abc import Iterator
from decimal import Decimal
from io import BytesIO
from typing import Any, NamedTuple

import psutil
import pytest
from PIL import Image

from tests.support import gemini as server
from tests.support import pictures
from tests.support.brokers import broker
from tests.support.bucket import SECRET, Bucket
from tests.support.gemini import KEY, WORDS, Act, Gemini, gemini_server
from tests.support.installation import Installation, installation, wait_for
from workflows.generators import PROMPT_VERSIONS, prompt

COST = Decimal("0.078140")
RESERVED = Decimal("0.079900")
"""Of the tokens that a picture is expected to take, at the prices that are shipped."""


class World(NamedTuple):
    darkroom: Installation
    gemini: Gemini
    bucket: Bucket
    jobs: list[str]


@pytest.fixture(scope="module")
def world(moto: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    bucket = Bucket(moto)
    with broker("amqp") as rabbitmq, gemini_server() as gemini:
        environment = {
            "CELERY_BROKER_URL": rabbitmq.url,
            "GENERATOR": "gemini",
            "GEMINI_API_KEY": KEY,
            "GEMINI_BASE_URL": gemini.url,
            "DAILY_BUDGET_USD": "20",
            "S3_BUCKET": bucket.name,
            "S3_ENDPOINT_URL": moto,
            "S3_ACCESS_KEY_ID": "the-key-id",
            "S3_SECRET_ACCESS_KEY": SECRET,
            "STEP_LEASE_SECONDS": "12",
            "SWEEP_SECONDS": "1",
            # With attempts to spare: a worker that is held up for a lease loses one.
            "STEP_MAX_ATTEMPTS": "10",
        }
        with installation(tmp_path_factory.mktemp("installation"), **environment) as darkroom:
            yield World(darkroom, gemini, bucket, [])
    bucket.client.close()


def sent(world: World) -> str:
    answer = world.darkroom.send(pictures.encoded(pictures.landscape(320, 240), "JPEG"))
    assert answer.status == 202, answer.body
    world.jobs.append(answer.json["jobId"])
    return world.jobs[-1]


def ended(world: World, *acts: Act) -> Any:
    """The last word about a job whose calls come to this."""
    world.gemini.then(*acts)
    told = list(world.darkroom.watch(sent(world)))
    progress = [answer["progress"] for answer in told]
    assert progress == sorted(progress)
    assert not world.gemini.plan
    return told[-1]


def test_a_picture_comes_from_the_model_and_lies_in_the_bucket(world: World) -> None:
    told = ended(world)
    assert (told["status"], told["costUsd"]) == ("completed", float(COST))
    result = world.darkroom.request("GET", f"/api/results/{told['resultId']}").json
    assert result["previewUrl"].startswith(f"{world.bucket.url}/{world.bucket.name}/{told['jobId']}/watermark/")
    with urllib.request.urlopen(result["previewUrl"], timeout=60) as response:  # noqa: S310 - this machine's own
        assert response.headers["Content-Type"] == "image/webp"
        with Image.open(BytesIO(response.read())) as preview:
            assert preview.size == (320, 400)
    assert not (world.darkroom.folder / "data" / "media").exists()


@pytest.mark.parametrize(
    ("acts", "cost"),
    [
        pytest.param([server.refusing(500, "INTERNAL")], COST, id="500"),
        pytest.param([server.busy("1s")], COST, id="429"),
        pytest.param([server.bad_key()], COST, id="bad key"),
        pytest.param([server.resetting], RESERVED + COST, id="reset"),
        pytest.param([server.only_words()], Decimal("0.002150") + COST, id="no picture"),
        pytest.param([server.drawing(b"no picture")], 2 * COST, id="broken picture"),
    ],
)
def test_what_passes_ends_well_and_is_counted(world: World, acts: list[Act], cost: Decimal) -> None:
    told = ended(world, *acts)
    assert (told["status"], told["costUsd"]) == ("completed", float(cost))
    kinds = [event["type"] for event in world.darkroom.events(told["jobId"])]
    assert kinds.count("step.retrying") == 1
    assert kinds.count("step.completed") == 4


def test_a_picture_that_is_declined_says_so(world: World) -> None:
    told = ended(world, server.blocked_picture())
    assert (told["status"], told["error"]["code"], told["error"]["retryable"]) == ("failed", "CONTENT_BLOCKED", False)
    assert told["errorMessage"] == "The image service declined this photo."


def test_a_worker_that_is_killed_while_the_model_draws_costs_one_more_call(world: World) -> None:
    before = len(world.gemini.requests)
    drawn = threading.Event()
    world.gemini.then(server.waiting_for(drawn))
    job = sent(world)
    wait_for(lambda: len(world.gemini.requests) > before)
    workers = world.darkroom.processes("--queues images,generate")
    for process in workers:
        process.kill()
    psutil.wait_procs(workers, timeout=60)
    drawn.set()
    told = list(world.darkroom.watch(job))[-1]
    assert told["status"] == "completed"
    assert len(world.gemini.requests) == before + 2
    assert told["costUsd"] == float(RESERVED + COST), "of the lost call nobody can say what it cost"


def test_no_secret_and_nothing_of_the_provider_is_ever_told(world: World) -> None:
    """Last: it also reads what the others have left behind."""
    assert ended(world, server.bad_key(), server.blocked_picture())["status"] == "failed"
    routes = ("status/{}", "status/{}/events?limit=500", "jobs/{}", "builds/{}/events", "v1/projects/{}/progress")
    paths = [f"/api/{route.format(job)}" for job in world.jobs for route in routes]
    paths += [f"/jobs/{job}/status" for job in world.jobs] + ["/api/jobs", "/api/jobs/stats", "/api/schema", "/"]
    told = "\n".join(world.darkroom.request("GET", path).body.decode() for path in paths)
    logged = world.darkroom.log.read_text()
    assert "Our image service is rejecting requests" in told
    assert world.jobs[0] in logged
    for secret in (KEY, SECRET, WORDS, *(prompt(version)[:40] for version in PROMPT_VERSIONS)):
        assert secret not in told
        assert secret not in logged
