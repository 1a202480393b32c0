"""The API's promise about its own answers: every answer to `ContractClient` is held against the OpenAPI document.

Stricter than the document, which leaves room for more: what it does not name may not be there.
"""

import json
import re
from functools import cache
from typing import Any

from django.test import Client
from jsonschema import Draft202012Validator

from status.errors import API
from status.schema import document

Json = dict[str, Any]
SELDOM = {"ETag", "Idempotent-Replayed"}
"""Headers that not every answer of their status has; neither has a 200 of `Retry-After`: not once the job ended."""


class ContractClient(Client):
    def request(self, **environment: Any) -> Any:
        response = super().request(**environment)
        check(environment["REQUEST_METHOD"], environment["PATH_INFO"], response)
        return response


def check(method: str, path: str, response: Any) -> None:
    operation = _operation(method, path)
    if operation is not None:
        _check_documented(f"{method} {path} {response.status_code}", operation, response)
    elif method != "HEAD" and API.fullmatch(path) and response.status_code >= 400:
        _check_body(f"{method} {path} {response.status_code}", {"$ref": "#/components/schemas/Error"}, response)


def _check_documented(what: str, operation: Json, response: Any) -> None:
    told = operation["responses"].get(str(response.status_code))
    assert told, f"{what} is not documented"
    told = _resolved(told)
    missing = set(told.get("headers", {})) - SELDOM - set(response.headers)
    if response.status_code in {200, 304}:
        missing.discard("Retry-After")
    assert not missing, f"{what} has no {missing}"
    if "content" in told:
        _check_body(what, told["content"]["application/json"]["schema"], response)
    else:
        assert response.content == b"", f"{what} has a body"


def _check_body(what: str, schema: Json, response: Any) -> None:
    assert response["Content-Type"] == "application/json", what
    validator = _validator(json.dumps(schema))
    problems = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(response.json())]
    assert not problems, f"{what}: {problems}"


@cache
def _validator(schema: str) -> Draft202012Validator:
    """By its text: to make one costs more than to use it."""
    return Draft202012Validator({**json.loads(schema), "components": _strict()["components"]})


def _operation(method: str, path: str) -> Json | None:
    for pattern, methods in _paths():
        if pattern.fullmatch(path):
            return methods.get(method.lower())
    return None


@cache
def _paths() -> list[tuple[re.Pattern[str], Json]]:
    """Literal paths go before those with a parameter."""
    paths = sorted(_strict()["paths"].items(), key=lambda item: item[0].count("{"))
    return [(re.compile(re.sub(r"\{\w+\}", "[^/]+", template), re.DOTALL), methods) for template, methods in paths]


def _resolved(told: Json) -> Json:
    if "$ref" not in told:
        return told
    shared: Json = _strict()["components"]["responses"][told["$ref"].rpartition("/")[2]]
    return shared


@cache
def _strict() -> Json:
    closed: Json = _closed(document())
    return closed


def _closed(schema: Any) -> Any:
    """The same, but an object may have no property that is not named, unless it says that it may."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    inside = {key: _closed(value) for key, value in schema.items()}
    named = schema.get("type") == "object" and "properties" in schema
    return {"additionalProperties": False} | inside if named else inside
