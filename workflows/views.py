import json
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from status import analytics, schema, throttling
from status.authentication import session_of, upload_of
from status.projections import accepted_document
from status.views import retry_after
from status.webhooks import session_secret
from uploads import formats
from uploads.errors import CodedError, Rejected
from uploads.intake import Received, again, receive, too_large
from uploads.models import Session
from workflows.forms import UploadForm, problem
from workflows.generators import PROMPT_VERSIONS
from workflows.looks import looks_document
from workflows.multipart import FormParser
from workflows.pipeline import hint

FORM_OVERHEAD = 64 * 1024
JSON_MAX_BYTES = 16 * 1024
ACCEPT = (
    "image/jpeg,image/png,image/webp,image/gif,image/avif,image/heic,image/heif,"
    ".heic,.heif,.hif,.jfif,.mpo"  # which systems have no type for
)


class SessionsView(APIView):
    throttle_classes = (throttling.Sessions,)

    @extend_schema(operation=schema.OPEN_SESSION)
    def post(self, request: Request) -> Response:
        session, token = Session.objects.open()
        return Response(
            {"success": True, "sessionId": str(session.pk), "sessionToken": token},
            status=201,
            headers={"Cache-Control": "no-store"},
        )


class CurrentSessionView(APIView):
    @extend_schema(operation=schema.CLOSE_SESSION)
    def delete(self, request: Request) -> Response:
        session_of(request).revoke()
        return Response(status=204)


class UploadsView(APIView):
    """Takes a picture in, and starts its job."""

    parser_classes = (FormParser,)
    throttle_classes = (throttling.Uploads,)

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        # Media types are compared without case (RFC 9110, 8.3.1); the parsers do not know that.
        kind, semicolon, parameters = request.headers.get("content-type", "").partition(";")
        request.META["CONTENT_TYPE"] = kind.lower() + semicolon + parameters
        return super().initialize_request(request, *args, **kwargs)

    @extend_schema(operation=schema.send_picture(PROMPT_VERSIONS))
    def post(self, request: Request) -> Response:
        session = session_of(request) if request.headers.get("X-Session-Token") else None
        key = _idempotency_key(request)
        if key and session is None:
            raise CodedError("INVALID_PARAMETER", "An Idempotency-Key needs an X-Session-Token.")
        _refuse_too_large(request)
        form = UploadForm(request.POST, request.FILES)
        if not form.is_valid():
            raise problem(form)
        received = receive(
            form.cleaned_data["image"],
            session,
            prompt_version=form.cleaned_data["promptVersion"],
            source=form.cleaned_data["source"],
            idempotency_key=key,
            webhook_url=form.cleaned_data["webhookUrl"],
        )
        return _started(received)


def _idempotency_key(request: Request) -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not 0 < len(key) <= 255 or not key.isprintable():
        raise CodedError("INVALID_PARAMETER", "An Idempotency-Key has 1 to 255 printable characters.")
    return key


def _refuse_too_large(request: Request) -> None:
    """Before anything is read into a form."""
    length = request.headers.get("content-length") or ""
    # Also of more digits than Python turns into a number.
    if length.isascii() and length.isdigit() and (len(length) > 18 or int(length) > longest_form()):
        raise Rejected("FILE_TOO_LARGE", too_large())


def longest_form() -> int:
    """Bytes: the largest picture, and what a form needs beside it."""
    return int(settings.UPLOAD_MAX_BYTES) + FORM_OVERHEAD


def _started(received: Received) -> Response:
    if not received.replayed:
        hint(received.upload)
        analytics.upload_received(received.upload)
    return _accepted(received)


def _accepted(received: Received) -> Response:
    document = accepted_document(received.upload)
    if received.token:
        document["sessionToken"] = received.token
    if received.upload.webhook_url:
        document["webhookSecret"] = session_secret(received.upload.session_id)
    response = Response(document, status=202)
    response["Location"] = document["urls"]["status"]
    response["Retry-After"] = retry_after()
    response["Cache-Control"] = "no-store"
    if received.replayed:
        response["Idempotent-Replayed"] = "true"
    return response


class LooksView(APIView):
    """What a picture can be turned into."""

    @extend_schema(operation=schema.LIST_LOOKS)
    def get(self, request: Request) -> Response:
        return Response(looks_document())


class AgainView(APIView):
    """Starts a new job of a picture that is here already."""

    throttle_classes = (throttling.Uploads,)

    @extend_schema(operation=schema.paint_again(PROMPT_VERSIONS))
    def post(self, request: Request, job_id: str) -> Response:
        first = upload_of(request, job_id)
        key = _idempotency_key(request)
        return _started(again(first, prompt_version=_look(request), idempotency_key=key))


def _look(request: Request) -> str:
    """The one named in the body, which is JSON whatever its type says. Raises INVALID_PARAMETER."""
    raw = request._request.read(JSON_MAX_BYTES + 1)
    try:
        body = json.loads(raw) if len(raw) <= JSON_MAX_BYTES else None
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise CodedError("INVALID_PARAMETER", "Send a JSON object with the look in “promptVersion”.")
    look = body.get("promptVersion")
    if not isinstance(look, str) or look not in PROMPT_VERSIONS:
        raise CodedError("INVALID_PARAMETER", f"“promptVersion” must be one of: {', '.join(PROMPT_VERSIONS)}.")
    return look


class RetryView(APIView):
    throttle_classes = (throttling.Uploads,)

    @extend_schema(operation=schema.RETRY_JOB)
    def post(self, request: Request, job_id: str) -> Response:
        upload = upload_of(request, job_id)
        upload.retry()
        hint(upload)
        return Response(accepted_document(upload), status=202)


class CancelView(APIView):
    @extend_schema(operation=schema.CANCEL_JOB)
    def post(self, request: Request, job_id: str) -> Response:
        upload = upload_of(request, job_id)
        upload.cancel()
        return Response(accepted_document(upload), status=202)


def webp_max_pixels() -> int:
    """For the page, which knows a WebP by its first bytes: the kind that costs most. The rest the server finds out."""
    return min(settings.UPLOAD_MAX_PIXELS, settings.DECODE_MEMORY_BYTES // formats.webp.MEMORY_PER_PIXEL)


@require_safe
def upload_page(request: HttpRequest) -> HttpResponse:
    return render(
        request,
        "upload.html",
        {
            "upload_max_bytes": settings.UPLOAD_MAX_BYTES,
            "upload_max_pixels": settings.UPLOAD_MAX_PIXELS,
            "upload_max_webp_pixels": webp_max_pixels(),
            "default_look": settings.PROMPT_VERSION,
            "retention_days": settings.RETENTION_DAYS,
            "is_sent_on": settings.GENERATOR != "local",
            "accept": ACCEPT,
        },
    )
