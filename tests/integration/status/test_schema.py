"""The OpenAPI document: committed, served, shown, and true."""

import json
import re
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import call_command
from django.http import JsonResponse
from django.test import Client
from django.urls import get_resolver

from status.schema import document
from tests.support.contract import check

COMMITTED = settings.BASE_DIR / "status" / "openapi.json"
REGENERATE = "python manage.py spectacular --format openapi-json --validate --fail-on-warn --file status/openapi.json"


def test_the_committed_document_is_the_one_that_the_views_make(tmp_path: Path) -> None:
    made = tmp_path / "openapi.json"
    call_command("spectacular", "--format=openapi-json", "--validate", "--fail-on-warn", "--file", str(made))
    assert made.read_text() == COMMITTED.read_text(), f"to make it anew: {REGENERATE}"


def test_the_document_is_served(client: Client) -> None:
    response = client.get("/api/schema")
    assert (response.status_code, response["Content-Type"]) == (200, "application/json")
    assert response.json() == json.loads(COMMITTED.read_text())


def test_every_route_of_the_api_is_in_it() -> None:
    routes = {
        "/" + re.sub(r"<str:(\w+)>", "{}", route)
        for prefix in get_resolver().url_patterns
        for pattern in getattr(prefix, "url_patterns", [prefix])
        if (route := str(pattern.pattern)).startswith("api/") or route.endswith("/status")
    }
    assert {re.sub(r"\{\w+\}", "{}", path) for path in document()["paths"]} == routes - {"/api/docs"}


def test_operations_have_names_of_their_own() -> None:
    operations = [operation for path in document()["paths"].values() for operation in path.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(names) == len(set(names))
    tags = {tag["name"] for tag in document()["tags"]}
    assert {tag for operation in operations for tag in operation["tags"]} == tags


@pytest.mark.parametrize("kind", ["schemas", "headers", "responses", "securitySchemes"])
def test_everything_that_is_referred_to_is_there_and_nothing_else(kind: str) -> None:
    text = json.dumps(document())
    used = set(re.findall(rf"#/components/{kind}/([\w-]+)", text))
    if kind == "securitySchemes":
        used = {"X-Session-Token"}
    assert used == set(document()["components"][kind])


def test_the_page_shows_every_operation_and_needs_nothing_from_elsewhere(client: Client) -> None:
    response = client.get("/api/docs")
    assert response.status_code == 200
    page = response.content.decode()
    for path, methods in document()["paths"].items():
        for operation in methods.values():
            assert path in page
            assert f'id="{operation["operationId"]}"' in page
    for name in document()["components"]["schemas"]:
        assert f'id="schema-{name}"' in page
    assert not re.search(r"<style|<script|\sstyle=|\son\w+=|(src|href)=\"(?!/|#)", page)
    for target in re.findall(r'href="#([\w-]+)"', page):
        assert f'id="{target}"' in page, target


GOOD = {"success": True, "total": 0, "byStatus": dict.fromkeys(("pending", "processing", "completed", "failed"), 0)}
GOOD |= {"meanDurationMs": None, "p95DurationMs": None, "retries": 0, "costUsd": 0.0}


def told(body: dict[str, object], status: int = 200, kind: str = "application/json") -> JsonResponse:
    headers = {"Cache-Control": "private", "WWW-Authenticate": "X-Session-Token"}
    response = JsonResponse(body, status=status, headers=headers, content_type=kind)
    response.json = lambda: body  # type: ignore[attr-defined]
    return response


def test_an_answer_that_keeps_the_contract_passes() -> None:
    check("GET", "/api/jobs/stats", told(GOOD))


@pytest.mark.parametrize(
    "response",
    [
        told(GOOD | {"total": "0"}),
        told(GOOD | {"more": 1}),
        told({key: value for key, value in GOOD.items() if key != "retries"}),
        told(GOOD | {"byStatus": {}}),
        told(GOOD, status=418),
        told(GOOD, kind="text/plain"),
        told({"detail": "Not found."}, status=401),
    ],
    ids=["type", "more", "missing", "nested", "status", "content type", "error"],
)
def test_an_answer_that_breaks_the_contract_is_caught(response: JsonResponse) -> None:
    with pytest.raises(AssertionError):
        check("GET", "/api/jobs/stats", response)
