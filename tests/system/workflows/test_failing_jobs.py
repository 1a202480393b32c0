"""Whole jobs whose model fails for as long as they try: how each ends, what it cost, and who is told what."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, NamedTuple

import pytest

from tests.support import gemini as server
from tests.support import pictures
from tests.support.brokers import broker
from tests.support.bucket import SECRET, Bucket
from tests.support.gemini import KEY, WORDS, Act, gemini_server
from tests.support.installation import PATIENCE, Installation, installation, wait_for
from tests.support.ports import free_port
from tests.support.posthog import PostHog, posthog
from tests.support.receiver import Receiver, receiver
from tests.system.workflows.test_whole_jobs import COST, RESERVED
from uploads.errors import REASONS
from workflows.generators import PROMPT_VERSIONS, prompt

ATTEMPTS = 2
NOTHING, PROMPT, TALK = Decimal(0), Decimal("0.000350"), Decimal("0.002150")
NEVER = threading.Event()
SLOW = threading.Event()


def slow(handler: server.Handler) -> None:
    SLOW.wait(1)
    server.drawing()(handler)


class Case(NamedTuple):
    name: str
    acts: list[Act]
    """Of the model, one after another; the last is repeated."""
    code: str | None
    """Which the job fails with; None when it is done in the end."""
    outcomes: list[str]
    """Of its calls."""
    costs: list[Decimal]


AWAY, EMPTY, BLOCKED = "GENERATOR_UNAVAILABLE", "GENERATOR_NO_PICTURE", "CONTENT_BLOCKED"
HUGE = server.drawing(pictures.png_that_claims(30_000, 30_000))
CASES = [
    Case("slow", [slow], None, ["picture"], [COST]),
    Case("timeout", [server.waiting_for(NEVER)], AWAY, ["lost"] * 2, [RESERVED] * 2),
    Case("429", [server.busy("1s"), server.busy("1s"), server.drawing()], None, ["busy", "busy", "picture"], [COST]),
    Case("bad key", [server.bad_key(), server.drawing()], None, ["refused", "picture"], [COST]),
    Case("500", [server.refusing(500, "INTERNAL")], AWAY, ["failed"] * 2, []),
    Case("reset", [server.resetting], AWAY, ["lost"] * 2, [RESERVED] * 2),
    Case("safety block", [server.blocked_picture()], BLOCKED, ["blocked"], [PROMPT]),
    Case("no picture", [server.only_words()], EMPTY, ["no picture"] * 2, [TALK] * 2),
    Case("huge picture", [HUGE], EMPTY, ["picture"] * 2, [COST] * 2),
    Case("broken picture", [server.drawing(b"no picture")], EMPTY, ["picture"] * 2, [COST] * 2),
    Case("picture cut off", [server.drawing(server.drawn()[:5000])], EMPTY, ["picture"] * 2, [COST] * 2),
    Case("answer cut off", [server.breaking_off], AWAY, ["lost"] * 2, [RESERVED] * 2),
]
ONE_FOR_EACH = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])


class World(NamedTuple):
    darkroom: Installation
    hooks: Receiver
    posthog: PostHog
    metrics: str
    jobs: dict[str, str]
    """Which job is which case."""


@pytest.fixture(scope="module")
def world(moto: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """All of them at once: the model tells them apart by the width of the picture."""
    bucket, metrics_port = Bucket(moto), free_port()
    with broker("amqp") as rabbitmq, gemini_server() as gemini, receiver() as hooks, posthog() as analytics:
        environment = {
            "CELERY_BROKER_URL": rabbitmq.url,
            "GENERATOR": "gemini",
            "GEMINI_API_KEY": KEY,
            "GEMINI_BASE_URL": gemini.url,
            "S3_BUCKET": bucket.name,
            "S3_ENDPOINT_URL": moto,
            "S3_ACCESS_KEY_ID": "the-key-id",
            "S3_SECRET_ACCESS_KEY": SECRET,
            "POSTHOG_API_KEY": "phc_test",
            "POSTHOG_HOST": analytics.url,
            "WEBHOOK_ALLOW_PRIVATE": "1",
            "METRICS_PORT": str(metrics_port),
            "STEP_MAX_ATTEMPTS": str(ATTEMPTS),
            "STEP_LEASE_SECONDS": "12",
            "STEP_TIMEOUT_SECONDS": "10",
            "SWEEP_SECONDS": "1",
        }
        with installation(tmp_path_factory.mktemp("installation"), **environment) as darkroom:
            jobs = {}
            for width, case in enumerate(CASES, start=320):
                gemini.plans[width] = list(case.acts)
                picture = pictures.encoded(pictures.landscape(width, 240), "JPEG")
                answer = darkroom.send(picture, webhookUrl=hooks.url)
                assert answer.status == 202, answer.body
                jobs[case.name] = answer.json["jobId"]
            yield World(darkroom, hooks, analytics, f"http://127.0.0.1:{metrics_port}/metrics", jobs)
            NEVER.set()
    bucket.client.close()


@ONE_FOR_EACH
def test_each_ends_in_its_state_with_its_code_and_sentence(world: World, case: Case) -> None:
    told = list(world.darkroom.watch(world.jobs[case.name]))
    progress = [answer["progress"] for answer in told]
    assert progress == sorted(progress)
    end, events = told[-1], world.darkroom.events(world.jobs[case.name])
    assert end["costUsd"] == float(sum(case.costs))
    if case.code is None:
        assert (end["status"], end["progress"]) == ("completed", 100)
        assert events[-1]["type"] == "job.completed"
        return
    reason = REASONS[case.code]
    assert end["error"] == {
        "code": case.code,
        "message": reason.message,
        "retryable": reason.retryable,
        "step": "generate",
    }
    assert (end["status"], end["errorMessage"]) == ("failed", reason.message)
    assert 30 <= end["progress"] < 70
    assert [event["type"] for event in events[-2:]] == ["step.failed", "job.failed"]
    assert [event["type"] for event in events].count("step.retrying") == len(case.outcomes) - 1


LEDGER = """
import json
from uploads.models import ProviderCall
calls = ProviderCall.objects.order_by("pk").values_list("upload_id", "outcome", "cost_usd")
print(json.dumps([(str(upload), outcome, str(cost)) for upload, outcome, cost in calls]))
"""


@pytest.fixture(scope="module")
def ledger(world: World) -> list[tuple[str, str, str]]:
    for job in world.jobs.values():
        list(world.darkroom.watch(job))
    environment = os.environ | world.darkroom._environment
    command = [sys.executable, "manage.py", "shell", "--verbosity", "0", "--command", LEDGER]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return [tuple(row) for row in json.loads(done.stdout.splitlines()[-1])]


@ONE_FOR_EACH
def test_its_calls_stand_in_the_ledger_and_their_sum_is_exact(
    world: World, ledger: list[tuple[str, str, str]], case: Case
) -> None:
    calls = [(outcome, Decimal(cost)) for upload, outcome, cost in ledger if upload == world.jobs[case.name]]
    assert [outcome for outcome, _ in calls] == case.outcomes
    assert [cost for _, cost in calls if cost] == case.costs
    assert sum(cost for _, cost in calls) == sum(case.costs, NOTHING)


def test_nobody_is_told_a_secret_or_the_words_of_the_model(world: World) -> None:
    """Answers, events, webhooks, analytics, metrics and logs, once all that there is to tell has been told."""
    ends = wait_for(lambda: _ends(world))
    assert ends == {world.jobs[case.name]: "job.failed" if case.code else "job.completed" for case in CASES}
    captured = wait_for(lambda: _captured(world))
    assert captured == {world.jobs[case.name]: case.code for case in CASES}
    routes = ("status/{}", "status/{}/events?limit=500", "jobs/{}", "builds/{}/events", "builds/{}/status")
    paths = [f"/api/{route.format(job)}" for job in world.jobs.values() for route in routes]
    for job in world.jobs.values():
        paths += [f"/jobs/{job}/status", f"/api/v1/projects/{job}/progress", f"/jobs/{job}"]
    paths += ["/api/jobs", "/api/jobs/stats", "/api/schema", "/api/docs", "/", "/readyz", world.metrics]
    answers = [world.darkroom.request("GET", path) for path in paths]
    assert {answer.status for answer in answers} == {200}
    everything = {
        "answers": "\n".join(f"{answer.headers}\n{answer.body.decode()}" for answer in answers),
        "webhooks": "\n".join(f"{message.headers}\n{message.body.decode()}" for message in world.hooks.messages),
        "analytics": json.dumps(world.posthog.events),
        "logs": world.darkroom.log.read_text(),
    }
    secrets = (KEY, SECRET, WORDS, world.darkroom.token, *(prompt(version)[:40] for version in PROMPT_VERSIONS))
    for where, text in everything.items():
        assert world.jobs["500"] in text, where
        assert [secret for secret in secrets if secret in text] == [], where
    assert "darkroom_provider_calls_today{" in answers[-1].body.decode()


def _ends(world: World) -> dict[str, str] | None:
    told = [json.loads(message.body) for message in list(world.hooks.messages)]
    ends = {message["data"]["jobId"]: message["type"] for message in told if message["type"] != "job.stage_changed"}
    return ends if len(ends) == len(CASES) else None


def _captured(world: World) -> dict[str, Any] | None:
    events = world.posthog.named("status_failed") + world.posthog.named("status_complete")
    codes = {event["properties"]["upload_id"]: event["properties"].get("error_code") for event in events}
    return codes if len(codes) == len(CASES) else None
