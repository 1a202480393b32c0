"""GET /api/status/{jobId}/events: every event, once, in order."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.support.api import Api, develop
from uploads.errors import CodedError
from uploads.models import Upload
from uploads.stages import StepName
from uploads.text import MAX_BYTES
from workflows import runner

pytestmark = pytest.mark.django_db
LEASE = timedelta(seconds=30)


def events(api: Api, upload: Upload, query: str = "") -> Any:
    response = api.get(f"/api/status/{upload.pk}/events{query}")
    assert response.status_code == 200, response.content
    return response.json()


def told(api: Api, upload: Upload) -> list[tuple[str, str, str | None]]:
    return [(event["type"], event["level"], event["data"].get("step")) for event in events(api, upload)["events"]]


def test_a_job_without_trouble(api: Api) -> None:
    upload = api.finished()
    without_progress = [event for event in told(api, upload) if event[0] != "step.progress"]
    steps = ["validate", "generate", "store", "watermark"]
    assert without_progress == [
        ("job.accepted", "info", None),
        *((kind, "info", step) for step in steps for kind in ("step.started", "step.completed")),
        ("job.completed", "info", None),
    ]
    document = events(api, upload)
    assert document["jobId"] == str(upload.pk)
    assert [event["id"] for event in document["events"]] == list(range(1, upload.event_count + 1))
    assert all(event["message"] for event in document["events"])
    assert (document["lastEventId"], document["hasMore"]) == (upload.event_count, False)


def test_a_job_with_every_trouble(api: Api) -> None:
    upload = api.accepted()
    runner.run(StepName.VALIDATE, str(upload.pk), "test")
    away = CodedError("GENERATOR_UNAVAILABLE", detail="secret: 10.0.0.7 refused")
    fence = upload.claim(StepName.GENERATE, LEASE, "task-1")
    assert fence
    upload.advance(45, fence=fence)
    upload.log("warn", "The model is slow today.", {"queue": 7}, fence=fence)
    upload.try_again(away, timedelta(0), fence=fence)
    fence = upload.claim(StepName.GENERATE, LEASE, "task-2")
    assert fence
    upload.fail(away, fence=fence)
    upload.retry()
    upload.cancel()
    assert told(api, upload)[3:] == [
        ("step.started", "info", "generate"),
        ("step.progress", "info", "generate"),
        ("log", "warn", "generate"),
        ("step.retrying", "warn", "generate"),
        ("step.failed", "error", "generate"),
        ("job.failed", "error", "generate"),
        ("job.retried", "info", "generate"),
        ("job.failed", "error", "generate"),
    ]
    happened = events(api, upload)["events"]
    assert happened[5]["message"] == "The model is slow today."
    assert happened[5]["data"] == {"queue": 7, "step": "generate"}
    assert happened[6]["data"]["code"] == "GENERATOR_UNAVAILABLE"
    assert happened[-1]["data"]["code"] == "CANCELED"
    assert "secret" not in json.dumps(happened)


def test_a_step_that_has_nothing_to_do_says_so(api: Api, settings: Any) -> None:
    settings.WATERMARK_TEXT = ""
    assert ("step.skipped", "info", "watermark") in told(api, api.finished())


def test_pages_follow_one_another_without_a_gap(api: Api) -> None:
    upload = api.finished()
    seen: list[int] = []
    while True:
        page = events(api, upload, f"?limit=3&lastEventId={seen[-1] if seen else 0}")
        seen += [event["id"] for event in page["events"]]
        assert page["lastEventId"] == seen[-1]
        assert page["hasMore"] == (seen[-1] < upload.event_count)
        if not page["hasMore"]:
            break
    assert seen == list(range(1, upload.event_count + 1))


def test_a_page_that_ends_with_the_last_event_has_no_more(api: Api) -> None:
    upload = api.finished()
    page = events(api, upload, f"?limit={upload.event_count}")
    assert (len(page["events"]), page["hasMore"]) == (upload.event_count, False)


@pytest.mark.parametrize("after", ["2", "99", str(2**31), str(2**63), "9" * 30])
def test_beyond_the_last_event_there_is_nothing_and_the_number_comes_back(api: Api, after: str) -> None:
    page = events(api, api.accepted(), f"?lastEventId={after}")
    assert page["events"] == []
    assert page["lastEventId"] == int(after)
    assert page["hasMore"] is False


NO_NUMBERS = ["-1", "1.5", "1e3", "abc", "", " ", "+1", "1_000", "0x10", "٣", "%00", "NaN", "9" * 5000]


@pytest.mark.parametrize("value", NO_NUMBERS)
@pytest.mark.parametrize("path", ["/api/status/{}/events", "/api/builds/{}/events"])
def test_what_is_no_number_is_refused(api: Api, path: str, value: str) -> None:
    response = api.get(f"{path.format(api.accepted().pk)}?lastEventId={value}")
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "INVALID_PARAMETER"
    assert "lastEventId" in response.json()["error"]["message"]


@pytest.mark.parametrize("value", [*NO_NUMBERS, "0", "501", "9" * 30])
def test_a_limit_out_of_bounds_is_refused(api: Api, value: str) -> None:
    response = api.get(f"/api/status/{api.accepted().pk}/events?limit={value}")
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "INVALID_PARAMETER"
    assert "limit" in response.json()["error"]["message"]


def test_an_answer_takes_two_statements(api: Api) -> None:
    upload = api.finished()
    with CaptureQueriesContext(connection) as queries:
        events(api, upload, "?limit=2")
    assert len(queries) <= 2, [query["sql"] for query in queries]


@pytest.mark.parametrize("letter", ["x", "é", "漢", "🎞"])
def test_what_a_step_says_at_length_is_cut_and_marked(api: Api, letter: str) -> None:
    upload = api.accepted()
    upload.log("info", letter * 9000, {"first": 1, "long": letter * 9000, "last": 2})
    event = events(api, upload)["events"][-1]
    assert event["message"].endswith(letter + "…")
    assert MAX_BYTES - 4 < len(event["message"].encode()) <= MAX_BYTES
    assert event["data"] == {"first": 1, "cut": True, "step": "validate"}


def test_many_entries_are_cut_where_there_is_no_more_room(api: Api) -> None:
    upload = api.accepted()
    upload.log("info", "Many.", {f"key {number}": "x" * 100 for number in range(100)})
    data = events(api, upload)["events"][-1]["data"]
    assert data.pop("cut") is True
    assert data.pop("step") == "validate"
    assert list(data) == [f"key {number}" for number in range(len(data))]
    assert 3500 < len(json.dumps(data, ensure_ascii=False)) <= MAX_BYTES


def test_what_is_short_enough_stays_as_it_is(api: Api) -> None:
    upload = api.accepted()
    data = {"text": "é" * 1900, "list": [1, {"deep": None}], "flag": False}
    upload.log("error", "x" * MAX_BYTES, data)
    event = events(api, upload)["events"][-1]
    assert event["message"] == "x" * MAX_BYTES
    assert event["data"] == data | {"step": "validate"}


def test_what_no_database_can_hold_is_replaced(api: Api) -> None:
    upload = api.accepted()
    upload.log("info", "a\0b\ud800", {"a\0": ["b\0", {"c": ("d\ud800", 1, None)}]})
    event = events(api, upload)["events"][-1]
    assert event["message"] == "a\ufffdb?"
    assert event["data"] == {"a\ufffd": ["b\ufffd", {"c": ["d?", 1, None]}], "step": "validate"}


@pytest.mark.parametrize("step", [["a", "list"], {"an": "object"}, "nonsense", None])
def test_which_step_speaks_is_not_for_the_step_to_say(api: Api, step: object) -> None:
    upload = api.accepted()
    upload.log("info", "It is me.", {"step": step})
    assert events(api, upload)["events"][-1]["data"] == {"step": "validate"}
    assert api.get(f"/api/builds/{upload.pk}/events").json()["events"][-1]["type"] == "task_progress"


@pytest.mark.parametrize(
    ("level", "data"), [("debug", {}), ("warning", {}), ("info", {"ratio": float("nan")}), ("info", {"what": object()})]
)
def test_what_could_not_be_told_is_not_recorded(api: Api, level: str, data: dict[str, object]) -> None:
    upload = api.accepted()
    with pytest.raises((ValueError, TypeError)):
        upload.log(level, "Never seen.", data)
    assert len(events(api, upload)["events"]) == 1


def test_a_finished_job_has_its_events_for_ever(api: Api) -> None:
    upload = api.accepted()
    before = events(api, upload)["events"]
    develop(upload)
    assert events(api, upload)["events"][: len(before)] == before
