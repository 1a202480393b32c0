from collections.abc import Iterable
from typing import Any

from django.http import HttpRequest
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

JSON = "application/json"


def takes_json(request: HttpRequest | Request) -> bool:
    """Without a look at all that it might take: almost everybody takes anything, or asks for just this."""
    sent = request.META
    return sent.get("HTTP_ACCEPT", "") in {"", "*/*", JSON}


class Negotiation(DefaultContentNegotiation):
    """As usual, but quick where there is nothing to choose."""

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> Any:
        first = next(iter(renderers))
        if takes_json(request) and first.media_type == JSON:
            return first, JSON
        return super().select_renderer(request, renderers, format_suffix)
