"""The API in OpenAPI 3.1: what `status/openapi.json` and `/api/docs` are made from.

Views carry their operation by `extend_schema(operation=…)`; answers are made by `status.projections`, and the tests
hold every answer against this.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import groupby
from typing import Any

from django.conf import settings
from drf_spectacular.generators import SchemaGenerator

from status.errors import RETRY_AFTER
from uploads.errors import REASONS
from uploads.stages import Stage, Status, StepName

Json = dict[str, Any]


@cache
def document() -> Json:
    generator = SchemaGenerator()  # type: ignore[no-untyped-call]
    made: Json = generator.get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    return made


def complete(result: Json, **_: Any) -> Json:
    """A hook of drf-spectacular: what the operations refer to."""
    result["components"] = {
        "securitySchemes": {
            "X-Session-Token": {
                "type": "apiKey",
                "in": "header",
                "name": "X-Session-Token",
                "description": "As `POST /api/sessions`, or the first upload, has answered it.",
            }
        },
        "headers": HEADERS,
        "responses": {code: _refusal([code]) for code in _SHARED},
        "schemas": SCHEMAS,
    }
    open_without_token = {name for dialect in settings.OPEN_DIALECTS for name in OPERATIONS_OF[dialect]}
    for methods in result["paths"].values():
        for method, described in methods.items():
            if described["operationId"] in open_without_token:
                methods[method] = described | {"security": [{}, *described["security"]]}
    return result


OPERATIONS_OF = {"messages": ["getMessages"], "builds": ["getBuildEvents", "getBuildStatus"]}
"""By the names that `OPEN_DIALECTS` has for them."""


# Words for schemas


def record(properties: Json, optional: Iterable[str] = (), **more: Any) -> Json:
    """An object that has all of these properties, but perhaps not the optional ones."""
    required = [name for name in properties if name not in set(optional)]
    return {"type": "object", "properties": properties, "required": required} | more


def choice(values: Iterable[str], description: str = "") -> Json:
    return {"type": "string", "enum": [str(value) for value in values]} | _described(description)


def text(description: str = "", **more: Any) -> Json:
    return {"type": "string"} | _described(description) | more


def whole(description: str = "", least: int = 0, **more: Any) -> Json:
    return {"type": "integer", "minimum": least} | _described(description) | more


def always(value: object) -> Json:
    return {"const": value}


def array(items: Json, description: str = "") -> Json:
    return {"type": "array", "items": items} | _described(description)


def ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def nullable(schema: Json, description: str = "") -> Json:
    if "$ref" in schema:
        return {"anyOf": [schema, {"type": "null"}]} | _described(description)
    either = schema | {"type": [schema["type"], "null"]} | _described(description)
    if "enum" in schema:
        either["enum"] = [*schema["enum"], None]
    return either


def _described(description: str) -> Json:
    return {"description": description} if description else {}


ID = text(format="uuid")
TIME = text("UTC, to the millisecond.", format="date-time", pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
PATH = text(format="uri-reference", pattern="^/")
LINK = text("A link that expires.", format="uri", pattern="^https?://")
PERCENT = whole("0 to 100; never goes back.", maximum=100)
MONEY = {"type": "number", "minimum": 0, "description": "US dollars spent on models so far."}
STEP = choice(StepName)
STEP_STATUS = choice(["pending", "running", "completed", "failed", "skipped"])
LEVEL = choice(["info", "warn", "error"])
EVENT_TYPES = [
    "job.accepted",
    "step.started",
    "step.progress",
    "step.completed",
    "step.skipped",
    "step.retrying",
    "step.failed",
    "log",
    "job.completed",
    "job.failed",
    "job.retried",
]
BUILD_EVENT_TYPES = [
    "plan_started",
    "plan_generated",
    "task_started",
    "task_progress",
    "task_completed",
    "task_failed",
    "build_started",
    "deploy_started",
    "deploy_progress",
    "deploy_completed",
    "deploy_failed",
]
FACTS: Json = {"step": nullable(STEP, "What it is about; absent when that is the whole job.")}
_FACTS_BY_TYPE = (
    "Also, by type: `attempt`, `run`, `stage`, `progress`, `code`, `dueAt`; a `log` may have anything else."
)

_STATUS: Json = {
    "success": always(True),
    "jobId": ID,
    "status": choice(Status),
    "stage": nullable(choice(Stage), "None while pending."),
    "progress": PERCENT,
    "resultId": nullable(ID, "Only when completed."),
    "updatedAt": TIME,
    "isTerminal": {"type": "boolean", "description": "Nothing more will happen, unless somebody retries."},
    "createdAt": TIME,
    "startedAt": nullable(TIME),
    "completedAt": nullable(TIME, "When the job ended, well or not."),
    "attempt": whole("Of the current step, in this run."),
    "maxAttempts": whole("For each step.", least=1),
    "run": whole("One more with each retry of a failed job.", least=1),
    "estimatedCompletionAt": nullable(TIME, "Null when nothing is known."),
    "estimatedRemainingSeconds": nullable(whole(), "When this was answered: count down until the next answer."),
    "retryInSeconds": nullable(whole(), "Only while a step waits to be tried again; when this was answered."),
    "queuePosition": nullable(whole("", least=1, maximum=100), "Only while pending: 1 is next, 100 is that or more."),
    "costUsd": MONEY,
    "eventCount": whole("The `id` of the latest event."),
    "urls": ref("Urls"),
    "errorMessage": text("Only when failed: a sentence for a person."),
    "error": ref("Failure"),
}
_ONLY_WHEN_FAILED = ("errorMessage", "error")
_STATUS_RULES: Json = {
    "if": {"properties": {"status": always("failed")}},
    "then": {"required": [*_ONLY_WHEN_FAILED]},
    "else": {"properties": dict.fromkeys(_ONLY_WHEN_FAILED, False)},
}
_MESSAGE: Json = {"ts": TIME, "level": LEVEL, "msg": text(), "data": ref("EventData")}

SCHEMAS: Json = {
    "Error": record(
        {
            "success": always(False),
            "error": record(
                {
                    "code": text("Stable; for programs."),
                    "message": text("A sentence for a person."),
                    "retryable": {"type": "boolean", "description": "The same request may succeed later."},
                }
            ),
        }
    ),
    "SessionOpened": record(
        {"success": always(True), "sessionId": ID, "sessionToken": text("Told this once, and stored nowhere.")}
    ),
    "Urls": record(
        dict.fromkeys(("status", "events", "progress", "job", "page", "cancel", "retry", "again"), PATH),
        description="Where to go on. Build none of these yourself.",
    ),
    "Accepted": record(
        {
            "success": always(True),
            "jobId": ID,
            "sessionToken": text("Only when a session was opened for this upload."),
            "status": choice(Status),
            "stage": nullable(choice(Stage)),
            "progress": PERCENT,
            "webhookSecret": text("Only with a `webhookUrl`: what its messages are signed with.", pattern="^whsec_"),
            "urls": ref("Urls"),
        },
        optional=["sessionToken", "webhookSecret"],
    ),
    "Looks": record({"success": always(True), "looks": array(ref("Look"))}),
    "Look": record(
        {
            "promptVersion": text("What to send a picture with."),
            "name": text("For a person; translated."),
            "description": text("A line for a person; translated."),
            "sampleUrl": text("A small picture of it; does not expire.", format="uri", pattern="^https?://"),
            "costUsd": {"type": "number", "minimum": 0, "description": "US dollars, as expected for one picture."},
            "isDefault": {"type": "boolean", "description": "What is drawn without a `promptVersion`."},
        }
    ),
    "Failure": record(
        {
            "code": text("Stable; for programs. A cancelled job has `CANCELED`."),
            "message": text("A sentence for a person."),
            "retryable": {"type": "boolean", "description": "Whether `urls.retry` is worth a try."},
            "step": nullable(STEP),
        }
    ),
    "Status": record(_STATUS, optional=_ONLY_WHEN_FAILED, **_STATUS_RULES),
    "Event": record(
        {
            "id": whole("1, 2, 3 … within the job, without a gap.", least=1),
            "type": choice(EVENT_TYPES),
            "level": LEVEL,
            "message": text("A sentence for a person."),
            "data": ref("EventData"),
            "timestamp": TIME,
        }
    ),
    "EventData": record(FACTS, optional=FACTS, additionalProperties=True, description=_FACTS_BY_TYPE),
    "Events": record(
        {
            "success": always(True),
            "jobId": ID,
            "events": array(ref("Event"), "Oldest first."),
            "lastEventId": whole("Ask for what comes after this next time."),
            "hasMore": {"type": "boolean", "description": "There are newer ones already."},
        }
    ),
    "Result": record(
        {
            "success": always(True),
            "resultId": ID,
            "jobId": ID,
            "previewUrl": nullable(LINK, "With the watermark."),
            "thumbnailUrl": LINK,
            "downloadUrl": nullable(LINK, "The preview, to be kept: browsers save it instead of showing it."),
            "fullUrl": nullable(LINK, "Null until somebody unlocks it."),
            "fullDownloadUrl": nullable(LINK, "The full picture, to be kept; null until somebody unlocks it."),
            "expiresAt": TIME | {"description": "When the links stop to open. Ask again for new ones."},
            "width": whole("Pixels of the full picture.", least=1),
            "height": whole("", least=1),
            "contentType": text("Of the full picture."),
            "model": text(),
            "promptVersion": text(),
        }
    ),
    "Jobs": record(
        {
            "success": always(True),
            "jobs": array(ref("ListedJob"), "Newest first."),
            "nextCursor": nullable(ID, "For the next page; null on the last."),
        }
    ),
    "ListedJob": record(
        _STATUS | {"source": text("The caller's own reference.")}, optional=_ONLY_WHEN_FAILED, **_STATUS_RULES
    ),
    "Step": record(
        {
            "name": STEP,
            "status": STEP_STATUS,
            "attempt": whole(),
            "startedAt": nullable(TIME),
            "completedAt": nullable(TIME),
            "durationMs": nullable(whole()),
            "error": nullable(text(), "A sentence for a person."),
        }
    ),
    "Job": record(
        _STATUS
        | {
            "runId": text("Of the worker's latest task; empty before the first."),
            "source": text("The caller's own reference."),
            "promptVersion": text(),
            "originalName": text("As the sender called the file."),
            "contentType": text("Of the picture that was sent."),
            "byteSize": whole(least=1),
            "width": whole(least=1),
            "height": whole(least=1),
            "steps": array(ref("Step"), "All four, in order."),
            "result": nullable(ref("Result"), "Null before the end, and once the files are gone."),
        },
        optional=_ONLY_WHEN_FAILED,
        **_STATUS_RULES,
    ),
    "Stats": record(
        {
            "success": always(True),
            "total": whole(),
            "byStatus": record({status: whole() for status in Status}),
            "meanDurationMs": nullable(whole(), "Of the latest 1000 completed jobs; null without one."),
            "p95DurationMs": nullable(whole(), "Of the same jobs."),
            "retries": whole(),
            "costUsd": MONEY,
        }
    ),
    "Messages": record(
        {
            "jobId": ID,
            "state": choice(["queued", "running", "completed", "failed"]),
            "step": choice(["start", *(stage for stage in Stage if not stage.is_terminal), "done", "failed"]),
            "percent": whole("100 at both ends.", maximum=100),
            "messages": array(record(_MESSAGE, optional=["data"]), "Every event."),
            "errors": array(
                record({key: value for key, value in _MESSAGE.items() if key != "level"}, optional=["data"]),
                "The events of level error.",
            ),
            "updatedAt": TIME,
        }
    ),
    "BuildEvents": record(
        {"buildId": text(), "events": array(ref("BuildEvent"), "Oldest first."), "lastEventId": whole()}
    ),
    "BuildEvent": record(
        {
            "id": whole("1, 2, 3 … within the job, without a gap.", least=1),
            "type": choice(BUILD_EVENT_TYPES),
            "data": record(
                FACTS
                | {
                    "message": text("A sentence for a person."),
                    "previewUrl": nullable(LINK, "With `deploy_completed`; null once the files are gone."),
                },
                optional=[*FACTS, "previewUrl"],
                additionalProperties=True,
                description=_FACTS_BY_TYPE,
            ),
            "timestamp": TIME,
        }
    ),
    "BuildEventsUnavailable": record(
        {
            "success": always(False),
            "error": record({"code": always("UNAVAILABLE"), "message": text(), "retryable": always(True)}),
            "events": {"type": "array", "maxItems": 0},
            "lastEventId": whole("As it was sent."),
        }
    ),
    "BuildStatus": record(
        {
            "buildId": text(),
            "status": choice(["unknown", "planning", "executing", "deploying", "completed", "failed"]),
            "progress": PERCENT,
            "previewUrl": nullable(LINK, "Only when completed."),
            "error": nullable(text(), "A sentence for a person."),
            "eventCount": whole(),
            "lastUpdate": nullable(TIME, "Null for an unknown job."),
        }
    ),
    "Progress": record(
        {
            "data": record(
                {
                    "project_id": ID,
                    "status": choice(
                        ["pending", *(stage for stage in Stage if not stage.is_terminal), "completed", "failed"]
                    ),
                    "pipeline_progress": PERCENT,
                    "current_step": nullable(STEP, "Null once the job has ended."),
                    "steps": array(
                        record(
                            {
                                "name": STEP,
                                "status": STEP_STATUS,
                                "started_at": TIME,
                                "completed_at": TIME,
                                "duration_ms": whole(),
                                "error": text("A sentence for a person."),
                            },
                            optional=["started_at", "completed_at", "duration_ms", "error"],
                        ),
                        "All four, in order; without the keys that have no value yet.",
                    ),
                    "is_processing": {"type": "boolean", "description": "Not ended yet; true while pending, too."},
                    "error": nullable(text(), "A sentence for a person."),
                    "estimated_remaining_seconds": nullable(whole()),
                    "llm_cost_so_far_usd": MONEY,
                }
            )
        }
    ),
}

HEADERS: Json = {
    "ETag": {"description": "The version of this answer, for `If-None-Match`. Not while pending.", "schema": text()},
    "Retry-After": {"description": "Seconds to wait before asking again.", "schema": whole(least=1)},
    "Location": {"description": "The status of the job.", "schema": PATH},
    "Idempotent-Replayed": {
        "description": "This picture had come with this key before: here is that answer again.",
        "schema": choice(["true"]),
    },
    "Cache-Control": {"description": "Nobody but the caller keeps this.", "schema": text()},
    "WWW-Authenticate": {"description": "The header that the token goes in.", "schema": text()},
}


# Words for operations


def answer(description: str, schema: str = "", headers: Sequence[str] = ()) -> Json:
    response: Json = {"description": description}
    if headers:
        response["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in headers}
    if schema:
        response["content"] = {"application/json": {"schema": ref(schema)}}
    return response


def parameter(name: str, description: str, schema: Json, where: str = "query") -> Json:
    return {"name": name, "in": where, "description": description, "schema": schema, "required": where == "path"}


def operation(
    name: str,
    tag: str,
    summary: str,
    answers: Json,
    *,
    errors: Sequence[str] = ("UNAUTHORIZED",),
    parameters: Sequence[Json] = (),
    description: str = "",
    token: bool | None = True,
    **more: Any,
) -> Json:
    """`token`: whether it wants one; None when it may do without. Every operation may also meet a fault of ours."""
    needs: list[Json] = [{"X-Session-Token": []}] if token or token is None else []
    return {
        "operationId": name,
        "tags": [tag],
        "summary": summary,
        **_described(description),
        "security": [{}, *needs] if token is None else needs,
        "parameters": list(parameters),
        **more,
        "responses": _errors([*errors, "NOT_ACCEPTABLE", "RATE_LIMITED", "INTERNAL", "UNAVAILABLE"]) | answers,
    }


def _errors(codes: Iterable[str]) -> Json:
    """One answer for each status."""
    by_status = groupby(sorted(codes, key=_status_of), key=_status_of)
    return {str(status): _error(list(same)) for status, same in by_status}


def _status_of(code: str) -> int:
    return REASONS[code].status


def _error(codes: list[str]) -> Json:
    if len(codes) == 1 and codes[0] in _SHARED:
        return {"$ref": f"#/components/responses/{codes[0]}"}
    return _refusal(codes)


def _refusal(codes: list[str]) -> Json:
    """An answer that tells one of these codes."""
    description = "\n".join(f"- `{code}`: {REASONS[code].message}" for code in codes)
    headers = ["WWW-Authenticate"] if "UNAUTHORIZED" in codes else []
    if {"RATE_LIMITED", *RETRY_AFTER} & set(codes):
        headers.append("Retry-After")
    response = answer(description, "Error", headers)
    response["content"]["application/json"]["schema"] = {
        "allOf": [ref("Error"), {"properties": {"error": {"properties": {"code": {"enum": codes}}}}}]
    }
    return response


_SHARED = (
    *("UNAUTHORIZED", "NOT_FOUND", "INVALID_PARAMETER", "NOT_ACCEPTABLE"),
    *("RATE_LIMITED", "INTERNAL", "UNAVAILABLE"),
)
JOB = ("UNAUTHORIZED", "NOT_FOUND")
JOB_ID = parameter("job_id", "As it was accepted.", ID, "path")
WATCHED = ("Retry-After", "Cache-Control")
LAST_EVENT_ID = parameter("lastEventId", "Only events after this one.", whole(default=0))

OPEN_SESSION = operation(
    "openSession",
    "Sending",
    "Open a session",
    {"201": answer("The token opens this session's jobs, and no others.", "SessionOpened", ["Cache-Control"])},
    errors=(),
    token=False,
)
CLOSE_SESSION = operation(
    "closeSession", "Sending", "Forget a session", {"204": answer("The token opens nothing any more.")}
)
LIST_LOOKS = operation(
    "listLooks",
    "Sending",
    "The looks on offer",
    {"200": answer("In the order in which they are to be shown.", "Looks")},
    errors=(),
    token=False,
)
RETRY_JOB = operation(
    "retryJob",
    "Jobs",
    "Try a failed job again",
    {"202": answer("It goes on from the failed step, and keeps what is done.", "Accepted")},
    errors=(*JOB, "NOT_RETRYABLE"),
    parameters=[JOB_ID],
)
CANCEL_JOB = operation(
    "cancelJob",
    "Jobs",
    "Cancel a job",
    {"202": answer("It has failed, with the code `CANCELED`.", "Accepted")},
    errors=(*JOB, "ALREADY_FINISHED"),
    parameters=[JOB_ID],
)
GET_STATUS = operation(
    "getStatus",
    "Watching",
    "Where a job is",
    {
        "200": answer("The same document in every state.", "Status", ["ETag", *WATCHED]),
        "304": answer("Nothing has changed since the version in `If-None-Match`.", headers=["ETag", *WATCHED]),
    },
    errors=JOB,
    parameters=[JOB_ID, parameter("If-None-Match", "The `ETag` of an earlier answer.", text(), "header")],
    description="Ask again after `Retry-After` seconds, until `isTerminal`.",
)
GET_EVENTS = operation(
    "getEvents",
    "Watching",
    "What has happened to a job",
    {"200": answer("Only what is newer than `lastEventId`, in order, without a gap.", "Events", WATCHED)},
    errors=(*JOB, "INVALID_PARAMETER"),
    parameters=[
        JOB_ID,
        LAST_EVENT_ID,
        parameter("limit", "At most as many.", whole(least=1, maximum=500, default=100)),
    ],
)
GET_RESULT = operation(
    "getResult",
    "Watching",
    "What came of a job",
    {"200": answer("Links to the pictures.", "Result", ["Cache-Control"])},
    errors=(*JOB, "EXPIRED"),
    parameters=[parameter("result_id", "`resultId` of a completed job.", ID, "path")],
)
LIST_JOBS = operation(
    "listJobs",
    "Jobs",
    "This session's jobs",
    {"200": answer("Newest first.", "Jobs", ["Cache-Control"])},
    errors=("UNAUTHORIZED", "INVALID_PARAMETER"),
    parameters=[
        parameter("status", "Only these.", choice(Status)),
        parameter("stage", "Only these.", choice(Stage)),
        parameter("source", "Only those that were sent with this `source`.", text(maxLength=255)),
        parameter("limit", "At most as many.", whole(least=1, maximum=100, default=20)),
        parameter("cursor", "`nextCursor` of the page before.", ID),
    ],
)
GET_STATS = operation(
    "getStats",
    "Jobs",
    "Counts, durations, retries and cost of this session's jobs",
    {"200": answer("Of all jobs that are not deleted.", "Stats", ["Cache-Control"])},
)
GET_JOB = operation(
    "getJob",
    "Jobs",
    "Everything about a job",
    {"200": answer("The status, the steps and the result.", "Job", WATCHED)},
    errors=JOB,
    parameters=[JOB_ID],
)
DELETE_JOB = operation(
    "deleteJob",
    "Jobs",
    "Delete a job",
    {"204": answer("It is not found from now on; files and record follow.")},
    errors=JOB,
    parameters=[JOB_ID],
)
GET_MESSAGES = operation(
    "getMessages",
    "Dialects",
    "A job as state, step, percent and messages",
    {"200": answer("With every event.", "Messages", WATCHED)},
    errors=JOB,
    parameters=[JOB_ID],
)
BUILD_ID = parameter("build_id", "A `jobId`.", ID, "path")
GET_BUILD_EVENTS = operation(
    "getBuildEvents",
    "Dialects",
    "A job's events, as those of a build",
    {
        "200": answer("No events for an unknown job.", "BuildEvents", ["Cache-Control"]),
        "503": answer("Not available at the moment; ask again.", "BuildEventsUnavailable", ["Retry-After"]),
    },
    errors=("UNAUTHORIZED", "INVALID_PARAMETER"),
    parameters=[BUILD_ID, LAST_EVENT_ID],
)
GET_BUILD_STATUS = operation(
    "getBuildStatus",
    "Dialects",
    "A job's status, as that of a build",
    {"200": answer("`unknown` for an unknown job.", "BuildStatus", WATCHED)},
    parameters=[BUILD_ID],
)
GET_PROGRESS = operation(
    "getProgress",
    "Dialects",
    "A job as a project and the steps of its pipeline",
    {"200": answer("Read from the record, and nothing computed.", "Progress", WATCHED)},
    errors=JOB,
    parameters=[parameter("project_id", "A `jobId`.", ID, "path")],
)
GET_SCHEMA = operation(
    "getSchema",
    "Documentation",
    "This description, in OpenAPI 3.1",
    {"200": {"description": "OpenAPI 3.1.", "content": {"application/json": {"schema": {"type": "object"}}}}},
    errors=(),
    token=False,
)


IDEMPOTENCY_KEY = parameter(
    "Idempotency-Key",
    "The same key with the same picture is the same job; for as long as the job lives. Needs a token.",
    text(minLength=1, maxLength=255),
    "header",
)
ACCEPTED = ("Location", "Retry-After", "Cache-Control", "Idempotent-Replayed")


def paint_again(prompt_versions: Iterable[str]) -> Json:
    """The operation that gives a picture another look; which there are, only `workflows` knows."""
    body = record({"promptVersion": choice(prompt_versions)}, additionalProperties=True)
    return operation(
        "paintAgain",
        "Jobs",
        "Give a picture another look",
        {
            "202": answer(
                "A new job of the same picture, which is neither sent nor checked again.", "Accepted", ACCEPTED
            ),
            "409": _refusal(["EXPIRED"]),
        },
        errors=(
            *(*JOB, "INVALID_PARAMETER", "IDEMPOTENCY_MISMATCH"),
            *("UNSUPPORTED_TYPE", "IMAGE_TOO_LARGE", "UNREADABLE_IMAGE"),
            *("QUEUE_FULL", "BUDGET_EXHAUSTED", "STORAGE_FULL", "STORAGE_UNAVAILABLE"),
        ),
        parameters=[JOB_ID, IDEMPOTENCY_KEY],
        description=(
            "Both jobs have a copy of the picture: to delete one loses nothing of the other. The new job has the "
            "`source` of the first, and its changes of stage are told to the first job's `webhookUrl`, under its own "
            "`jobId`. "
            "A picture whose check has failed for good is refused for the same reason."
        ),
        requestBody={"required": True, "content": {"application/json": {"schema": body}}},
    )


def send_picture(prompt_versions: Iterable[str]) -> Json:
    """The operation that takes a picture in; which prompts there are, only `workflows` knows."""
    fields = {
        "image": text("JPEG, PNG, WebP, GIF (its first frame), AVIF or HEIC.", format="binary"),
        "promptVersion": choice(prompt_versions),
        "source": text("A reference of your own, for `GET /api/jobs?source=`.", maxLength=255),
        "webhookUrl": text("Where each change of stage is told: https, and on the public internet.", maxLength=2000),
    }
    form = record(fields, optional=["promptVersion", "source", "webhookUrl"])
    return operation(
        "sendPicture",
        "Sending",
        "Send a picture",
        {
            "202": answer(
                "The picture is safe, and its job will end.",
                "Accepted",
                ACCEPTED,
            )
        },
        errors=(
            *("MISSING_IMAGE", "INVALID_PARAMETER", "UNAUTHORIZED", "FILE_TOO_LARGE", "UNSUPPORTED_TYPE"),
            *("IMAGE_TOO_LARGE", "MEMORY_EXCEEDED", "UNREADABLE_IMAGE", "IDEMPOTENCY_MISMATCH"),
            *("QUEUE_FULL", "BUDGET_EXHAUSTED", "STORAGE_FULL", "STORAGE_UNAVAILABLE"),
        ),
        parameters=[IDEMPOTENCY_KEY],
        description="Without a token a session is opened for it, and its token is part of the answer.",
        token=None,
        requestBody={"required": True, "content": {"multipart/form-data": {"schema": form}}},
    )
