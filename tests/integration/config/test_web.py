"""What stands around the API: methods, forms, links to pictures, cookies."""

from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.core import signals
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.handlers.wsgi import WSGIHandler
from django.db import close_old_connections
from django.test import Client, RequestFactory

from config.bodies import bounded
from tests.support import pictures
from tests.support.api import Api, stored_files
from workflows.views import longest_form

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("method", ["post", "put", "delete", "patch"])
@pytest.mark.parametrize("path", ["/api/docs", "/api/schema", "/api/jobs"])
def test_another_method_is_refused_in_json(client: Client, path: str, method: str) -> None:
    response: Any = getattr(client, method)(path)
    assert response.status_code == 405
    assert response.json()["error"]["code"] == "METHOD_NOT_ALLOWED"
    assert "GET" in response["Allow"]


def test_a_link_shows_one_picture_and_nothing_else_about_it(api: Api) -> None:
    upload = api.finished()
    told = api.get(f"/api/results/{upload.result.pk}").json()
    link = urlsplit(told["previewUrl"]).path
    response = Client().get(link)
    assert response.status_code == 200
    assert response["Content-Type"] == "image/webp"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Content-Security-Policy"] == "default-src 'none'; style-src 'unsafe-inline'; sandbox"
    assert response["Content-Disposition"].startswith("inline; filename=")
    response.close()
    for other in (link[:-1], link[:-2] + "xx", "/media/", f"/media/{upload.pk}", f"/media/{upload.original.name}"):
        assert Client().get(other).status_code == 404


def test_a_lying_length_is_no_length(api: Api) -> None:
    for length in ("abc", "-1", "\u0661\u0662", "1" * 5000, ""):
        response = api.client.generic(
            "POST", "/api/uploads", b"", "multipart/form-data; boundary=x", CONTENT_LENGTH=length
        )
        assert response.status_code in {400, 413}, length
        assert response.json()["success"] is False


@pytest.mark.parametrize(
    "form",
    [
        {f"field{number}": "x" for number in range(1001)},
        {f"image{number}": SimpleUploadedFile("a.jpg", b"x") for number in range(5)},
        {"source": "x" * 3_000_000},
    ],
    ids=["fields", "files", "text"],
)
def test_a_form_without_measure_is_refused(api: Api, form: dict[str, Any]) -> None:
    response = api.client.post("/api/uploads", form)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "INVALID_PARAMETER")
    assert stored_files() == []


def test_a_session_in_the_admin_is_hard_to_take(client: Client, settings: LazySettings) -> None:
    User.objects.create_superuser("ada", password="right horse battery")
    client.post("/admin/login/", {"username": "ada", "password": "right horse battery"})
    cookie = client.cookies[settings.SESSION_COOKIE_NAME]
    assert (cookie["httponly"], cookie["samesite"]) == (True, "Strict")
    assert int(cookie["max-age"]) <= 12 * 3600


@pytest.mark.parametrize(("size", "status"), [(20_000, 202), (1_300_000, 413), (3_000_000, 413)])
def test_a_form_in_chunks_is_read_as_any_other_and_to_the_same_limit(
    api: Api, settings: LazySettings, size: int, status: int
) -> None:
    """As a server hands it over: no length, and a stream that ends."""
    settings.UPLOAD_MAX_BYTES = 1_000_000
    picture = pictures.encoded(pictures.quarters(), "JPEG")
    head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
    body = head + picture + bytes(size) + b"\r\n--x--\r\n"
    environment = RequestFactory().generic("POST", "/api/uploads").environ | {
        "CONTENT_TYPE": "multipart/form-data; boundary=x",
        "CONTENT_LENGTH": "",
        "HTTP_TRANSFER_ENCODING": "chunked",
        "HTTP_X_SESSION_TOKEN": api.token,
        "wsgi.input": BytesIO(body),
    }
    told: list[str] = []
    # Not the end of a request for Django: it would close the test's own connection to the database.
    signals.request_started.disconnect(close_old_connections)
    try:
        answer = b"".join(bounded(WSGIHandler(), longest_form())(environment, lambda status, _: told.append(status)))
    finally:
        signals.request_started.connect(close_old_connections)
    assert (told[0][:3], b"FILE_TOO_LARGE" in answer) == (str(status), status == 413)
