"""`/api/docs`: the operations of the OpenAPI document, flattened for a template."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

Json = dict[str, Any]


class Operation(NamedTuple):
    method: str
    path: str
    name: str
    summary: str
    description: str
    token: str
    inputs: list[Json]
    answers: list[Json]


FAULTS = ("NOT_ACCEPTABLE", "RATE_LIMITED", "INTERNAL", "UNAVAILABLE")
"""Which every operation may answer: said once."""


def docs_context(document: Json) -> Json:
    schemas, shared = document["components"]["schemas"], document["components"]["responses"]
    return {
        "info": document["info"],
        "tags": [tag | {"operations": list(_operations(document, tag["name"]))} for tag in document["tags"]],
        "faults": [line for fault in FAULTS for line in _lines(shared[fault]["description"])],
        "schemas": [{"name": name, "rows": list(_rows(schemas[name]))} for name in sorted(schemas)],
    }


def _operations(document: Json, tag: str) -> Iterator[Operation]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if tag in operation["tags"]:
                yield Operation(
                    method.upper(),
                    path,
                    operation["operationId"],
                    operation["summary"],
                    _plain(operation.get("description", "")),
                    _token(operation["security"]),
                    list(_inputs(operation)),
                    list(_answers(document, operation["responses"])),
                )


def _token(security: list[Json]) -> str:
    if not security:
        return "no token"
    return "X-Session-Token, if there is one" if {} in security else "X-Session-Token"


def _inputs(operation: Json) -> Iterator[Json]:
    for parameter in operation["parameters"]:
        yield _row(parameter["name"], parameter | parameter["schema"], required=parameter["required"]) | {
            "description": _plain(parameter["description"]),
            "in": parameter["in"],
        }
    for content in operation.get("requestBody", {}).get("content", {}).values():
        for row in _rows(content["schema"]):
            yield row | {"in": "form"}


def _answers(document: Json, responses: Json) -> Iterator[Json]:
    for status in sorted(responses):
        told, shared = responses[status], _last(responses[status].get("$ref", ""))
        if shared in FAULTS:
            continue
        told = document["components"]["responses"].get(shared, told)
        content = told.get("content", {}).get("application/json", {}).get("schema", {})
        yield {
            "status": status,
            "lines": _lines(told["description"]),
            "headers": sorted(told.get("headers", {})),
            "schema": _refers(content.get("allOf", [content])[0]),
        }


def _lines(description: str) -> list[str]:
    return [line.removeprefix("- ") for line in _plain(description).splitlines()]


def _plain(description: str) -> str:
    return description.replace("`", "")


def _rows(schema: Json, prefix: str = "") -> Iterator[Json]:
    """Every property, also those of objects inside."""
    for name, value in schema["properties"].items():
        yield _row(prefix + name, value, required=name in schema["required"])
        if "properties" in value:
            yield from _rows(value, f"{prefix}{name}.")
        elif "properties" in value.get("items", {}):
            yield from _rows(value["items"], f"{prefix}{name}[].")


def _row(name: str, schema: Json, *, required: bool) -> Json:
    return {
        "name": name,
        "kind": kind(schema),
        "refers": _refers(schema),
        "required": required,
        "description": _plain(schema.get("description", "")),
    }


def _refers(schema: Json) -> str:
    """The name of the schema that this one refers to, if it does."""
    either = schema.get("anyOf", [schema])[0]
    return _last(either.get("items", either).get("$ref", ""))


def kind(schema: Json) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        return _last(schema["$ref"])
    if "anyOf" in schema:
        return " or ".join(kind(each) for each in schema["anyOf"])
    if "const" in schema:
        return _word(schema["const"])
    if "enum" in schema:
        return " | ".join(_word(value) for value in schema["enum"])
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if "array" in types and "items" in schema:
        return f"array of {kind(schema['items'])}"
    return " or ".join([str(schema.get("format", types[0])) + _bounds(schema), *types[1:]])


def _bounds(schema: Json) -> str:
    """Those of a parameter, mostly: `1 to 500, 100 when absent`."""
    most = schema.get("maximum")
    bounds = f" {schema['minimum']} to {most}" if most else ""
    if "maxLength" in schema:
        bounds = f" of at most {schema['maxLength']} characters"
    return bounds + (f", {schema['default']} when absent" if "default" in schema else "")


def _last(reference: str) -> str:
    return reference.rpartition("/")[2]


def _word(value: object) -> str:
    """A value as JSON has it, but text without quotes."""
    return value if isinstance(value, str) else json.dumps(value)
