"""`OPEN_DIALECTS`: anyone who knows a job's id can use these two dialects without a token."""

from typing import Any
from uuid import uuid4

import pytest
from django.conf import LazySettings
from django.db import connection
from django.test.utils import CaptureQueriesContext

from status import throttling
from status.schema import document
from tests.support.api import Api

pytestmark = pytest.mark.django_db

MESSAGES = ["/jobs/{}/status"]
BUILDS = ["/api/builds/{}/status", "/api/builds/{}/events"]
ADDRESSES = MESSAGES + BUILDS
MALFORMED = ["nonsense", "1", "%00", "é", "%FF", "x" * 3000]


@pytest.fixture(autouse=True)
def _open(settings: LazySettings) -> None:
    settings.OPEN_DIALECTS = frozenset({"messages", "builds"})


@pytest.mark.parametrize("address", ADDRESSES)
def test_without_a_token_the_answer_is_the_owners(api: Api, address: str) -> None:
    for upload in (api.accepted(), api.finished()):
        owner, anybody = (api.get(address.format(upload.pk), token=token) for token in ("", None))
        assert (owner.status_code, anybody.status_code) == (200, 200)
        assert without_links(owner.json()) == without_links(anybody.json())
        assert anybody["Cache-Control"] == owner["Cache-Control"]


def without_links(document: Any) -> Any:
    """Each answer signs links of its own."""
    if isinstance(document, list):
        return [without_links(each) for each in document]
    if isinstance(document, dict):
        return {key: bool(value) if key == "previewUrl" else without_links(value) for key, value in document.items()}
    return document


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_token_that_is_sent_is_judged_all_the_same(api: Api, address: str) -> None:
    upload, stranger = api.accepted(), Api()
    for token in ("unknown", "ünknown", " ", "x" * 7000):
        assert api.get(address.format(upload.pk), token=token).status_code == 401
    response = stranger.get(address.format(upload.pk))
    if address in MESSAGES:
        assert response.status_code == 404
    else:
        assert (response.status_code, response.json().get("status", "unknown")) == (200, "unknown")
        assert response.json().get("events", []) == []


def test_the_id_is_judged_as_before(api: Api) -> None:
    deleted = api.finished()
    api.delete(f"/api/jobs/{deleted.pk}")
    ids = [deleted.pk, uuid4(), str(api.accepted().pk).upper(), *MALFORMED]
    answers = [api.get(MESSAGES[0].format(name), token=None) for name in ids]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.content for answer in answers}) == 1
    for address in BUILDS:
        for name in ids:
            response = api.get(address.format(name) + "?lastEventId=7", token=None)
            told = response.json()
            assert (response.status_code, told.get("status", "unknown"), told.get("events", [])) == (200, "unknown", [])
    assert api.get(f"/api/builds/{uuid4()}/events?lastEventId=seven", token=None).status_code == 400


@pytest.mark.parametrize(
    ("named", "answered"),
    [((), []), (("messages",), MESSAGES), (("builds",), BUILDS), (("messages", "builds"), ADDRESSES)],
)
def test_only_what_is_named_is_open(
    api: Api, settings: LazySettings, named: tuple[str, ...], answered: list[str]
) -> None:
    settings.OPEN_DIALECTS = frozenset(named)
    upload = api.finished()
    for address in ADDRESSES:
        assert api.get(address.format(upload.pk), token=None).status_code == (200 if address in answered else 401)


def test_nothing_else_is_open(api: Api) -> None:
    upload = api.finished()
    for address in (
        f"/api/status/{upload.pk}",
        f"/api/status/{upload.pk}/events",
        f"/api/jobs/{upload.pk}",
        f"/api/results/{upload.result.pk}",
        f"/api/v1/projects/{upload.pk}/progress",
        "/api/jobs",
    ):
        assert api.get(address, token=None).status_code == 401
    assert api.post(f"/api/jobs/{upload.pk}/cancel", token=None).status_code == 401
    assert api.delete(f"/api/jobs/{upload.pk}", token=None).status_code == 401


@pytest.mark.parametrize("address", ADDRESSES)
def test_polls_are_counted_by_address_all_the_same(api: Api, settings: LazySettings, address: str) -> None:
    upload = api.accepted()
    throttling.Polls._counts.clear()
    settings.POLLS_PER_MINUTE_PER_ADDRESS = 1
    answers = [api.get(address.format(upload.pk), token=None).status_code for _ in range(2)]
    throttling.Polls._counts.clear()
    assert answers == [200, 429]


@pytest.mark.parametrize(
    ("address", "most"), [("/jobs/{}/status", 2), ("/api/builds/{}/status", 2), ("/api/builds/{}/events", 4)]
)
def test_it_costs_no_more_than_with_a_token(api: Api, address: str, most: int) -> None:
    upload = api.finished()
    with CaptureQueriesContext(connection) as queries:
        api.get(address.format(upload.pk), token=None)
    assert len(queries) <= most, [query["sql"] for query in queries]


def test_the_description_says_that_they_may_do_without_a_token(settings: LazySettings) -> None:
    settings.OPEN_DIALECTS = frozenset({"messages"})
    described = document.__wrapped__()["paths"]
    token: dict[str, list[str]] = {"X-Session-Token": []}
    assert described["/jobs/{jobId}/status"]["get"]["security"] == [{}, token]
    assert described["/api/builds/{buildId}/status"]["get"]["security"] == [token]
    settings.OPEN_DIALECTS = frozenset()
    assert document.__wrapped__()["paths"]["/jobs/{jobId}/status"]["get"]["security"] == [token]
