"""Every endpoint: the token is judged first, then the id, and no answer says more than that."""

from typing import Any, NamedTuple
from uuid import uuid4

import pytest

from tests.support.api import Api
from tests.support.routes import ROUTES, Route

pytestmark = pytest.mark.django_db

OPEN = {Route("post", "/api/sessions"), Route("get", "/api/schema"), Route("get", "/api/looks")}
"""These want no token."""
MAY_DO_WITHOUT = {Route("post", "/api/uploads")}
WITH_TOKEN = sorted(set(ROUTES) - OPEN - MAY_DO_WITHOUT)
NAMING = [route for route in WITH_TOKEN if "{}" in route.path]
LENIENT = {Route("get", "/api/builds/{}/events"), Route("get", "/api/builds/{}/status")}
"""To these an unknown job is an answer."""
STRICT = [route for route in NAMING if route not in LENIENT]
NO_TOKENS = [None, "unknown", "ünknown", " ", "x" * 7000]
MALFORMED = ["nonsense", "1", "%00", "%0A", "é", "%FF", "a%2Fb", "..%2F..%2Fetc", "x" * 3000]


def ask(api: Api, route: Route, name: object = "", token: str | None = "") -> Any:
    return getattr(api, route.method)(route.path.format(name), token=token)


def test_the_resolver_has_the_routes_of_the_contract() -> None:
    assert sorted(ROUTES) == sorted(
        Route(*words.split())
        for words in (
            "delete /api/sessions/current",
            "delete /api/jobs/{}",
            "get /api/builds/{}/events",
            "get /api/builds/{}/status",
            "get /api/jobs",
            "get /api/jobs/stats",
            "get /api/jobs/{}",
            "get /api/looks",
            "get /api/results/{}",
            "get /api/schema",
            "get /api/status/{}",
            "get /api/status/{}/events",
            "get /api/v1/projects/{}/progress",
            "get /jobs/{}/status",
            "post /api/jobs/{}/again",
            "post /api/jobs/{}/cancel",
            "post /api/jobs/{}/retry",
            "post /api/sessions",
            "post /api/uploads",
        )
    )


@pytest.mark.parametrize("token", NO_TOKENS)
@pytest.mark.parametrize("route", WITH_TOKEN, ids=" ".join)
def test_without_a_known_token_nothing_is_told(api: Api, route: Route, token: str | None) -> None:
    names = [api.accepted().pk, "nonsense"] if "{}" in route.path else [""]
    for response in [ask(api, route, name, token) for name in names]:
        assert response.status_code == 401
        assert response.json()["error"]["code"] == "UNAUTHORIZED"
        assert response.json()["success"] is False
        assert response["WWW-Authenticate"] == "X-Session-Token"


@pytest.mark.parametrize("query", ["lastEventId=abc", "limit=abc", "cursor=abc", "status=abc"])
@pytest.mark.parametrize("route", [route for route in WITH_TOKEN if route.method == "get"], ids=" ".join)
def test_the_token_is_judged_before_the_parameters(api: Api, route: Route, query: str) -> None:
    path = f"{route.path.format(uuid4())}?{query}"
    assert api.get(path, token=None).status_code == 401
    assert api.get(path, token="unknown").status_code == 401


class Named(NamedTuple):
    """A job, and what came of it, by their ids."""

    job: object
    result: object

    def on(self, route: Route) -> object:
        return self.result if "results" in route.path else self.job


def finished(api: Api) -> Named:
    upload = api.finished()
    return Named(upload.pk, upload.result.pk)


def nobodys(api: Api) -> dict[str, Named]:
    """Of each kind of id that opens nothing, at least one."""
    foreign, deleted = finished(Api()), finished(api)
    api.delete(f"/api/jobs/{deleted.job}")
    written_otherwise = Named(str(foreign.job).upper(), str(foreign.result).replace("-", ""))
    unknown = uuid4()
    return {
        "somebody else's": foreign,
        "deleted": deleted,
        "written otherwise": written_otherwise,
        "unknown": Named(unknown, unknown),
        **{name: Named(name, name) for name in MALFORMED},
    }


@pytest.mark.parametrize("route", STRICT, ids=" ".join)
def test_somebody_elses_deleted_unknown_and_malformed_are_all_the_same(api: Api, route: Route) -> None:
    answers = {kind: ask(api, route, named.on(route)) for kind, named in nobodys(api).items()}
    assert {kind: answer.status_code for kind, answer in answers.items() if answer.status_code != 404} == {}
    assert len({answer.content for answer in answers.values()}) == 1
    told = answers["unknown"].json()
    assert (told["success"], told["error"]["code"]) == (False, "NOT_FOUND")


@pytest.mark.parametrize("route", sorted(LENIENT), ids=" ".join)
def test_to_builds_an_unknown_job_is_an_answer(api: Api, route: Route) -> None:
    for kind, named in nobodys(api).items():
        if "%2F" in kind:
            continue  # no id, but another path
        response = api.get(route.path.format(named.job) + "?lastEventId=7")
        assert response.status_code == 200
        told = response.json()
        name = told.pop("buildId")
        assert name == str(named.job) or "%" in kind
        empty = {"progress": 0, "previewUrl": None, "error": None, "eventCount": 0, "lastUpdate": None}
        assert told in ({"events": [], "lastEventId": 7}, {"status": "unknown", **empty})


@pytest.mark.parametrize("route", NAMING, ids=" ".join)
def test_who_owns_the_job_is_answered(api: Api, route: Route) -> None:
    expected = {400} if route.path.endswith("/again") else {200, 204, 409}  # it names no look
    assert ask(api, route, finished(api).on(route)).status_code in expected


@pytest.mark.parametrize(
    "path",
    ["/api", "/api/", "/api/nothing", "/api/status/", "/api/status/a/b/c", "/jobs//status", "/jobs/a/b/status"],
)
def test_unknown_routes_of_the_api_answer_json(api: Api, path: str) -> None:
    for response in (api.get(path), api.post(path), api.get(path, token=None)):
        assert response.status_code == 404
        assert response.json()["error"]["code"] == "NOT_FOUND"


def test_unknown_pages_are_pages(api: Api) -> None:
    for path in ("/apis", "/jobs/", "/jobs/a/b", "/jobs/a/status/"):
        response = api.get(path)
        assert (response.status_code, response["Content-Type"]) == (404, "text/html; charset=utf-8")


@pytest.mark.parametrize("path", sorted({route.path for route in ROUTES}))
def test_a_wrong_method_is_told_which_are_right_whoever_asks(api: Api, path: str) -> None:
    right = {route.method.upper() for route in ROUTES if route.path == path}
    upload = api.accepted()
    wrong = {"GET", "POST", "PUT", "PATCH", "DELETE", "FOO"} - right
    for method in sorted(wrong):
        answers = [
            api.client.generic(method, path.format(name), headers={"X-Session-Token": token})
            for name in (upload.pk, uuid4(), "nonsense")
            for token in (api.token, "unknown")
        ]
        assert {answer.status_code for answer in answers} == {405}
        assert len({answer.content for answer in answers}) == 1
        assert answers[0].json()["error"]["code"] == "METHOD_NOT_ALLOWED"
        allowed = set(answers[0]["Allow"].split(", "))
        assert allowed - {"HEAD", "OPTIONS"} == right
        assert ("HEAD" in allowed) == ("GET" in right)


@pytest.mark.parametrize("route", [route for route in ROUTES if route.method == "get"], ids=" ".join)
def test_head_is_get_without_a_body(api: Api, route: Route) -> None:
    named = finished(api)
    for name, token in ((named.on(route), api.token), ("nonsense", api.token), (named.on(route), "unknown")):
        path, headers = route.path.format(name), {"X-Session-Token": token}
        asked, head = (api.client.generic(method, path, headers=headers) for method in ("GET", "HEAD"))
        assert (head.status_code, head.content) == (asked.status_code, b"")
        assert set(head.headers) == set(asked.headers)


@pytest.mark.parametrize("route", NAMING, ids=" ".join)
def test_no_cache_between_keeps_a_refusal(api: Api, route: Route) -> None:
    for token in (None, ""):
        response = ask(api, route, "nonsense", token)
        if response.status_code >= 400:
            assert response["Cache-Control"] == "no-store"
    assert api.get("/api/nothing")["Cache-Control"] == "no-store"


def test_only_json_is_spoken(api: Api) -> None:
    upload = api.accepted()
    response = api.get(f"/api/status/{upload.pk}", Accept="text/html")
    assert response.status_code == 406
    assert response.json()["error"]["code"] == "NOT_ACCEPTABLE"
    browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    for accepted in (browser, "", "*/*", "application/*", "application/json; charset=utf-8"):
        assert api.get(f"/api/status/{upload.pk}", Accept=accepted).status_code == 200, accepted
        assert api.get("/api/jobs", Accept=accepted).status_code == 200, accepted
