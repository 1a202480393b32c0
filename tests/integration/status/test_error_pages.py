"""What is answered outside of the API's own views: JSON where the API is, a page elsewhere; never an inside."""

import pytest
from django.db import OperationalError
from django.http import HttpResponse
from django.test import Client, RequestFactory, override_settings
from django.urls import path

from status import errors


def broken(request: object) -> HttpResponse:
    raise RuntimeError("secret internals")


def without_database(request: object) -> HttpResponse:
    raise OperationalError("could not connect to 10.1.2.3")


urlpatterns = [
    path(f"{prefix}{name}{suffix}", view)
    for prefix, suffix in (("", ""), ("api/", ""), ("jobs/", "/status"))
    for name, view in (("broken", broken), ("away", without_database))
]
handler404, handler500 = errors.not_found, errors.server_error


@pytest.fixture
def client() -> Client:
    return Client(raise_request_exception=False)


@override_settings(ROOT_URLCONF=__name__)
@pytest.mark.parametrize(
    ("address", "status", "code"),
    [("/broken", 500, "INTERNAL"), ("/away", 503, "UNAVAILABLE"), ("/nowhere", 404, "NOT_FOUND")],
)
def test_json_where_the_api_is_and_a_page_elsewhere(client: Client, address: str, status: int, code: str) -> None:
    json, dialect, page = (client.get(path) for path in (f"/api{address}", f"/jobs{address}/status", address))
    assert json.status_code == dialect.status_code == page.status_code == status
    assert json.json()["error"]["code"] == code
    assert json.content == dialect.content
    assert "<h1>" in page.content.decode()
    for response in (json, dialect, page):
        assert "default-src 'self'" in response["Content-Security-Policy"]
        assert response["X-Content-Type-Options"] == "nosniff"
        assert ("Retry-After" in response) is (status == 503)
        for inside in (b"secret", b"10.1.2.3", b"Traceback", b"RuntimeError"):
            assert inside not in response.content


def test_a_bad_request_has_a_page_and_json() -> None:
    page = errors.bad_request(RequestFactory().get("/"))
    json = errors.bad_request(RequestFactory().get("/api/x"))
    assert (page.status_code, json.status_code) == (400, 400)
    assert b"INVALID_PARAMETER" in json.content
