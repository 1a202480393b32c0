"""Every operation of the OpenAPI document, called with all that it allows, and with much that it does not."""

from collections.abc import Iterator

import pytest
import schemathesis
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from hypothesis import HealthCheck, given, settings
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.core.result import Ok

from status.schema import document
from tests.support.api import Api
from tests.support.examples import examples
from tests.support.factories import UploadFactory
from uploads.errors import CodedError
from uploads.models import Result, Upload

pytestmark = pytest.mark.django_db

OPERATIONS = [
    f"{method.upper()} {path}"
    for path, methods in document()["paths"].items()
    for method in methods
    if path != "/api/schema"  # where schemathesis gets the document from, it does not call again
]
TAKES_NOTHING = {"POST /api/sessions", "GET /api/looks"}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
STATES = ["pending", "processing", "failed", "declined", "completed"]
VALID, UNKNOWN_TOKEN = "as it was made up", "unknown token"
SITUATIONS = [*STATES, VALID, UNKNOWN_TOKEN]
"""In the first ones there is such a job."""


@pytest.fixture(scope="module")
def operations() -> Iterator[dict[str, APIOperation]]:
    """The application as a server has it, but in the transaction of the test."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    schema = schemathesis.openapi.from_wsgi("/api/schema", get_wsgi_application())
    found = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]
    yield {operation.label: operation for operation in found}
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


def test_no_operation_is_left_out(operations: dict[str, APIOperation]) -> None:
    assert set(operations) == set(OPERATIONS)


@pytest.mark.parametrize("label", OPERATIONS)
def test_what_the_document_allows_is_answered_as_it_says(
    api: Api, operations: dict[str, APIOperation], label: str
) -> None:
    answered = call(operations[label], api, GenerationMode.POSITIVE)
    assert answered & {200, 201, 202, 204}, answered
    assert 401 in answered or label in TAKES_NOTHING
    assert 404 in answered or "{" not in label or "/builds/" in label


@pytest.mark.parametrize("label", [label for label in OPERATIONS if label not in TAKES_NOTHING])
def test_what_the_document_does_not_allow_is_answered_as_it_says(
    api: Api, operations: dict[str, APIOperation], label: str
) -> None:
    call(operations[label], api, GenerationMode.NEGATIVE)


def call(operation: APIOperation, api: Api, mode: GenerationMode) -> set[int]:
    """Many times in each situation; returns the statuses."""
    answered: set[int] = set()
    situations = SITUATIONS if "{" in operation.path else [VALID, UNKNOWN_TOKEN]
    # An upload that is accepted is seldom made up.
    count = 48 if operation.label == "POST /api/uploads" else max(2 * len(situations), examples(48))

    @settings(
        max_examples=count // len(situations),
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def one(case: Case, situation: str) -> None:
        case.headers["X-Session-Token"] = "unknown" if situation == UNKNOWN_TOKEN else api.token
        if situation in STATES:
            upload = job_in(situation, api)
            ids = {"resultId": upload.result.pk} if situation == "completed" else {}
            case.path_parameters = {name: str(ids.get(name, upload.pk)) for name in case.path_parameters}
        answered.add(case.call_and_validate(checks=CHECKS).status_code)

    for situation in situations:
        one(situation=situation)
    return answered


def job_in(state: str, api: Api) -> Upload:
    upload: Upload = UploadFactory.create(session=api.session)
    default_storage.save(str(upload.original), ContentFile(b"a picture"))
    if state == "processing":
        upload.update_stage("generating", 45, message="Nearly half.")
    if state == "failed":
        upload.fail(CodedError("WORKER_LOST"))
    if state == "declined":
        upload.fail(CodedError("CONTENT_BLOCKED"))
    if state == "completed":
        Result.objects.create(
            upload=upload,
            full="full.webp",
            preview="preview.webp",
            thumbnail="thumbnail.webp",
            width=6,
            height=4,
            content_type="image/webp",
            model="m",
            prompt_version="v1",
        )
        upload.update_stage("complete")
    return upload
