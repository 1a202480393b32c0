"""What a running Darkroom tells those who run it: real processes, with a metrics port and JSON logs."""

import json
import re
import urllib.request
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from tests.support import pictures
from tests.support.installation import Installation, installation, wait_for
from tests.support.ports import free_port
from uploads.stages import StepName


@pytest.fixture(scope="module")
def darkroom(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("watched")
    # A hint that the sweeper sends was begun by no request: here it comes only when another was lost.
    with installation(folder, METRICS_PORT=str(free_port()), LOG_FORMAT="json", SWEEP_SECONDS="60") as running:
        yield running


@pytest.fixture(scope="module")
def job(darkroom: Installation) -> str:
    """One picture that was developed to the end, while somebody watched."""
    accepted = darkroom.send(pictures.encoded(pictures.landscape(), "JPEG"))
    assert list(darkroom.watch(accepted.json["jobId"]))[-1]["status"] == "completed"
    return str(accepted.json["jobId"])


def metrics(darkroom: Installation) -> dict[str, float]:
    address = f"http://127.0.0.1:{darkroom._environment['METRICS_PORT']}/metrics"
    with urllib.request.urlopen(address, timeout=60) as response:
        lines = response.read().decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")}


def lines(darkroom: Installation) -> list[dict[str, Any]]:
    return [json.loads(line) for line in darkroom.log.read_text().splitlines() if line.startswith("{")]


def test_processes_count_together(darkroom: Installation, job: str) -> None:
    wait_for(lambda: steps_done(metrics(darkroom)) == [1, 1, 1, 1])
    told = metrics(darkroom)
    assert told['darkroom_uploads_total{outcome="accepted"}'] == 1
    assert told['darkroom_request_seconds_count{method="GET",route="status",status="200"}'] >= 2


def steps_done(told: dict[str, float]) -> list[float]:
    return [told.get(f'darkroom_step_seconds_count{{outcome="completed",step="{step}"}}', 0) for step in StepName]


def test_a_count_outlives_its_process(darkroom: Installation, job: str) -> None:
    web = next(process for process in darkroom.processes("granian") if process.children()).children()[0]
    web.kill()
    psutil.wait_procs([web], timeout=60)
    wait_for(darkroom._answers)
    assert darkroom.send(b"no picture").status == 415
    told = metrics(darkroom)
    assert told['darkroom_uploads_total{outcome="accepted"}'] == 1
    assert told['darkroom_uploads_total{outcome="UNSUPPORTED_TYPE"}'] == 1


def test_metrics_are_not_on_the_public_port(darkroom: Installation) -> None:
    assert darkroom.request("GET", "/metrics").status == 404


def test_the_request_that_began_a_job_is_in_every_line_of_its_steps(darkroom: Installation, job: str) -> None:
    wait_for(lambda: len(lines_of_steps(darkroom, job)) >= 4)
    request = next(line for line in lines(darkroom) if line.get("route") == "uploads" and line.get("job") == job)
    assert (request["method"], request["status"]) == ("POST", 202)
    steps = lines_of_steps(darkroom, job)
    assert [line["step"] for line in steps] == ["validate", "generate", "store", "watermark"]
    assert {(line["request_id"], line["attempt"]) for line in steps} == {(request["request_id"], 1)}


def lines_of_steps(darkroom: Installation, job: str) -> list[dict[str, Any]]:
    return [line for line in lines(darkroom) if line.get("job") == job and "step" in line]


def test_an_answer_names_its_request(darkroom: Installation) -> None:
    answer = darkroom.request("GET", "/", X_Request_ID="spoofed-by-a-client")
    assert re.fullmatch("[0-9a-f]{16}", answer.headers["X-Request-ID"])


def test_the_probes_answer(darkroom: Installation, job: str) -> None:
    assert darkroom.request("GET", "/healthz").body == b"alive\n"
    wait_for(lambda: darkroom.request("GET", "/readyz").json["ready"])
