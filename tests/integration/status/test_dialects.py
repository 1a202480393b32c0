"""One record, four dialects: what each of them says of the same job, through its whole life."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from status.authentication import upload_of
from status.projections import timestamp
from tests.support.api import Api
from uploads.errors import CodedError
from uploads.models import Upload
from uploads.stages import StepName
from workflows import runner

pytestmark = pytest.mark.django_db
AWAY = CodedError("GENERATOR_UNAVAILABLE")
LEASE = timedelta(seconds=30)


def claim(upload: Upload, step: StepName) -> int:
    fence = upload.claim(step, LEASE, "task")
    assert fence is not None
    return fence


def run(upload: Upload, step: StepName) -> None:
    assert runner.run(step, str(upload.pk), "task")
    upload.refresh_from_db()


def validating(upload: Upload) -> None:
    claim(upload, StepName.VALIDATE)


def generating(upload: Upload) -> None:
    upload.hand_back(fence=upload.fence)
    run(upload, StepName.VALIDATE)
    upload.advance(45, fence=claim(upload, StepName.GENERATE))


def retrying(upload: Upload) -> None:
    upload.try_again(AWAY, timedelta(0), fence=upload.fence)


def failed(upload: Upload) -> None:
    upload.fail(AWAY, fence=claim(upload, StepName.GENERATE))


class Moment(NamedTuple):
    """What is done to the job, and then what each dialect says of it."""

    name: str
    do: Callable[[Upload], object]
    status: tuple[str, str | None, int]
    messages: tuple[str, str, int]
    build: tuple[str, int]
    project: tuple[str, int, str | None]
    steps: str
    error: str | None = None


LIFE = [
    Moment(
        "pending",
        lambda _: None,
        status=("pending", None, 0),
        messages=("queued", "start", 0),
        build=("planning", 0),
        project=("pending", 0, "validate"),
        steps="pending pending pending pending",
    ),
    Moment(
        "validating",
        validating,
        status=("processing", "validating", 10),
        messages=("running", "validating", 10),
        build=("planning", 10),
        project=("validating", 10, "validate"),
        steps="running pending pending pending",
    ),
    Moment(
        "generating",
        generating,
        status=("processing", "generating", 45),
        messages=("running", "generating", 45),
        build=("executing", 45),
        project=("generating", 45, "generate"),
        steps="completed running pending pending",
    ),
    Moment(
        "retrying",
        retrying,
        status=("processing", "generating", 45),
        messages=("running", "generating", 45),
        build=("executing", 45),
        project=("generating", 45, "generate"),
        steps="completed pending pending pending",
    ),
    Moment(
        "failed",
        failed,
        status=("failed", "failed", 45),
        messages=("failed", "failed", 100),
        build=("failed", 45),
        project=("failed", 45, None),
        steps="completed failed pending pending",
        error=AWAY.message,
    ),
    Moment(
        "retried",
        Upload.retry,
        status=("processing", "generating", 45),
        messages=("running", "generating", 45),
        build=("executing", 45),
        project=("generating", 45, "generate"),
        steps="completed pending pending pending",
    ),
    Moment(
        "cancelled",
        Upload.cancel,
        status=("failed", "failed", 45),
        messages=("failed", "failed", 100),
        build=("failed", 45),
        project=("failed", 45, None),
        steps="completed pending pending pending",
        error=CodedError("CANCELED").message,
    ),
    Moment(
        "retried after that",
        Upload.retry,
        status=("processing", "generating", 45),
        messages=("running", "generating", 45),
        build=("executing", 45),
        project=("generating", 45, "generate"),
        steps="completed pending pending pending",
    ),
    Moment(
        "storing",
        lambda upload: run(upload, StepName.GENERATE),
        status=("processing", "storing", 80),
        messages=("running", "storing", 80),
        build=("deploying", 80),
        project=("storing", 80, "store"),
        steps="completed completed pending pending",
    ),
    Moment(
        "watermarking",
        lambda upload: run(upload, StepName.STORE),
        status=("processing", "watermarking", 90),
        messages=("running", "watermarking", 90),
        build=("deploying", 90),
        project=("watermarking", 90, "watermark"),
        steps="completed completed completed pending",
    ),
    Moment(
        "completed",
        lambda upload: run(upload, StepName.WATERMARK),
        status=("completed", "complete", 100),
        messages=("completed", "done", 100),
        build=("completed", 100),
        project=("completed", 100, None),
        steps="completed completed completed completed",
    ),
]


def get(api: Api, path: str) -> Any:
    response = api.get(path)
    assert response.status_code == 200, response.content
    return response.json()


def test_four_dialects_tell_of_the_same_job(api: Api) -> None:
    upload = api.accepted()
    for moment in LIFE:
        moment.do(upload)
        upload.refresh_from_db()
        ended = moment.name in {"failed", "cancelled", "completed"}
        _check_status(get(api, f"/api/status/{upload.pk}"), upload, moment, ended)
        _check_messages(get(api, f"/jobs/{upload.pk}/status"), upload, moment)
        _check_build(get(api, f"/api/builds/{upload.pk}/status"), upload, moment)
        _check_progress(get(api, f"/api/v1/projects/{upload.pk}/progress"), upload, moment, ended)


def _check_status(told: Any, upload: Upload, moment: Moment, ended: bool) -> None:
    assert (told["status"], told["stage"], told["progress"]) == moment.status, moment.name
    assert told["isTerminal"] is ended
    assert told["eventCount"] == upload.events.count()
    assert told.get("errorMessage") == moment.error
    assert (told["queuePosition"] is not None) == (moment.name == "pending")


def _check_messages(told: Any, upload: Upload, moment: Moment) -> None:
    assert told == {
        "jobId": str(upload.pk),
        "state": moment.messages[0],
        "step": moment.messages[1],
        "percent": moment.messages[2],
        "messages": told["messages"],
        "errors": [
            {key: value for key, value in message.items() if key != "level"}
            for message in told["messages"]
            if message["level"] == "error"
        ],
        "updatedAt": timestamp(upload.updated_at),
    }, moment.name
    assert told["messages"] == [
        {"ts": timestamp(event.created_at), "level": event.level, "msg": event.message}
        | ({"data": event.data} if event.data else {})
        for event in upload.events.order_by("seq")
    ]


def _check_build(told: Any, upload: Upload, moment: Moment) -> None:
    assert told == {
        "buildId": str(upload.pk),
        "status": moment.build[0],
        "progress": moment.build[1],
        "previewUrl": told["previewUrl"],
        "error": moment.error,
        "eventCount": upload.events.count(),
        "lastUpdate": timestamp(upload.updated_at),
    }, moment.name
    assert (told["previewUrl"] is not None) == (moment.name == "completed")


def _check_progress(told: Any, upload: Upload, moment: Moment, ended: bool) -> None:
    data = told["data"]
    steps = data.pop("steps")
    assert data == {
        "project_id": str(upload.pk),
        "status": moment.project[0],
        "pipeline_progress": moment.project[1],
        "current_step": moment.project[2],
        "is_processing": not ended,
        "error": moment.error,
        "estimated_remaining_seconds": data["estimated_remaining_seconds"],
        "llm_cost_so_far_usd": 0.0,
    }, moment.name
    assert [step["name"] for step in steps] == ["validate", "generate", "store", "watermark"]
    assert " ".join(step["status"] for step in steps) == moment.steps, moment.name
    for step in steps:
        assert ("started_at" in step) >= (step["status"] == "running"), moment.name
        assert ("completed_at" in step) == ("duration_ms" in step) == (step["status"] in {"completed", "failed"})
        assert None not in step.values()
    generate = steps[1]
    assert generate.get("error") == (AWAY.message if moment.name in {"retrying", "failed"} else None)


BUILD_NAMES = [
    ("job.accepted", None, "plan_started"),
    ("step.started", "validate", "task_started"),
    ("step.completed", "validate", "plan_generated"),
    ("step.started", "generate", "task_started"),
    ("step.progress", "generate", "task_progress"),
    ("step.retrying", "generate", "task_progress"),
    ("step.failed", "generate", "task_failed"),
    ("job.failed", "generate", "deploy_failed"),
    ("job.retried", "generate", "task_started"),
    ("job.failed", "generate", "deploy_failed"),
    ("job.retried", "generate", "task_started"),
    ("step.started", "generate", "task_started"),
    ("step.completed", "generate", "task_completed"),
    ("step.started", "store", "deploy_started"),
    ("step.completed", "store", "deploy_progress"),
    ("step.started", "watermark", "build_started"),
    ("step.completed", "watermark", "deploy_progress"),
    ("job.completed", None, "deploy_completed"),
]


def test_every_event_has_its_one_name_in_each_dialect(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    # So quick a step has nothing to report in between; else how many there are depends on the machine.
    monkeypatch.setattr("workflows.job.REPORT_EVERY", 60)
    upload = api.accepted()
    for moment in LIFE:
        moment.do(upload)
        upload.refresh_from_db()
    events = get(api, f"/api/status/{upload.pk}/events")["events"]
    builds = get(api, f"/api/builds/{upload.pk}/events")
    messages = get(api, f"/jobs/{upload.pk}/status")["messages"]
    assert [
        (event["type"], event["data"].get("step"), build["type"])
        for event, build in zip(events, builds["events"], strict=True)
    ] == BUILD_NAMES
    assert (builds["buildId"], builds["lastEventId"]) == (str(upload.pk), len(events))
    for event, build, message in zip(events, builds["events"], messages, strict=True):
        assert event["id"] == build["id"]
        assert event["timestamp"] == build["timestamp"] == message["ts"]
        assert event["message"] == build["data"]["message"] == message["msg"]
        assert event["data"].items() <= build["data"].items()
        assert ("previewUrl" in build["data"]) == (build["type"] == "deploy_completed")


@pytest.mark.parametrize(
    ("step", "started", "spoken", "failed"),
    [
        (StepName.VALIDATE, "task_started", "task_progress", "task_failed"),
        (StepName.GENERATE, "task_started", "task_progress", "task_failed"),
        (StepName.STORE, "deploy_started", "deploy_progress", "deploy_failed"),
        (StepName.WATERMARK, "build_started", "deploy_progress", "deploy_failed"),
    ],
)
def test_the_names_of_what_a_step_does(api: Api, step: StepName, started: str, spoken: str, failed: str) -> None:
    upload = api.accepted()
    for earlier in list(StepName)[: list(StepName).index(step)]:
        run(upload, earlier)
    before = upload.event_count
    fence = claim(upload, step)
    upload.log("info", "Here I am.", fence=fence)
    upload.advance(upload.progress + 5, fence=fence)
    upload.try_again(AWAY, timedelta(0), fence=fence)
    upload.fail(AWAY, fence=claim(upload, step))
    newer = get(api, f"/api/builds/{upload.pk}/events?lastEventId={before}")["events"]
    assert [event["type"] for event in newer] == [started, spoken, spoken, spoken, failed, "deploy_failed"]


def test_a_step_with_nothing_to_do_is_progress_of_the_deployment(api: Api, settings: Any) -> None:
    settings.WATERMARK_TEXT = ""
    upload = api.finished()
    assert get(api, f"/api/builds/{upload.pk}/events")["events"][-2]["type"] == "deploy_progress"
    steps = get(api, f"/api/v1/projects/{upload.pk}/progress")["data"]["steps"]
    assert steps[-1]["status"] == "skipped"


def test_the_preview_of_a_finished_build_opens(api: Api) -> None:
    upload = api.finished()
    last = get(api, f"/api/builds/{upload.pk}/events")["events"][-1]
    told = get(api, f"/api/builds/{upload.pk}/status")
    for url in (last["data"]["previewUrl"], told["previewUrl"]):
        response = api.client.get(url.removeprefix("http://127.0.0.1:8000"))
        assert response.status_code == 200
        assert b"".join(response)
        response.close()


def test_once_its_files_are_gone_a_build_has_no_preview(api: Api) -> None:
    upload = api.finished()
    Upload.objects.filter(pk=upload.pk).update(files_purged_at=timezone.now())
    assert get(api, f"/api/builds/{upload.pk}/events")["events"][-1]["data"]["previewUrl"] is None
    assert get(api, f"/api/builds/{upload.pk}/status")["previewUrl"] is None


def test_a_job_that_a_script_completed_has_nothing_to_show(api: Api) -> None:
    upload = api.accepted()
    upload.update_stage("complete")
    assert get(api, f"/api/status/{upload.pk}")["resultId"] is None
    assert get(api, f"/api/jobs/{upload.pk}")["result"] is None
    assert get(api, "/api/jobs")["jobs"][0]["resultId"] is None
    assert get(api, f"/api/builds/{upload.pk}/events")["events"][-1]["data"]["previewUrl"] is None
    assert get(api, f"/api/builds/{upload.pk}/status")["previewUrl"] is None


def test_a_job_that_a_script_completed_after_storing_has_no_preview(api: Api) -> None:
    upload = api.accepted()
    for step in (StepName.VALIDATE, StepName.GENERATE, StepName.STORE):
        run(upload, step)
    upload.update_stage("complete")
    assert get(api, f"/api/results/{upload.result.pk}")["previewUrl"] is None
    assert get(api, f"/api/builds/{upload.pk}/status")["previewUrl"] is None


def test_what_an_admin_may_know_is_in_no_dialect(api: Api) -> None:
    upload = api.accepted()
    upload.update_stage("generating", 40)
    upload.fail(CodedError("INTERNAL", detail="Traceback /srv/secret.py"))
    for path in (
        "/api/status/{}",
        "/api/status/{}/events",
        "/api/jobs/{}",
        "/jobs/{}/status",
        "/api/builds/{}/events",
        "/api/builds/{}/status",
        "/api/v1/projects/{}/progress",
    ):
        response = api.get(path.format(upload.pk))
        assert response.status_code == 200
        assert b"secret" not in response.content


@pytest.mark.parametrize("path", ["/api/builds/{}/events", "/api/builds/{}/status"])
def test_deleted_builds_are_unknown_ones(api: Api, path: str) -> None:
    upload = api.finished()
    api.delete(f"/api/jobs/{upload.pk}")
    told = get(api, path.format(upload.pk))
    assert told == (
        {"buildId": str(upload.pk), "events": [], "lastEventId": 0}
        if path.endswith("events")
        else {
            "buildId": str(upload.pk),
            "status": "unknown",
            "progress": 0,
            "previewUrl": None,
            "error": None,
            "eventCount": 0,
            "lastUpdate": None,
        }
    )


def test_the_end_of_a_build_that_came_between_two_readings_has_its_preview(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = api.accepted()
    for step in (StepName.VALIDATE, StepName.GENERATE, StepName.STORE):
        run(upload, step)

    def read_and_then_it_ends(*args: Any) -> Upload:
        found = upload_of(*args)
        run(upload, StepName.WATERMARK)
        return found

    monkeypatch.setattr("status.views.upload_of", read_and_then_it_ends)
    last = get(api, f"/api/builds/{upload.pk}/events")["events"][-1]
    assert last["type"] == "deploy_completed"
    assert last["data"]["previewUrl"]


@pytest.mark.parametrize(
    ("path", "most"),
    [
        ("/jobs/{}/status", 2),
        ("/api/v1/projects/{}/progress", 2),
        ("/api/builds/{}/status", 2),
        ("/api/builds/{}/events?lastEventId=3", 4),
    ],
)
def test_a_dialect_costs_little_more_than_the_status(api: Api, path: str, most: int) -> None:
    upload = api.finished()
    with CaptureQueriesContext(connection) as queries:
        get(api, path.format(upload.pk))
    assert len(queries) <= most, [query["sql"] for query in queries]
