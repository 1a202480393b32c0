"""What those who run Darkroom ask it: whether it is up, and whether it is ready to work."""

import logging
import threading
import time
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse

from workflows import health

logger = logging.getLogger(__name__)

FRESH_SECONDS = 2
"""For so long an answer is given again: whoever asks in a loop must not load what is asked about."""


class _Readiness:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._states: list[health.State] = []
        self._known_until = 0.0

    def states(self) -> list[health.State]:
        # While one thread asks, the others give what is known: those of the server are few.
        if self._lock.acquire(blocking=not self._states):
            try:
                if time.monotonic() >= self._known_until:
                    self._ask()
            finally:
                self._lock.release()
        return self._states

    def _ask(self) -> None:
        self._states = health.states()
        self._known_until = time.monotonic() + FRESH_SECONDS
        for state in self._states:
            if not state.is_ready:
                logger.warning("not ready: %s: %s", state.component, state.trouble)


def probes(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Before all other middleware: probes come by address, without the public name, and over plain HTTP."""
    readiness = _Readiness()

    def middleware(request: HttpRequest) -> HttpResponse:
        if request.path not in {"/healthz", "/readyz"}:
            return get_response(request)
        if request.method not in {"GET", "HEAD"}:
            return HttpResponseNotAllowed(["GET", "HEAD"])
        return _alive() if request.path == "/healthz" else _ready(readiness.states())

    return middleware


def _alive() -> HttpResponse:
    return HttpResponse("alive\n", content_type="text/plain", headers=HEADERS)


def _ready(states: list[health.State]) -> HttpResponse:
    """In two words for each: what is wrong is in the log, and is nobody else's business."""
    ready = all(state.is_ready for state in states)
    components = {state.component: "ready" if state.is_ready else "not ready" for state in states}
    headers = HEADERS if ready else HEADERS | {"Retry-After": "5"}
    return JsonResponse({"ready": ready, "components": components}, status=200 if ready else 503, headers=headers)


HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
