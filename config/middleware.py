import logging
import re
import secrets
import time
from collections.abc import Callable
from functools import cache
from typing import Any

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.core.handlers.base import BaseHandler
from django.core.handlers.exception import convert_exception_to_response
from django.http import HttpRequest, HttpResponse
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.security import SecurityMiddleware
from prometheus_client import Histogram
from structlog.contextvars import bind_contextvars

from config.logs import REQUEST_ID
from uploads.storage import pictures
from workflows.metrics import REQUEST_SECONDS, UPLOADS

logger = logging.getLogger(__name__)


def _policy() -> str:
    return "; ".join(
        [
            "default-src 'self'",
            # A browser's own previews are blobs; results have one address, by whatever name the page was opened.
            f"img-src 'self' blob: {pictures().origin()}",
            "object-src 'none'",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        ]
    )


def content_security_policy(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Nothing inline and nothing from elsewhere; a view may set a stricter one."""
    policy = _policy()

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response.headers.setdefault("Content-Security-Policy", policy)
        return response

    return middleware


class _Views(BaseHandler):
    """Django's way from a request to its view, with no middleware between."""

    _view_middleware = _template_response_middleware = _exception_middleware = ()

    def __init__(self) -> None:
        directly: Any = self._get_response  # type: ignore[attr-defined]  # not public, so not in its types
        self.answer: Callable[[HttpRequest], Any] = convert_exception_to_response(directly)


def api_by_itself(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Requests to the API go past all middleware that follows: a poll has no use for files, cookies and forms, and
    would spend as much on not needing them as on its answer. The headers of an answer are the same."""
    answer, known_hosts, headers = _Views().answer, set[str](), _headers_of_pages()

    def is_welcome(request: HttpRequest) -> bool:
        """Over TLS if it must be, and to a host that is ours; what follows knows what to say to others."""
        sent = request.META  # without taking every header apart, as request.headers does
        host = sent.get("HTTP_HOST", "")
        if host not in known_hosts:
            try:
                request.get_host()
            except DisallowedHost:
                return False
            if len(known_hosts) < 100:
                known_hosts.add(host)
        return not settings.SECURE_SSL_REDIRECT or request.is_secure()

    def middleware(request: HttpRequest) -> HttpResponse:
        if not request.path_info.startswith("/api/") or not is_welcome(request):
            return get_response(request)
        response: HttpResponse = answer(request)
        own = response.headers
        # All at once, and without looking again at what was looked at when they were made.
        own._store = headers | own._store
        return response

    return middleware


class _Secure(HttpRequest):
    def _get_scheme(self) -> str:
        return "https"


def _headers_of_pages() -> dict[str, tuple[str, str]]:
    """Of those that look at no more than whether a request came over TLS; one to the API has by then, if it must.
    As a response keeps them: by their names in lower case."""
    framed: Any = XFrameOptionsMiddleware(lambda _: HttpResponse())
    page: Any = SecurityMiddleware(content_security_policy(framed))(_Secure())
    return {name.lower(): (name, value) for name, value in page.items() if name != "Content-Type"}


SAFE = {"GET", "HEAD", "OPTIONS"}
METHODS = SAFE | {"POST", "DELETE", "PUT", "PATCH"}
SANE_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")


def observed(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Gives each request an id, which every log line about it has, here and in the worker; counts and times it."""

    def middleware(request: HttpRequest) -> HttpResponse:
        request_id, began = _request_id(request), time.perf_counter()
        # Until this thread's next request.
        bind_contextvars(**{REQUEST_ID: request_id})
        response = get_response(request)
        _note(request, response, time.perf_counter() - began)
        response.headers["X-Request-ID"] = request_id
        return response

    return middleware


def _request_id(request: HttpRequest) -> str:
    """The proxy's, if there is one that we trust: its log then has the same."""
    given = request.headers.get("X-Request-ID", "") if settings.TRUSTED_PROXIES else ""
    return given if SANE_ID.fullmatch(given) else secrets.token_hex(8)


def _note(request: HttpRequest, response: HttpResponse, seconds: float) -> None:
    match = request.resolver_match
    # Never the path, which may hold a signed link.
    route = (match.url_name or match.route) if match else "unknown"
    method = request.method if request.method in METHODS else "other"
    _timer(route, method, response.status_code).observe(seconds)
    if route == "uploads":
        UPLOADS.labels(_outcome(response)).inc()
    if method not in SAFE or response.status_code >= 500:
        facts = {"route": route, "method": method, "status": response.status_code, "seconds": round(seconds, 3)}
        if job := _told(response).get("jobId"):
            facts["job"] = job
        logger.info("request", extra=facts)


@cache
def _timer(route: str, method: str, status: int) -> Histogram:
    """Looked up once: by far the most requests are polls, which should cost next to nothing."""
    return REQUEST_SECONDS.labels(route, method, status)


def _told(response: HttpResponse) -> dict[str, Any]:
    told = getattr(response, "data", None)
    return told if isinstance(told, dict) else {}


def _outcome(response: HttpResponse) -> str:
    if response.status_code == 202:
        return "replayed" if "Idempotent-Replayed" in response else "accepted"
    return str(_told(response).get("error", {}).get("code", response.status_code))
