from collections.abc import Iterator

import pytest
from django.conf import LazySettings

from status import analytics
from tests.support.posthog import PostHog, posthog


@pytest.fixture
def hog() -> Iterator[PostHog]:
    with posthog() as server:
        yield server


@pytest.fixture
def key(settings: LazySettings, hog: PostHog) -> Iterator[None]:
    """Analytics are on, and go to `hog`."""
    settings.POSTHOG_API_KEY, settings.POSTHOG_HOST = "phc_test", hog.url
    yield
    hog.released.set()
    for client in (analytics._background, analytics._at_once):
        if client.cache_info().currsize:
            client().shutdown()
        client.cache_clear()
