import json
import random
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, TypeVar

from django.conf import settings
from django.core import signing
from django.core.files.storage import default_storage
from django.db import DatabaseError
from django.http import FileResponse, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotModified
from django.shortcuts import render
from django.utils import timezone
from django.utils.cache import patch_cache_control
from django.views.decorators.http import require_safe
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import Throttled
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from status import analytics, schema, throttling
from status.authentication import Found, canonical_uuid, find_upload, session_of, upload_of
from status.docs import docs_context
from status.errors import not_found, reads_only
from status.negotiation import JSON, takes_json
from status.projections import (
    build_document,
    build_event_document,
    event_document,
    job_document,
    messages_document,
    preview_url,
    progress_document,
    result_document,
    status_document,
)
from uploads.errors import CodedError
from uploads.models import Event, Result, Session, Upload, UploadQuerySet
from uploads.stages import TERMINAL, Stage, Status
from uploads.storage import in_link, shown_as

MOST_EVENTS = 2**31 - 1
"""No job has more, and no column holds more."""


class StatusView(APIView):
    """Where a job is: 200 in every state; 304 for a version that the poller has already.

    By far the most requests are polls that go well: they are answered before Django REST framework looks at what it
    would have to choose between. It does for all others.
    """

    throttle_classes = ()  # counted before anything is dispatched
    _found: Found
    _trouble: Exception | None = None

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if request.method in {"GET", "HEAD"}:
            try:
                self._found = self._find(request, **kwargs)
            except (CodedError, Throttled, DatabaseError) as error:
                self._trouble = error  # `get` raises it, where there are words for it
            else:
                if takes_json(request):
                    return _answer(request, self._found)
        return super().dispatch(request, *args, **kwargs)

    def _find(self, request: HttpRequest, job_id: str) -> Found:
        throttling.count_poll(request)
        found = find_upload(request, job_id)
        analytics.status_poll(found.read)
        return found

    @extend_schema(operation=schema.GET_STATUS)
    def get(self, request: Request, job_id: str) -> HttpResponse:
        if self._trouble:
            raise self._trouble
        return _answer(request._request, self._found)


def _answer(request: HttpRequest, found: Found) -> HttpResponse:
    # Not while pending: the place in the queue changes, and the row does not.
    if found.stage and _is_known(found.etag, request):
        return watched(HttpResponseNotModified(headers={"ETag": found.etag}), found.stage)
    response = HttpResponse(encoded(status_document(found.read(), timezone.now())), JSON)
    if found.stage:
        response["ETag"] = found.etag
    return watched(response, found.stage)


def _is_known(etag: str, request: HttpRequest) -> bool:
    headers = request.META  # without taking every header apart, as request.headers does
    sent = headers.get("HTTP_IF_NONE_MATCH", "")
    return sent in {etag, "*"} or etag in [one.strip().removeprefix("W/") for one in sent.split(",")]


encoded = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
"""As a renderer would, without what it asks before: a poll is answered in one way."""

AnyResponse = TypeVar("AnyResponse", bound=HttpResponse)


def watched(response: AnyResponse, stage: str | None) -> AnyResponse:
    """When to ask again, and that nobody else may keep the answer."""
    if stage not in TERMINAL:
        response["Retry-After"] = retry_after()
    response["Cache-Control"] = "private, no-cache"
    return response


def retry_after() -> str:
    """2 or 3 seconds: pollers that began together drift apart."""
    return "2" if random.random() < 0.5 else "3"  # noqa: S311 - no secret


class EventsView(APIView):
    """What has happened since event N."""

    @extend_schema(operation=schema.GET_EVENTS)
    def get(self, request: Request, job_id: str) -> Response:
        upload = upload_of(request, job_id)
        after, limit = _after(request), _number(request, "limit", 100, least=1, most=500)
        events, more = _events(upload, after, limit)
        document = {
            "success": True,
            "jobId": str(upload.pk),
            "events": [event_document(event) for event in events],
            "lastEventId": events[-1].seq if events else after,
            "hasMore": more,
        }
        return watched(Response(document), upload.stage)


def _events(upload: Upload, after: int, limit: int) -> tuple[list[Event], bool]:
    newer = upload.events.filter(seq__gt=min(after, MOST_EVENTS)).order_by("seq")[: limit + 1]
    events = list(newer)
    return events[:limit], len(events) > limit


def _after(request: Request) -> int:
    return _number(request, "lastEventId", 0, least=0, most=None)


def _number(request: Request, name: str, default: int, *, least: int, most: int | None) -> int:
    text = request.query_params.get(name, str(default))
    # Digits only: int() would also take " 1", "1_0" and the digits of other scripts.
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 100 else -1
    if number < least or (most is not None and number > most):
        bounds = f"from {least} to {most}" if most is not None else f"of at least {least}"
        raise CodedError("INVALID_PARAMETER", f"“{name}” must be a whole number {bounds}.")
    return number


class JobsView(APIView):
    """This session's jobs, newest first; `nextCursor` leads to the page after."""

    @extend_schema(operation=schema.LIST_JOBS)
    def get(self, request: Request) -> Response:
        jobs = Upload.objects.for_session(session_of(request)).with_outlook().defer("error_detail")
        jobs = _filtered(jobs, request)
        limit = _number(request, "limit", 20, least=1, most=100)
        page = list(jobs[: limit + 1])
        now = timezone.now()
        document = {
            "success": True,
            "jobs": [status_document(upload, now) | {"source": upload.source} for upload in page[:limit]],
            "nextCursor": str(page[limit - 1].pk) if len(page) > limit else None,
        }
        return _private(Response(document))


def _filtered(jobs: UploadQuerySet, request: Request) -> UploadQuerySet:
    if status := _choice(request, "status", Status):
        jobs = jobs.filter(status=status)
    if stage := _choice(request, "stage", Stage):
        jobs = jobs.filter(stage=stage)
    if source := request.query_params.get("source"):
        if "\0" in source:
            raise CodedError("INVALID_PARAMETER", "“source” may not contain a null character.")
        jobs = jobs.filter(source=source)
    if cursor := request.query_params.get("cursor"):
        before = canonical_uuid(cursor)
        if before is None:
            raise CodedError("INVALID_PARAMETER", "“cursor” must be a nextCursor of an earlier answer.")
        jobs = jobs.filter(pk__lt=before)
    return jobs


def _choice(request: Request, name: str, choices: type[StrEnum]) -> str | None:
    value = request.query_params.get(name)
    if value and value not in set(choices):
        raise CodedError("INVALID_PARAMETER", f"“{name}” must be one of: {', '.join(choices)}.")
    return value


class StatsView(APIView):
    """Counts, durations, retries and cost of this session's jobs."""

    @extend_schema(operation=schema.GET_STATS)
    def get(self, request: Request) -> Response:
        jobs = Upload.objects.for_session(session_of(request))
        return _private(Response({"success": True, **jobs.stats()}))


class JobView(APIView):
    """Everything about one job; DELETE hides it from now on."""

    @extend_schema(operation=schema.GET_JOB)
    def get(self, request: Request, job_id: str) -> Response:
        upload = upload_of(request, job_id)
        document = job_document(upload, upload.steps.all(), timezone.now())
        result = _result_of(upload)
        document["result"] = result_document(result, _links_expire_at()) if result else None
        return watched(Response(document), upload.stage)

    @extend_schema(operation=schema.DELETE_JOB)
    def delete(self, request: Request, job_id: str) -> Response:
        upload_of(request, job_id).discard()
        return Response(status=204)


def _private(response: Response) -> Response:
    patch_cache_control(response, private=True, no_cache=True)
    return response


def _result_of(upload: Upload) -> Result | None:
    """What may be shown of it: nothing before the end, and nothing once its files are gone."""
    if upload.status != Status.COMPLETED or upload.has_expired(timezone.now()):
        return None
    return Result.objects.filter(upload=upload).first()


def _links_expire_at() -> datetime:
    return timezone.now() + timedelta(seconds=settings.RESULT_LINK_SECONDS)


class MessagesView(APIView):
    """The job, in the dialect of state, step, percent and messages."""

    @extend_schema(operation=schema.GET_MESSAGES)
    def get(self, request: Request, job_id: str) -> Response:
        upload = upload_of(request, job_id, "messages")
        events = upload.events.filter(seq__lte=upload.event_count).order_by("seq")
        return watched(Response(messages_document(upload, events)), upload.stage)


class BuildEventsView(APIView):
    """The events, in the dialect of builds: also a job that nobody knows has an answer."""

    @extend_schema(operation=schema.GET_BUILD_EVENTS)
    def get(self, request: Request, build_id: str) -> Response:
        upload, after = _known(request, build_id), _after(request)
        document = {"buildId": build_id, "events": [], "lastEventId": after}
        if upload:
            events, _ = _events(upload, after, 500)
            url = None
            if any(event.type == "job.completed" for event in events):
                # It may have ended after it was read, and before its events were.
                upload.refresh_from_db(fields=["status", "completed_at", "files_purged_at"])
                url = preview_url(_result_of(upload))
            document["events"] = [build_event_document(event, url) for event in events]
            document["lastEventId"] = events[-1].seq if events else after
        return _private(Response(document))

    def handle_exception(self, error: Exception) -> Response:
        response = super().handle_exception(error)
        if response.status_code == 503 and response.data:
            try:
                response.data |= {"events": [], "lastEventId": _after(self.request)}
            except CodedError as not_valid:
                return super().handle_exception(not_valid)
        return response


class BuildStatusView(APIView):
    """The status, in the dialect of builds."""

    @extend_schema(operation=schema.GET_BUILD_STATUS)
    def get(self, request: Request, build_id: str) -> Response:
        upload = _known(request, build_id)
        url = preview_url(_result_of(upload)) if upload else None
        response = Response(build_document(build_id, upload, url))
        return watched(response, upload.stage) if upload else _private(response)


def _known(request: Request, upload_id: str) -> Upload | None:
    """Raises UNAUTHORIZED, as everywhere; but to these two an unknown job is an answer."""
    try:
        return upload_of(request, upload_id, "builds")
    except CodedError as error:
        if error.code == "NOT_FOUND":
            return None
        raise


class ProgressView(APIView):
    """The job, in the dialect of projects and their pipeline."""

    @extend_schema(operation=schema.GET_PROGRESS)
    def get(self, request: Request, project_id: str) -> Response:
        upload = upload_of(request, project_id)
        return watched(Response(progress_document(upload, upload.steps.all(), timezone.now())), upload.stage)


class ResultView(APIView):
    """Links to what came of a job; each link opens for `RESULT_LINK_SECONDS`."""

    @extend_schema(operation=schema.GET_RESULT)
    def get(self, request: Request, result_id: str) -> Response:
        session = session_of(request)
        result = _own_result(session, result_id)
        if result.upload.has_expired(timezone.now()):
            raise CodedError("EXPIRED")
        analytics.result_viewed(session, result)
        response = Response(result_document(result, _links_expire_at()))
        patch_cache_control(response, private=True, no_store=True)
        return response


def _own_result(session: Session, result_id: str) -> Result:
    results = Result.objects.select_related("upload").filter(
        upload__session=session, upload__deleted_at=None, upload__status=Status.COMPLETED
    )
    known = canonical_uuid(result_id)
    result = results.filter(pk=known).first() if known else None
    if result is None:
        raise CodedError("NOT_FOUND")
    return result


class SchemaView(APIView):
    @extend_schema(operation=schema.GET_SCHEMA)
    def get(self, request: Request) -> Response:
        return Response(schema.document())


@reads_only
def docs_page(request: HttpRequest) -> HttpResponse:
    context = docs_context(schema.document()) | {"public_url": settings.PUBLIC_URL}
    return render(request, "docs.html", context)


@require_safe
def media(request: HttpRequest, link: str) -> HttpResponseBase:
    """A file of the local storage, for whoever holds a signed link that has not expired."""
    if settings.S3_BUCKET:
        return not_found(request)
    try:
        name, to_keep = in_link(link)
        file = default_storage.open(name)
    except (signing.BadSignature, FileNotFoundError):
        return not_found(request)
    filename, kind = shown_as(name)
    response = FileResponse(file, as_attachment=to_keep, content_type=kind, filename=filename)
    response["X-Content-Type-Options"] = "nosniff"
    # Of style, what a browser's own page around a picture is made of; nothing of ours has any.
    response["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
    patch_cache_control(response, private=True, max_age=settings.RESULT_LINK_SECONDS)
    return response


@require_safe
def job_page(request: HttpRequest, job_id: str) -> HttpResponseBase:
    """The same shell for every id; what it shows comes through the API, with the browser's token."""
    return render(request, "job.html")
