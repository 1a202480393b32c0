import os
from collections.abc import Callable, Iterable
from multiprocessing import parent_process
from typing import Any

from django.conf import settings
from django.core.handlers.wsgi import WSGIRequest
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, reset_queries
from django.utils.http import parse_header_parameters

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

LONGEST_COOKIES = 4096
"""Characters. Those of the admin, which are all that is read, come to a few hundred."""


class Request(WSGIRequest):
    """Believes no header that says how something is encoded, and reads none that is too long.

    Names and texts are UTF-8: of the codecs that Python knows, some take minutes for what others do at once. Quoted
    cookies are as bad.
    """

    def __init__(self, environ: dict[str, Any]) -> None:
        if len(environ.get("HTTP_COOKIE", "")) > LONGEST_COOKIES:
            environ["HTTP_COOKIE"] = ""
        super().__init__(environ)

    def _set_content_type_params(self, meta: dict[str, Any]) -> None:
        if not meta.get("CONTENT_TYPE"):
            self.content_type, self.content_params = "", {}
            return
        try:
            self.content_type, self.content_params = parse_header_parameters(meta["CONTENT_TYPE"])
        except (ValueError, LookupError):
            # Not of a type that anybody here takes; whoever looks again must not stumble either.
            self.content_type, self.content_params, meta["CONTENT_TYPE"] = "", {}, ""


_django = get_wsgi_application()
_django.request_class = Request

# Django looks a thread's connections over before and after each request, and clears a log that only DEBUG keeps: a
# tenth of a poll. Once will do, before.
request_finished.disconnect(close_old_connections)
if not settings.DEBUG:
    request_started.disconnect(reset_queries)

# What follows needs Django set up.
from config.bodies import bounded  # noqa: E402
from config.startup import die_with_parent, refuse_without_migrations  # noqa: E402
from workflows.views import longest_form  # noqa: E402


def in_one_piece(
    application: Callable[..., Iterable[bytes]],
) -> Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]:
    """The server takes a whole answer off its thread, however slowly it is read; of a file in pieces, the thread hands
    over one after the other, and waits for the reader."""

    def call(environment: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        answer = application(environment, start_response)
        try:
            return [b"".join(answer)]
        finally:
            if close := getattr(answer, "close", None):
                close()

    return call


application = in_one_piece(bounded(_django, longest_form()))

if server := parent_process():
    die_with_parent(server.pid or 0)
refuse_without_migrations()
