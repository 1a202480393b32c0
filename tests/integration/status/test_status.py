"""GET /api/status/{jobId}."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from tests.support.api import Api
from uploads.errors import CodedError
from uploads.models import Upload
from uploads.stages import Stage, StepName
from workflows import runner

pytestmark = pytest.mark.django_db


def status(api: Api, upload: Upload) -> dict[str, object]:
    response = api.get(f"/api/status/{upload.pk}")
    assert response.status_code == 200
    return dict(response.json())


def test_a_pending_job(api: Api) -> None:
    upload = api.accepted()
    response = api.get(f"/api/status/{upload.pk}")
    assert response.json() == {
        "success": True,
        "jobId": str(upload.pk),
        "status": "pending",
        "stage": None,
        "progress": 0,
        "resultId": None,
        "updatedAt": upload.updated_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "isTerminal": False,
        "createdAt": upload.created_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "startedAt": None,
        "completedAt": None,
        "attempt": 0,
        "maxAttempts": 3,
        "run": 1,
        "estimatedCompletionAt": response.json()["estimatedCompletionAt"],
        "estimatedRemainingSeconds": response.json()["estimatedRemainingSeconds"],
        "retryInSeconds": None,
        "queuePosition": 1,
        "costUsd": 0.0,
        "eventCount": 1,
        "urls": response.json()["urls"],
    }
    assert int(response["Retry-After"]) in {2, 3}
    assert response["Cache-Control"] == "private, no-cache"
    assert "ETag" not in response


def test_a_job_at_work(api: Api) -> None:
    upload = api.accepted()
    runner.run(StepName.VALIDATE, str(upload.pk), "task-1")
    told = status(api, upload)
    assert (told["status"], told["stage"], told["progress"]) == ("processing", "generating", 30)
    assert told["queuePosition"] is None
    assert told["startedAt"]
    assert told["resultId"] is None


def test_a_finished_job_has_a_result_and_nothing_to_wait_for(api: Api) -> None:
    upload = api.finished()
    response = api.get(f"/api/status/{upload.pk}")
    told = response.json()
    assert (told["status"], told["stage"], told["progress"]) == ("completed", "complete", 100)
    assert told["isTerminal"] is True
    assert told["resultId"] == str(upload.result.pk)
    assert "Retry-After" not in response
    assert told["estimatedRemainingSeconds"] is None
    assert "error" not in told


def test_a_failed_job_says_why_and_keeps_its_progress(api: Api) -> None:
    upload = api.accepted()
    upload.update_stage(Stage.GENERATING, 45)
    upload.update_stage(Stage.FAILED, error="GENERATOR_UNAVAILABLE")
    told = status(api, upload)
    assert (told["status"], told["progress"], told["isTerminal"]) == ("failed", 45, True)
    assert told["error"] == {
        "code": "GENERATOR_UNAVAILABLE",
        "message": told["errorMessage"],
        "retryable": True,
        "step": "generate",
    }


def test_a_step_that_waits_to_be_tried_again_says_for_how_long(api: Api) -> None:
    upload = api.accepted()
    fence = upload.claim(StepName.VALIDATE, timedelta(seconds=30), "task")
    assert fence
    assert status(api, upload)["retryInSeconds"] is None
    upload.try_again(CodedError("STORAGE_UNAVAILABLE"), timedelta(seconds=40), fence=fence)
    assert status(api, upload)["retryInSeconds"] in {39, 40}
    Upload.objects.filter(pk=upload.pk).update(due_at=Now(), updated_at=Now() - timedelta(seconds=40))
    assert status(api, upload)["retryInSeconds"] == 0
    upload.cancel()
    assert status(api, upload)["retryInSeconds"] is None


def test_times_are_utc_to_the_millisecond(api: Api) -> None:
    told = status(api, api.accepted())
    time = datetime.strptime(str(told["createdAt"]), "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    assert abs((datetime.now(UTC) - time).total_seconds()) < 60
    assert len(str(told["createdAt"])) == 24


@pytest.mark.parametrize("form", ["{}", "W/{}", '"other", {}', "*"])
def test_an_unchanged_job_is_304(api: Api, form: str) -> None:
    upload = api.accepted()
    upload.update_stage(Stage.GENERATING, 45)
    etag = api.get(f"/api/status/{upload.pk}")["ETag"]
    again = api.get(f"/api/status/{upload.pk}", **{"If-None-Match": form.format(etag)})
    assert (again.status_code, again.content) == (304, b"")
    assert again["ETag"] == etag
    assert "Retry-After" in again
    head = api.client.head(f"/api/status/{upload.pk}", headers={"X-Session-Token": api.token, "If-None-Match": etag})
    assert (head.status_code, head["ETag"]) == (304, etag)
    upload.update_stage(Stage.GENERATING, 46)
    assert api.get(f"/api/status/{upload.pk}", **{"If-None-Match": etag}).status_code == 200


def test_the_queue_position_is_the_place_in_the_line(api: Api) -> None:
    first, second = api.accepted(), Api().accepted()
    third = api.accepted()
    assert [status(api, upload)["queuePosition"] for upload in (first, third)] == [1, 3]
    runner.run(StepName.VALIDATE, str(first.pk), "task")
    second.cancel()
    assert status(api, third)["queuePosition"] == 1


def test_the_queue_position_counts_to_a_hundred(api: Api) -> None:
    uploads = [api.accepted()]
    template = Upload.objects.get(pk=uploads[0].pk)
    for _ in range(120):
        template.pk = None
        template._state.adding = True
        template.id = type(template)._meta.pk.get_default()
        template.save(force_insert=True)
    last = Upload.objects.order_by("-id")[0]
    assert status(api, last)["queuePosition"] == 100


def test_a_poll_is_one_statement_whatever_it_answers(api: Api) -> None:
    upload, done = api.accepted(), api.finished()
    for path, token, expected in (
        (f"/api/status/{upload.pk}", "", 200),
        (f"/api/status/{done.pk}", "", 200),
        (f"/api/status/{upload.pk}", "unknown", 401),
        ("/api/status/nonsense", "", 404),
    ):
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert api.get(path, token=token).status_code == expected
        assert len(queries) == 1, [query["sql"] for query in queries]
