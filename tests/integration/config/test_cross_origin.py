"""What pages on other origins get: the API, its errors and the pictures where they are listed, else nothing."""

from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from django.conf import LazySettings
from django.db import OperationalError, connection
from django.http import HttpResponse
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from django.urls import path

from status import errors, throttling
from status.urls import urlpatterns as status_urls
from tests.support.api import Api
from tests.support.contract import ContractClient

pytestmark = pytest.mark.django_db

SHOP, DEV, STRANGER = "https://shop.example", "http://localhost:5173", "https://stranger.example"
EXPOSED = "ETag, Retry-After, Location, Idempotent-Replayed, Preference-Applied, X-Request-ID"


@pytest.fixture(autouse=True)
def listed(settings: LazySettings) -> None:
    settings.CORS_ORIGINS = [SHOP, DEV]


@pytest.fixture
def page(api: Api) -> Api:
    """The API, for clients that come after the setting: each sets up its middleware anew."""
    api.client = ContractClient(raise_request_exception=False)
    return api


def access(response: Any) -> dict[str, str]:
    """What a browser reads of other origins, and `Vary`."""
    return {name: value for name, value in response.items() if name.startswith("Access-Control-") or name == "Vary"}


def listed_access(origin: str) -> dict[str, str]:
    return {"Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": EXPOSED, "Vary": "Origin"}


@pytest.mark.parametrize("origin", [SHOP, DEV])
def test_a_listed_origin_may_read_every_answer_of_a_poll(page: Api, origin: str) -> None:
    upload = page.finished()
    status = f"/api/status/{upload.pk}"
    told = page.get(status, Origin=origin)
    same = page.get(status, Origin=origin, **{"If-None-Match": told["ETag"]})
    answers = [
        told,
        same,
        page.get(status, token="unknown", Origin=origin),
        page.get(status, token=None, Origin=origin),
        page.get(f"/api/status/{uuid4()}", Origin=origin),
        page.get("/api/nowhere", Origin=origin),
        page.post(status, Origin=origin),
    ]
    assert [answer.status_code for answer in answers] == [200, 304, 401, 401, 404, 404, 405]
    assert [access(answer) for answer in answers] == [listed_access(origin)] * len(answers)


def test_errors_may_be_read_too(page: Api, settings: LazySettings) -> None:
    throttling.Polls._counts.clear()
    settings.POLLS_PER_MINUTE_PER_ADDRESS = 1
    answers = [page.get(f"/api/status/{uuid4()}", Origin=SHOP) for _ in range(2)]
    settings.UPLOADS_PER_MINUTE = 0
    answers.append(page.client.post("/api/uploads", headers={"X-Session-Token": page.token, "Origin": SHOP}))
    assert [answer.status_code for answer in answers] == [404, 429, 429]
    assert [access(answer) for answer in answers] == [listed_access(SHOP)] * 3
    throttling.Polls._counts.clear()


def broken(request: object) -> HttpResponse:
    raise RuntimeError("secret internals")


def without_database(request: object) -> HttpResponse:
    raise OperationalError("could not connect to 10.1.2.3")


urlpatterns = [*status_urls, path("api/broken", broken), path("api/away", without_database)]
handler400, handler404, handler500 = errors.bad_request, errors.not_found, errors.server_error


@override_settings(ROOT_URLCONF=__name__)
@pytest.mark.parametrize(("name", "status"), [("broken", 500), ("away", 503)])
def test_faults_may_be_read_too(page: Api, name: str, status: int) -> None:
    response = page.get(f"/api/{name}", Origin=SHOP)
    assert (response.status_code, access(response)) == (status, listed_access(SHOP))


def test_a_name_that_is_not_ours_is_refused_in_words_that_may_be_read() -> None:
    response = Client().get("/api/jobs", headers={"Host": "elsewhere.example", "Origin": SHOP})
    assert (response.status_code, access(response)) == (400, listed_access(SHOP))


def test_a_listed_origin_may_read_pictures_and_why_there_is_none(page: Api) -> None:
    told = page.get(f"/api/results/{page.finished().result.pk}", Origin=SHOP).json()
    link = urlsplit(told["previewUrl"]).path
    for address, status in ((link, 200), (link[:-2], 404)):
        response = page.client.get(address, headers={"Origin": SHOP})
        assert (response.status_code, access(response)) == (status, listed_access(SHOP))
        response.close()
    # A page elsewhere builds no addresses, and needs whole ones.
    assert told["previewUrl"].startswith("http://")


def test_the_dialects_may_be_read_and_pages_may_not(page: Api) -> None:
    upload = page.accepted()
    for address in (
        f"/jobs/{upload.pk}/status",
        f"/api/builds/{upload.pk}/status",
        f"/api/v1/projects/{upload.pk}/progress",
    ):
        assert access(page.get(address, Origin=SHOP)) == listed_access(SHOP)
    for address in ("/", f"/jobs/{upload.pk}", "/admin/login/", "/healthz"):
        assert "Access-Control-Allow-Origin" not in page.get(address, Origin=SHOP)


OTHERS = [STRANGER, "null", "", "http://shop.example", SHOP + ":8443", SHOP + ".evil.example", SHOP.upper(), "*"]


@pytest.mark.parametrize("origin", OTHERS)
def test_an_origin_that_is_not_listed_gets_nothing(page: Api, origin: str) -> None:
    upload = page.finished()
    picture = urlsplit(page.get(f"/api/results/{upload.result.pk}").json()["previewUrl"]).path
    for address in (f"/api/status/{upload.pk}", f"/jobs/{upload.pk}/status", "/api/nowhere", picture):
        response = page.get(address, Origin=origin)
        assert access(response) == {"Vary": "Origin"}
        response.close()
    assert access(preflight(page, "/api/uploads", origin)) == {"Vary": "Origin"}


def test_an_answer_that_no_other_origin_asked_for_says_that_it_would_be_another(page: Api) -> None:
    """A browser keeps a picture that a page shows, and may give it to a script that asks for it later."""
    assert access(page.get("/api/jobs")) == {"Vary": "Origin"}


def preflight(page: Api, address: str, origin: str = SHOP, method: str = "GET") -> Any:
    asked = {"Origin": origin, "Access-Control-Request-Method": method}
    headers = {"Access-Control-Request-Headers": "x-session-token,if-none-match"}
    return Client().options(address, headers=asked | headers)


@pytest.mark.parametrize(
    "address", ["/api/uploads", "/api/status/nonsense", "/jobs/nonsense/status", "/media/nonsense"]
)
def test_a_preflight_is_answered_without_a_token_or_a_query(page: Api, address: str) -> None:
    with CaptureQueriesContext(connection) as queries:
        response = preflight(page, address)
    assert (response.status_code, response.content, len(queries)) == (204, b"", 0)
    assert access(response) == listed_access(SHOP) | {
        "Access-Control-Allow-Methods": "GET, HEAD, POST, DELETE",
        "Access-Control-Allow-Headers": (
            "X-Session-Token, Idempotency-Key, If-None-Match, Last-Event-ID, Prefer, Content-Type"
        ),
        "Access-Control-Max-Age": "7200",
    }


def test_preflights_are_not_counted_as_polls(page: Api, settings: LazySettings) -> None:
    throttling.Polls._counts.clear()
    settings.POLLS_PER_MINUTE_PER_ADDRESS = 1
    for _ in range(3):
        assert preflight(page, "/api/status/nonsense").status_code == 204
    assert page.get("/api/jobs", Origin=SHOP).status_code == 200
    throttling.Polls._counts.clear()


def test_cookies_carry_no_authority_elsewhere(page: Api) -> None:
    answers = [page.get("/api/jobs", Origin=SHOP), preflight(page, "/api/jobs")]
    assert not any("Access-Control-Allow-Credentials" in answer for answer in answers)


def test_open_to_all_is_the_same_for_all(page: Api, settings: LazySettings) -> None:
    settings.CORS_ORIGINS = ["*"]
    page.client = ContractClient()
    told = {"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": EXPOSED}
    for origin in (SHOP, STRANGER, "null"):
        assert access(page.get("/api/jobs", Origin=origin)) == told
    assert access(page.get("/api/jobs")) == told
    response = preflight(page, "/api/uploads", STRANGER, "POST")
    assert (response.status_code, response["Access-Control-Allow-Origin"]) == (204, "*")


def test_without_the_setting_nobody_elsewhere_gets_anything(page: Api, settings: LazySettings) -> None:
    settings.CORS_ORIGINS = []
    page.client = ContractClient()
    assert access(page.get("/api/jobs", Origin=SHOP)) == {}
    assert (
        access(page.client.options("/api/jobs", headers={"Origin": SHOP, "Access-Control-Request-Method": "GET"})) == {}
    )


def test_a_poll_from_elsewhere_costs_the_one_statement_of_any(page: Api) -> None:
    upload = page.accepted()
    for origin in (SHOP, STRANGER):
        with CaptureQueriesContext(connection) as queries:
            page.get(f"/api/status/{upload.pk}", Origin=origin)
        assert len(queries) == 1


def test_the_headers_of_pages_are_on_what_goes_past_their_middleware(page: Api) -> None:
    response = page.get("/api/jobs", Origin=SHOP)
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["X-Request-ID"]


@pytest.mark.parametrize("origins", [[], [SHOP]])
@pytest.mark.parametrize("script", ["use-status.js", "upload-status.js"])
def test_the_hook_is_everybodys(settings: LazySettings, origins: list[str], script: str) -> None:
    settings.CORS_ORIGINS = origins
    response = Client().get(f"/static/js/{script}", headers={"Origin": STRANGER})
    assert response["Access-Control-Allow-Origin"] == "*"
    assert response["Cross-Origin-Resource-Policy"] == "cross-origin"
    response.close()
