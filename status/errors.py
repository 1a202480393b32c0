"""Every error that the API answers, in one envelope."""

import errno
import logging
import re
import sys
from collections.abc import Callable, Mapping
from functools import wraps
from math import ceil
from typing import Any

from django.core.exceptions import SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.template.loader import render_to_string
from django.utils.translation import gettext
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import set_rollback

from uploads import budget
from uploads.errors import REASONS, CodedError

logger = logging.getLogger(__name__)

RETRY_AFTER = {
    "UNAVAILABLE": 5,
    "STORAGE_UNAVAILABLE": 30,
    "QUEUE_FULL": 60,
    "STORAGE_FULL": 300,
    "BUDGET_EXHAUSTED": 86400,
}
"""Seconds, at most, for codes whose end is not known better."""


def envelope(code: str, message: str = "") -> dict[str, Any]:
    reason = REASONS[code]
    error = {"code": code, "message": gettext(message or reason.message), "retryable": reason.retryable}
    return {"success": False, "error": error}


def answer(error: Exception, context: Mapping[str, Any]) -> Response | None:
    """What Django REST framework asks when a view raises; None is a 500."""
    code, message, headers = _reason(error)
    if code is None:
        return None
    set_rollback()
    if code in RETRY_AFTER:
        headers.setdefault("Retry-After", str(_retry_after(code)))
    # Caches may keep a 404 or a 410 that does not forbid it, and give it to somebody who may see the job.
    headers["Cache-Control"] = "no-store"
    status = error.status if isinstance(error, CodedError) else REASONS[code].status
    return Response(envelope(code, message), status=status, headers=headers)


def _retry_after(code: str) -> int:
    return ceil(budget.until_tomorrow().total_seconds()) if code == "BUDGET_EXHAUSTED" else RETRY_AFTER[code]


def _reason(error: Exception) -> tuple[str | None, str, dict[str, str]]:  # noqa: C901, PLR0911 - one line for each kind
    match error:
        case CodedError(code="UNAUTHORIZED"):
            return error.code, error.message, {"WWW-Authenticate": "X-Session-Token"}
        case CodedError():
            return error.code, error.message, {}
        case exceptions.MethodNotAllowed():
            return "METHOD_NOT_ALLOWED", "", {}
        case exceptions.NotAcceptable():
            return "NOT_ACCEPTABLE", "", {}
        case exceptions.Throttled():
            return "RATE_LIMITED", "", {"Retry-After": str(int(getattr(error, "wait", None) or 1) + 1)}
        case exceptions.NotFound() | Http404():
            return "NOT_FOUND", "", {}
        case exceptions.UnsupportedMediaType():
            return (
                "MISSING_IMAGE",
                "Send a form (multipart/form-data) with the picture in the field “image”.",
                {},
            )
        case exceptions.ParseError() | SuspiciousOperation():
            return "INVALID_PARAMETER", "The request could not be read.", {}
        case UnreadablePostError(errno=errno.EFBIG):
            return "FILE_TOO_LARGE", "", {}
        case UnreadablePostError():
            # Sent too slowly, or when too much was being sent already; or the sender is gone.
            return "UNAVAILABLE", "The picture could not be received. Please try again.", {}
        case OperationalError() | InterfaceError():
            logger.warning("database away: %s", error)
            return "UNAVAILABLE", "", {}
    return None, "", {}


# What Django asks for what no view of the API has answered: JSON where the API is, a page elsewhere.

API = re.compile(r"/api(/.*)?|/jobs/.*/status", re.DOTALL)


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return _outside(request, "INVALID_PARAMETER", "400.html")


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return _outside(request, "NOT_FOUND", "404.html")


def server_error(request: HttpRequest) -> HttpResponse:
    if isinstance(sys.exc_info()[1], OperationalError | InterfaceError):
        return _outside(request, "UNAVAILABLE", "503.html")
    return _outside(request, "INTERNAL", "500.html")


def too_often(request: HttpRequest, wait: float) -> HttpResponse:
    """For a page; `wait` in seconds."""
    response = _outside(request, "RATE_LIMITED", "429.html")
    response["Retry-After"] = str(ceil(wait))
    return response


def reads_only(view: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """For a page below /api/: another method is told so in JSON, as it is there."""

    @wraps(view)
    def guarded(request: HttpRequest) -> HttpResponse:
        if request.method in {"GET", "HEAD"}:
            return view(request)
        response = _json("METHOD_NOT_ALLOWED")
        response["Allow"] = "GET, HEAD"
        return response

    return guarded


def _outside(request: HttpRequest, code: str, template: str) -> HttpResponse:
    if API.fullmatch(request.path):
        response: HttpResponse = _json(code)
    else:
        # Without a request: no context processor then asks a database that may be away.
        response = HttpResponse(render_to_string(template), status=REASONS[code].status)
    if code in RETRY_AFTER:
        response["Retry-After"] = str(RETRY_AFTER[code])
    return response


def _json(code: str) -> HttpResponse:
    """As a view of the API would answer it, byte for byte."""
    words = {"ensure_ascii": False, "separators": (",", ":")}
    headers = {"Cache-Control": "no-store"}
    return JsonResponse(envelope(code), status=REASONS[code].status, headers=headers, json_dumps_params=words)
