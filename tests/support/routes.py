"""Every route of the API, as the resolver has them: what is added is in all the tests that go through them."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from django.urls import URLPattern, URLResolver, get_resolver


class Route(NamedTuple):
    method: str
    path: str
    """With `{}` in the place of the id."""


def _patterns(resolver: URLResolver, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for pattern in resolver.url_patterns:
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _patterns(pattern, path)
        elif isinstance(pattern, URLPattern):
            yield path, pattern.callback


def _routes() -> Iterator[Route]:
    for path, view in _patterns(get_resolver()):
        speaks = getattr(view, "view_class", None)  # a page is a function
        for method in speaks.http_method_names if speaks else ():
            if method != "options" and hasattr(speaks, method):
                yield Route(method, "/" + re.sub(r"<str:\w+>", "{}", path))


ROUTES = [route for route in _routes() if route.path.startswith(("/api/", "/jobs/"))]
