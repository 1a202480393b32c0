"""POST /api/jobs/{jobId}/again: the same picture in another look, neither sent nor checked again."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.files.storage import default_storage
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext, override_settings

from tests.support import pictures
from tests.support.api import Api, develop, stored_files
from uploads import retention, storage
from uploads.errors import CodedError
from uploads.models import Upload
from uploads.stages import StepName
from workflows import runner

pytestmark = pytest.mark.django_db


def ask(api: Api, first: Upload, look: Any = "v2", *, key: str | None = None, token: str = "") -> Any:
    headers = {"X-Session-Token": token or api.token} | ({"Idempotency-Key": key} if key else {})
    path, body = f"/api/jobs/{first.pk}/again", json.dumps({"promptVersion": look})
    return api.client.post(path, body, content_type="application/json", headers=headers)


def repainted(api: Api, first: Upload, look: str = "v2", **more: Any) -> Upload:
    response = ask(api, first, look, **more)
    assert response.status_code == 202, response.content
    return Upload.objects.get(pk=response.json()["jobId"])


def code(response: Any) -> str:
    return str(response.json()["error"]["code"])


def files_of(upload: Upload) -> list[str]:
    return [name for name in stored_files() if name.startswith(str(upload.pk))]


def test_it_is_answered_as_an_upload_is(api: Api) -> None:
    first = api.finished(name="holiday.jpg", source="order-7")
    response, sent = ask(api, first), api.send()
    told = response.json()
    assert response.status_code == 202
    assert response["Location"] == told["urls"]["status"] == f"/api/status/{told['jobId']}"
    assert int(response["Retry-After"]) in {2, 3}
    assert told.keys() == sent.json().keys()
    assert told["urls"].keys() == sent.json()["urls"].keys()
    assert (told["status"], told["stage"], told["progress"]) == ("pending", None, 0)
    job = Upload.objects.get(pk=told["jobId"])
    assert job.pk != first.pk
    assert (job.session_id, job.prompt_version, job.source) == (api.session.pk, "v2", "order-7")
    for column in ("original_name", "content_type", "byte_size", "width", "height", "sha256"):
        assert getattr(job, column) == getattr(first, column)
    assert list(job.events.values_list("seq", "type")) == [(1, "job.accepted")]


def test_the_picture_is_not_checked_again(api: Api) -> None:
    job = repainted(api, api.finished())
    assert files_of(job) == [f"{job.pk}/checked.png"]
    runner.run(StepName.VALIDATE, str(job.pk), "test")
    assert files_of(job) == [f"{job.pk}/checked.png"]
    develop(job)
    assert (job.status, job.result.prompt_version) == ("completed", "v2")
    steps = {step["name"]: step["status"] for step in api.get(f"/api/jobs/{job.pk}").json()["steps"]}
    assert steps == {"validate": "skipped", "generate": "completed", "store": "completed", "watermark": "completed"}


def test_it_looks_like_an_upload_of_the_same_picture_in_that_look(api: Api) -> None:
    job, sent = repainted(api, api.finished(), "v3"), api.finished(promptVersion="v3")
    develop(job)
    with job.result.full.open() as own, sent.result.full.open() as other:
        assert own.read() == other.read()


def test_of_a_job_of_this_kind_there_is_another(api: Api) -> None:
    second = repainted(api, api.finished(), "v2")
    develop(second)
    third = repainted(api, second, "v3")
    develop(third)
    assert (third.status, third.result.prompt_version) == ("completed", "v3")


def test_either_job_goes_without_a_loss_to_the_other(api: Api, settings: LazySettings) -> None:
    first = api.finished()
    waiting, done = repainted(api, first), repainted(api, first, "v3")
    develop(done)
    for gone in (first, done):
        api.delete(f"/api/jobs/{gone.pk}")
        safe = settings.STEP_TIMEOUT + 2 * settings.STEP_LEASE + timedelta(seconds=1)
        Upload.objects.filter(pk=gone.pk).update(deleted_at=F("deleted_at") - safe)
        assert retention.retain().deleted == 1
        assert files_of(gone) == []
    develop(waiting)
    assert waiting.status == "completed"
    assert api.get(f"/api/results/{waiting.result.pk}").status_code == 200


def test_a_picture_that_is_not_checked_yet_is_checked_by_its_own_job(api: Api) -> None:
    first = api.accepted()
    job = repainted(api, first)
    assert files_of(job) == [f"{job.pk}/original.jpg"]
    develop(job)
    assert job.status == "completed"
    develop(first)
    assert first.status == "completed"


def test_a_picture_that_one_look_cannot_do_may_have_another(api: Api) -> None:
    first = api.accepted()
    runner.run(StepName.VALIDATE, str(first.pk), "test")
    first.refresh_from_db()
    first.fail(CodedError("CONTENT_BLOCKED"))
    job = repainted(api, first)
    develop(job)
    assert job.status == "completed"


def test_a_picture_that_is_no_good_is_refused_for_the_same_reason(api: Api) -> None:
    data = pictures.encoded(pictures.landscape(), "JPEG")
    first = api.finished(data[: len(data) // 2])
    response = ask(api, first)
    assert (response.status_code, code(response)) == (422, "UNREADABLE_IMAGE")
    assert response.json()["error"]["message"] == first.error_message


def test_once_the_files_are_gone_there_is_nothing_to_paint(api: Api, settings: LazySettings) -> None:
    first = api.finished()
    Upload.objects.filter(pk=first.pk).update(completed_at=F("completed_at") - timedelta(days=31))
    response = ask(api, first)
    assert (response.status_code, code(response)) == (409, "EXPIRED")
    retention.retain()
    response = ask(api, first)
    assert (response.status_code, code(response)) == (409, "EXPIRED")
    assert Upload.objects.count() == 1


def test_files_that_go_at_this_very_moment_are_gone(api: Api) -> None:
    first = api.finished()
    default_storage.delete(first.steps.get(name="validate").output["work"])
    response = ask(api, first)
    assert (response.status_code, code(response)) == (409, "EXPIRED")
    assert Upload.objects.count() == 1
    assert list(storage.pictures().folders()) == [str(first.pk)], "no empty folder either"


def test_the_same_key_and_look_are_one_job(api: Api) -> None:
    first = api.finished()
    one, two = ask(api, first, key="k"), ask(api, first, key="k")
    assert (two.status_code, two["Idempotent-Replayed"]) == (202, "true")
    assert one.json() == two.json()
    assert Upload.objects.count() == 2
    other = ask(api, first, "v3", key="k")
    assert (other.status_code, code(other)) == (422, "IDEMPOTENCY_MISMATCH")
    another_picture = api.finished(pictures.encoded(pictures.night(), "PNG"))
    other = ask(api, another_picture, key="k")
    assert (other.status_code, code(other)) == (422, "IDEMPOTENCY_MISMATCH")


@pytest.mark.django_db(transaction=True)
def test_the_same_key_at_the_same_time_is_one_job(api: Api) -> None:
    first = api.finished()
    together = threading.Barrier(4)

    def one(_: int) -> tuple[int, str]:
        try:
            together.wait()
            client = Api.__new__(Api)
            client.client, client.token = type(api.client)(), api.token
            response = ask(client, first, key="k")
            return response.status_code, response.json()["jobId"]
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        answers = set(pool.map(one, range(4)))
    assert len(answers) == 1
    assert {status for status, _ in answers} == {202}
    assert Upload.objects.count() == 2
    assert len([name for name in stored_files() if name.endswith("checked.png")]) == 1


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'"v2"', b"{}", b'{"promptVersion": 2}', b'{"promptVersion": "v99"}',
     b'{"promptVersion": ["v2"]}', b"\xff", b"[" * 10_000, b'{"promptVersion": "v2"}' + b" " * 20_000],
)  # fmt: skip
def test_a_body_that_names_no_look_is_refused(api: Api, body: bytes) -> None:
    first = api.accepted()
    headers = {"X-Session-Token": api.token}
    path = f"/api/jobs/{first.pk}/again"
    response = api.client.post(path, body, content_type="application/json", headers=headers)
    assert (response.status_code, code(response)) == (400, "INVALID_PARAMETER")
    assert Upload.objects.count() == 1


SPENT = {"GENERATE_COST_USD": Decimal("0.08"), "DAILY_BUDGET_USD": Decimal(0)}


@pytest.mark.parametrize(
    ("limits", "status", "expected"),
    [
        ({"QUEUE_MAX_PENDING": 0}, 429, "QUEUE_FULL"),
        (SPENT, 429, "BUDGET_EXHAUSTED"),
        ({"DISK_RESERVE_BYTES": 2**62}, 507, "STORAGE_FULL"),
        ({"UPLOADS_PER_MINUTE": 0}, 429, "RATE_LIMITED"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_limits_are_those_of_uploads(api: Api, limits: dict[str, Any], status: int, expected: str) -> None:
    first = api.finished()
    kept = stored_files()
    with override_settings(**limits):
        response = ask(api, first)
    assert (response.status_code, code(response)) == (status, expected)
    assert int(response["Retry-After"]) > 0
    assert Upload.objects.count() == 1
    assert stored_files() == kept


def test_the_first_jobs_webhook_is_told_of_it_too(api: Api) -> None:
    sent = api.send(webhookUrl="https://receiver.example.com/hook").json()
    first = Upload.objects.get(pk=sent["jobId"])
    told = ask(api, first).json()
    assert told["webhookSecret"] == sent["webhookSecret"]
    assert Upload.objects.get(pk=told["jobId"]).webhook_url == first.webhook_url


def test_it_costs_as_many_statements_however_much_there_is(api: Api) -> None:
    first = api.finished()
    ask(api, first, key="warm")

    def statements() -> list[str]:
        with CaptureQueriesContext(connection) as queries:
            assert ask(api, first, key=f"key {Upload.objects.count()}").status_code == 202
        return [
            query["sql"] for query in queries if not query["sql"].startswith(("SAVEPOINT", "RELEASE", "SELECT COUNT"))
        ]

    few = statements()
    assert len(few) <= 12, few
    for _ in range(5):
        ask(api, first)
    assert len(statements()) == len(few)
