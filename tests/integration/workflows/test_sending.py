"""POST /api/sessions and /api/uploads, as api.md has them."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from errno import ENOSPC
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection

from tests.support import pictures
from tests.support.api import Api, stored_files
from uploads.errors import Rejected
from uploads.intake import receive
from uploads.models import Session, Upload

pytestmark = pytest.mark.django_db

REFUSALS = {
    "a text file that is called .jpg": (b"Dear diary, this is no picture.", 415, "UNSUPPORTED_TYPE"),
    "an empty file": (b"", 415, "UNSUPPORTED_TYPE"),
    "20000 x 20000 pixels": (pictures.png_that_claims(20_000, 20_000), 422, "IMAGE_TOO_LARGE"),
    "a header that ends too early": (pictures.encoded(pictures.landscape(), "JPEG")[:100], 422, "UNREADABLE_IMAGE"),
}


def code(response: object) -> str:
    error = response.json()["error"]  # type: ignore[attr-defined]
    assert error["message"].endswith(".")
    return str(error["code"])


def test_a_session_is_opened_and_its_token_is_stored_nowhere(api: Api) -> None:
    response = api.post("/api/sessions", token=None)
    assert response.status_code == 201
    body = response.json()
    assert body["success"] is True
    session = Session.objects.get(pk=body["sessionId"])
    assert len(body["sessionToken"]) >= 43
    assert body["sessionToken"] not in str(Session.objects.filter(pk=session.pk).values())


def test_a_forgotten_session_opens_nothing(api: Api) -> None:
    upload = api.accepted()
    assert api.delete("/api/sessions/current").status_code == 204
    assert api.get(f"/api/status/{upload.pk}").status_code == 401
    assert api.delete("/api/sessions/current").status_code == 401


def test_a_picture_is_accepted(api: Api) -> None:
    response = api.send(name="holiday.jpg", source="order-7")
    body = response.json()
    assert response.status_code == 202
    assert response["Location"] == body["urls"]["status"] == f"/api/status/{body['jobId']}"
    assert int(response["Retry-After"]) in {2, 3}
    assert (body["status"], body["stage"], body["progress"]) == ("pending", None, 0)
    assert set(body["urls"]) == {"status", "events", "progress", "job", "page", "cancel", "retry", "again"}
    assert "sessionToken" not in body
    upload = Upload.objects.get(pk=body["jobId"])
    assert (upload.session_id, upload.original_name, upload.source) == (api.session.pk, "holiday.jpg", "order-7")
    assert list(Upload.objects.for_source("order-7")) == [upload]
    assert not Upload.objects.for_source("order-8")
    assert (upload.content_type, upload.width, upload.height) == ("image/jpeg", 160, 120)
    assert list(upload.events.values_list("seq", "type")) == [(1, "job.accepted")]
    assert stored_files() == [f"{upload.pk}/original.jpg"]


def test_without_a_token_a_session_is_opened_with_the_first_picture(api: Api) -> None:
    body = api.send(token=None).json()
    assert api.get(body["urls"]["status"], token=body["sessionToken"]).status_code == 200
    assert api.get(body["urls"]["status"]).status_code == 404


@pytest.mark.parametrize(("data", "status", "expected"), REFUSALS.values(), ids=REFUSALS.keys())
def test_what_is_no_good_is_refused_and_leaves_nothing(api: Api, data: bytes, status: int, expected: str) -> None:
    sessions = Session.objects.count()
    response = api.send(data, token=None)
    assert (response.status_code, code(response)) == (status, expected)
    assert stored_files() == []
    assert Upload.objects.count() == 0
    assert Session.objects.count() == sessions


def test_a_picture_over_the_limit_is_refused_before_it_is_read(api: Api, settings: LazySettings) -> None:
    settings.UPLOAD_MAX_BYTES = 100_000
    response = api.send(b"\xff\xd8\xff" + bytes(300_000))
    assert (response.status_code, code(response)) == (413, "FILE_TOO_LARGE")
    response = api.send(b"\xff\xd8\xff" + bytes(110_000))
    assert (response.status_code, code(response)) == (413, "FILE_TOO_LARGE")
    assert stored_files() == []


def test_a_request_without_a_picture_is_told_so(api: Api) -> None:
    headers = {"X-Session-Token": api.token}
    for response in (
        api.client.post("/api/uploads", {"other": "field"}, headers=headers),
        api.client.post("/api/uploads", {"image": "not a file"}, headers=headers),
        api.client.post("/api/uploads", b"\xff\xd8\xff", content_type="image/jpeg", headers=headers),
    ):
        assert (response.status_code, code(response)) == (400, "MISSING_IMAGE")


@pytest.mark.parametrize(
    "fields",
    [{"promptVersion": "v99"}, {"source": "x" * 256}, {"source": "a\0b"}],
    ids=lambda fields: next(iter(fields)),
)
def test_parameters_are_checked(api: Api, fields: dict[str, Any]) -> None:
    response = api.send(**fields)
    assert (response.status_code, code(response)) == (400, "INVALID_PARAMETER")
    assert next(iter(fields)) in response.json()["error"]["message"]


def test_the_callers_own_reference_stays_as_it_is(api: Api) -> None:
    source = "  order 7 "
    upload = api.accepted(source=source)
    assert upload.source == source
    assert [job["source"] for job in api.get("/api/jobs?source=%20%20order%207%20").json()["jobs"]] == [source]


def test_an_unknown_token_is_refused_before_the_picture_is_looked_at(api: Api) -> None:
    response = api.send(b"no picture", token="unknown")
    assert (response.status_code, code(response)) == (401, "UNAUTHORIZED")


@pytest.mark.parametrize("name", ["../../etc/passwd", "a\0b.jpg", "x" * 300 + ".jpg", "\u202egpj.exe", "ü ñ.jpg"])
def test_a_file_name_names_no_file_here(api: Api, name: str) -> None:
    upload = api.accepted(name=name)
    assert stored_files() == [f"{upload.pk}/original.jpg"]
    assert len(upload.original_name) <= 255
    assert upload.original_name.isprintable()


def test_the_same_key_and_picture_are_one_upload(api: Api) -> None:
    first, second = api.send(key="k1"), api.send(key="k1")
    assert second.status_code == 202
    assert second["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first
    assert first.json() == second.json()
    assert len(stored_files()) == 1


def test_the_same_key_with_another_picture_is_refused(api: Api) -> None:
    api.send(key="k1")
    response = api.send(pictures.encoded(pictures.night(), "PNG"), key="k1")
    assert (response.status_code, code(response)) == (422, "IDEMPOTENCY_MISMATCH")
    assert len(stored_files()) == 1


def test_a_key_is_the_sessions_own_and_free_again_after_delete(api: Api) -> None:
    first = api.accepted(key="k1")
    assert Api().accepted(key="k1").pk != first.pk
    api.delete(f"/api/jobs/{first.pk}")
    assert api.accepted(key="k1").pk != first.pk


@pytest.mark.parametrize("key", ["x" * 256, ""])
def test_a_bad_key_is_refused(api: Api, key: str) -> None:
    response = api.client.post(
        "/api/uploads",
        {"image": SimpleUploadedFile("a.jpg", b"x")},
        headers={"X-Session-Token": api.token, "Idempotency-Key": key},
    )
    assert (response.status_code, code(response)) == (400, "INVALID_PARAMETER")


def test_a_key_without_a_token_is_refused(api: Api) -> None:
    response = api.send(token=None, key="k1")
    assert (response.status_code, code(response)) == (400, "INVALID_PARAMETER")


@pytest.mark.django_db(transaction=True)
def test_the_same_key_at_the_same_time_is_one_upload(api: Api) -> None:
    picture = pictures.encoded(pictures.landscape(), "JPEG")
    together = threading.Barrier(6)

    def send(_: int) -> tuple[int, str, bool]:
        try:
            together.wait()
            client = Api.__new__(Api)
            client.client, client.token = type(api.client)(), api.token
            response = client.send(picture, key="k1")
            return response.status_code, response.json()["jobId"], "Idempotent-Replayed" in response
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(send, range(6)))
    assert {status for status, _, _ in answers} == {202}
    assert len({job for _, job, _ in answers}) == 1
    assert [replayed for _, _, replayed in answers].count(False) == 1
    assert len(stored_files()) == 1


def test_a_disk_that_fills_while_writing_refuses_the_picture_and_leaves_nothing(api: Api) -> None:
    class FillsTheDisk(SimpleUploadedFile):
        """The first pass is the checksum's; the second, into the storage, ends as on a full disk."""

        passes = 0

        def chunks(self, chunk_size: int | None = None) -> Iterator[bytes]:
            self.passes += 1
            yield self.read(100)
            if self.passes == 2:
                raise OSError(ENOSPC, "No space left on device")

    file = FillsTheDisk("a.jpg", pictures.encoded(pictures.landscape(), "JPEG"))
    with pytest.raises(Rejected, match="STORAGE_FULL"):
        receive(file, api.session)
    assert stored_files() == []
    assert Upload.objects.count() == 0


def test_a_full_queue_refuses_and_says_when_to_come_again(api: Api, settings: LazySettings) -> None:
    settings.QUEUE_MAX_PENDING = 2
    waiting = [api.accepted(), api.accepted()]
    response = api.send()
    assert (response.status_code, code(response)) == (429, "QUEUE_FULL")
    assert response.json()["error"]["retryable"] is True
    assert int(response["Retry-After"]) > 0
    waiting[0].cancel()
    assert api.send().status_code == 202


def test_a_disk_that_is_nearly_full_refuses(api: Api, settings: LazySettings) -> None:
    settings.DISK_RESERVE_BYTES = 2**62
    response = api.send()
    assert (response.status_code, code(response)) == (507, "STORAGE_FULL")
    assert stored_files() == []
