"""GET /api/jobs, /api/jobs/{jobId} and /api/jobs/stats; retry, cancel and delete."""

import itertools
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from tests.support.api import Api
from tests.support.factories import UploadFactory
from uploads.models import Session, Upload
from uploads.stages import StepName
from workflows import runner

pytestmark = pytest.mark.django_db

UNKNOWN = UUID("01a20333-63dd-7760-ade8-2279f7cc73d6")
"""An id that no job has."""


def jobs(api: Api, query: str = "") -> Any:
    response = api.get(f"/api/jobs{query}")
    assert response.status_code == 200, response.content
    return response.json()


def ids(page: Any) -> list[str]:
    return [job["jobId"] for job in page["jobs"]]


def many(api: Api, count: int, **columns: Any) -> list[str]:
    """Newest first, as the list has them."""
    made = UploadFactory.create_batch(count, session=api.session, **columns)
    return [str(upload.pk) for upload in reversed(made)]


def test_the_list_has_the_sessions_own_jobs_newest_first(api: Api) -> None:
    mine = many(api, 3)
    UploadFactory.create()
    page = jobs(api)
    assert ids(page) == mine
    assert page["nextCursor"] is None


def test_a_job_in_the_list_is_its_status_document(api: Api) -> None:
    done, waiting = api.finished(source="order-7"), api.accepted()
    for upload, told in zip((waiting, done), jobs(api)["jobs"], strict=True):
        assert told.pop("source") == upload.source
        assert told == api.get(f"/api/status/{upload.pk}").json()


@pytest.mark.parametrize("limit", [1, 2, 5, 7, 100])
def test_cursors_lead_through_all_pages_once(api: Api, limit: int) -> None:
    expected, seen, cursor = many(api, 7), [], ""
    while True:
        page = jobs(api, f"?limit={limit}{cursor}")
        seen += ids(page)
        assert len(page["jobs"]) <= limit
        if page["nextCursor"] is None:
            break
        cursor = f"&cursor={page['nextCursor']}"
    assert seen == expected


def test_what_is_sent_while_somebody_turns_pages_moves_nothing(api: Api) -> None:
    old = many(api, 4)
    first = jobs(api, "?limit=2")
    many(api, 3)
    api.delete(f"/api/jobs/{first['nextCursor']}")
    assert ids(jobs(api, f"?limit=2&cursor={first['nextCursor']}")) == old[2:]


def test_twenty_come_without_a_limit(api: Api) -> None:
    many(api, 21)
    page = jobs(api)
    assert len(page["jobs"]) == 20
    assert page["nextCursor"] == page["jobs"][-1]["jobId"]


def test_jobs_are_found_by_status_stage_and_source(api: Api) -> None:
    pending = many(api, 2)
    (processing,) = many(api, 1, source="order 7/ü")
    Upload.objects.get(pk=processing).update_stage("generating", 40)
    (failed,) = many(api, 1, source="order")
    Upload.objects.get(pk=failed).cancel()
    assert ids(jobs(api, "?status=pending")) == pending
    assert ids(jobs(api, "?status=processing")) == [processing]
    assert ids(jobs(api, "?status=failed")) == [failed]
    assert ids(jobs(api, "?status=completed")) == []
    assert ids(jobs(api, "?stage=generating")) == [processing]
    assert ids(jobs(api, "?stage=storing")) == []
    assert ids(jobs(api, "?source=order%207%2F%C3%BC")) == [processing]
    assert ids(jobs(api, "?source=ORDER")) == []
    assert ids(jobs(api, "?source=order&status=failed&stage=failed")) == [failed]
    assert ids(jobs(api, "?source=order&status=pending")) == []


def test_filters_hold_on_later_pages(api: Api) -> None:
    many(api, 2)
    mine = many(api, 3, source="mine")
    many(api, 2)
    first = jobs(api, "?source=mine&limit=2")
    assert ids(first) == mine[:2]
    assert ids(jobs(api, f"?source=mine&limit=2&cursor={first['nextCursor']}")) == mine[2:]


@pytest.mark.parametrize(
    "query",
    [
        *(f"limit={value}" for value in ("0", "101", "-1", "abc", "1.5", "", "9" * 40)),
        *(f"status={value}" for value in ("done", "PENDING", "complete", "%00")),
        *(f"stage={value}" for value in ("pending", "Generating", "null")),
        *(f"cursor={value}" for value in ("nonsense", "1", UNKNOWN.hex, str(UNKNOWN).upper(), "%00")),
        "source=%00",
    ],
)
def test_a_parameter_that_is_not_valid_is_named(api: Api, query: str) -> None:
    response = api.get(f"/api/jobs?{query}")
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["code"], error["retryable"]) == ("INVALID_PARAMETER", False)
    assert f"“{query.partition('=')[0]}”" in error["message"]


def test_a_page_of_a_hundred_takes_two_statements(api: Api) -> None:
    many(api, 101)
    with CaptureQueriesContext(connection) as queries:
        page = jobs(api, "?limit=100")
    assert len(page["jobs"]) == 100
    assert len(queries) <= 2, [query["sql"] for query in queries]


def test_everything_about_a_finished_job(api: Api) -> None:
    upload = api.finished(source="order-7", name="holiday.jpg")
    told = api.get(f"/api/jobs/{upload.pk}").json()
    assert told.items() >= api.get(f"/api/status/{upload.pk}").json().items()
    assert (told["source"], told["originalName"], told["runId"]) == ("order-7", "holiday.jpg", "test")
    assert (told["contentType"], told["width"], told["height"]) == ("image/jpeg", 160, 120)
    assert told["byteSize"] == upload.byte_size
    assert [step["name"] for step in told["steps"]] == ["validate", "generate", "store", "watermark"]
    for step in told["steps"]:
        assert (step["status"], step["attempt"], step["error"]) == ("completed", 1, None)
        assert step["startedAt"] <= step["completedAt"]
        assert step["durationMs"] >= 0
    for before, after in itertools.pairwise(told["steps"]):
        assert before["completedAt"] <= after["startedAt"]
    assert told["result"]["resultId"] == told["resultId"] == str(upload.result.pk)
    assert told["result"]["fullUrl"] is None


def test_everything_about_a_job_that_waits(api: Api) -> None:
    told = api.get(f"/api/jobs/{api.accepted().pk}").json()
    assert told["result"] is None
    assert told["runId"] == ""
    for step in told["steps"]:
        assert [step[key] for key in ("status", "attempt", "startedAt", "completedAt", "durationMs", "error")] == [
            *("pending", 0, None, None, None, None)
        ]


def test_everything_about_a_failed_job(api: Api) -> None:
    upload = api.accepted(_truncated())
    runner.run(StepName.VALIDATE, str(upload.pk), "task-1")
    told = api.get(f"/api/jobs/{upload.pk}").json()
    assert told["error"]["step"] == "validate"
    assert told["steps"][0]["status"] == "failed"
    assert told["steps"][0]["error"] == told["errorMessage"]
    assert told["result"] is None


def _truncated() -> bytes:
    """Whole in its header, and cut off in the middle."""
    from tests.support import pictures

    data = pictures.encoded(pictures.landscape(), "JPEG")
    return data[: len(data) // 2]


def test_figures_of_a_session(api: Api) -> None:
    UploadFactory.create()
    for seconds in range(1, 21):
        (job,) = many(api, 1)
        upload = Upload.objects.get(pk=job)
        upload.update_stage("complete")
        began = F("completed_at") - timedelta(seconds=seconds)
        Upload.objects.filter(pk=job).update(created_at=began, cost_usd="0.0025")
    many(api, 2)
    (running,) = many(api, 1)
    Upload.objects.get(pk=running).update_stage("storing", 80)
    (failed,) = many(api, 1)
    upload = Upload.objects.get(pk=failed)
    upload.cancel()
    upload.retry()
    upload.cancel()
    assert api.get("/api/jobs/stats").json() == {
        "success": True,
        "total": 24,
        "byStatus": {"pending": 2, "processing": 1, "completed": 20, "failed": 1},
        "meanDurationMs": 10_500,
        "p95DurationMs": 19_000,
        "retries": 1,
        "costUsd": 0.05,
    }


def test_figures_of_a_session_without_jobs(api: Api) -> None:
    assert api.get("/api/jobs/stats").json() == {
        "success": True,
        "total": 0,
        "byStatus": {"pending": 0, "processing": 0, "completed": 0, "failed": 0},
        "meanDurationMs": None,
        "p95DurationMs": None,
        "retries": 0,
        "costUsd": 0.0,
    }


def test_a_cancelled_job_has_failed_at_once_and_can_be_tried_again(api: Api) -> None:
    upload = api.accepted()
    upload.update_stage("generating", 40)
    response = api.post(f"/api/jobs/{upload.pk}/cancel")
    assert response.status_code == 202
    assert (response.json()["status"], response.json()["progress"]) == ("failed", 40)
    told = api.get(f"/api/status/{upload.pk}").json()
    assert (told["isTerminal"], told["error"]["code"], told["error"]["retryable"]) == (True, "CANCELED", True)
    again = api.post(f"/api/jobs/{upload.pk}/cancel")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "ALREADY_FINISHED")
    response = api.post(f"/api/jobs/{upload.pk}/retry")
    assert response.status_code == 202
    assert (response.json()["status"], response.json()["progress"]) == ("processing", 40)
    told = api.get(f"/api/status/{upload.pk}").json()
    assert (told["run"], told["stage"], "error" in told) == (2, "generating", False)


@pytest.mark.parametrize("state", ["pending", "processing", "completed", "declined"])
def test_only_what_has_failed_and_may_pass_is_tried_again(api: Api, state: str) -> None:
    upload = api.accepted()
    if state == "processing":
        upload.update_stage("generating", 40)
    if state == "completed":
        upload.update_stage("complete")
    if state == "declined":
        upload.update_stage("failed", error="CONTENT_BLOCKED")
    response = api.post(f"/api/jobs/{upload.pk}/retry")
    assert (response.status_code, response.json()["error"]["code"]) == (409, "NOT_RETRYABLE")


def test_a_deleted_job_is_nowhere(api: Api) -> None:
    upload, other = api.finished(), api.accepted()
    assert api.delete(f"/api/jobs/{upload.pk}").status_code == 204
    assert ids(jobs(api)) == [str(other.pk)]
    assert api.get("/api/jobs/stats").json()["total"] == 1
    assert api.get(f"/api/results/{upload.result.pk}").status_code == 404
    assert api.delete(f"/api/jobs/{upload.pk}").status_code == 404


def test_a_deleted_job_that_runs_is_stopped(api: Api) -> None:
    upload = api.accepted()
    fence = upload.claim(StepName.VALIDATE, timedelta(seconds=30), "task")
    api.delete(f"/api/jobs/{upload.pk}")
    upload.refresh_from_db()
    assert (upload.status, upload.error_code) == ("failed", "CANCELED")
    assert upload.fence != fence


def test_a_session_that_is_forgotten_keeps_its_jobs_to_itself(api: Api) -> None:
    many(api, 1)
    api.delete("/api/sessions/current")
    assert api.get("/api/jobs").status_code == 401
    assert Session.objects.filter(pk=api.session.pk).exists()
