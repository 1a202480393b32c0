"""Every endpoint that names a job: the token is judged first, then the id, and no answer says more than that."""

from uuid import uuid4

import pytest

from tests.api import Api

pytestmark = pytest.mark.django_db

JOB_ROUTES = [
    ("get", "/api/status/{}"),
    ("get", "/api/status/{}/events"),
    ("get", "/api/jobs/{}"),
    ("delete", "/api/jobs/{}"),
    ("post", "/api/jobs/{}/retry"),
    ("post", "/api/jobs/{}/cancel"),
    ("get", "/jobs/{}/status"),
    ("get", "/api/v1/projects/{}/progress"),
    ("get", "/api/results/{}"),
]
LENIENT_ROUTES = ["/api/builds/{}/events", "/api/builds/{}/status"]


@pytest.mark.parametrize(("method", "path"), [*JOB_ROUTES, *(("get", path) for path in LENIENT_ROUTES)])
@pytest.mark.parametrize("token", [None, "unknown", "ünknown"])
@pytest.mark.parametrize("known", [True, False])
def test_without_a_known_token_nothing_is_told(
    api: Api, method: str, path: str, token: str | None, known: bool
) -> None:
    job = api.accepted().pk if known else "nonsense"
    response = getattr(api, method)(path.format(job), token=token)
    assert response.status_code == 401
    assert response.json()["error"]["code"] == "UNAUTHORIZED"
    assert response.json()["success"] is False


@pytest.mark.parametrize(("method", "path"), JOB_ROUTES)
def test_somebody_elses_deleted_unknown_and_malformed_are_all_the_same(api: Api, method: str, path: str) -> None:
    deleted = api.accepted()
    api.delete(f"/api/jobs/{deleted.pk}")
    foreign = Api().accepted()
    names = [foreign.pk, deleted.pk, uuid4(), "nonsense", str(foreign.pk).upper(), foreign.pk.hex, "1", "%00", "é"]
    answers = [getattr(api, method)(path.format(name)) for name in names]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.content for answer in answers}) == 1
    assert answers[0].json()["error"]["code"] == "NOT_FOUND"


def test_somebody_elses_result_is_not_found(api: Api) -> None:
    foreign = Api().finished()
    response = api.get(f"/api/results/{foreign.result.pk}")
    assert response.status_code == 404


def test_to_builds_an_unknown_job_is_an_answer(api: Api) -> None:
    foreign = Api().accepted()
    for name in (str(foreign.pk), "nonsense"):
        events = api.get(f"/api/builds/{name}/events?lastEventId=7")
        assert events.status_code == 200
        assert events.json() == {"buildId": name, "events": [], "lastEventId": 7}
        status = api.get(f"/api/builds/{name}/status")
        assert status.status_code == 200
        assert (status.json()["status"], status.json()["eventCount"]) == ("unknown", 0)


@pytest.mark.parametrize("path", ["/api/nothing", "/api/", "/api/status/", "/api/status/a/b/c"])
def test_unknown_routes_of_the_api_answer_json(api: Api, path: str) -> None:
    for response in (api.get(path), api.post(path)):
        assert response.status_code == 404
        assert response.json()["error"]["code"] == "NOT_FOUND"


def test_a_wrong_method_is_told_which_are_right(api: Api) -> None:
    upload = api.accepted()
    response = api.post(f"/api/status/{upload.pk}")
    assert response.status_code == 405
    assert "GET" in response["Allow"]
    assert response.json()["error"]["code"] == "METHOD_NOT_ALLOWED"


def test_only_json_is_spoken(api: Api) -> None:
    response = api.get(f"/api/status/{api.accepted().pk}", Accept="text/html")
    assert response.status_code == 406
    assert response.json()["error"]["code"] == "NOT_ACCEPTABLE"
    browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    assert api.get("/api/jobs", Accept=browser).status_code == 200
