"""How far a call may be, as nobody knows: learned from the calls before it, and never at its end by itself."""

from datetime import timedelta

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from tests.support.factories import UploadFactory
from uploads.models import ProviderCall
from uploads.stages import WORK, Stage
from workflows.generators.gemini import GeminiProvider
from workflows.generators.paid import RECENT, fraction_done, typical_seconds

SECONDS = st.floats(0, 1e6)


@given(SECONDS, SECONDS, st.floats(0, 1e4))
def test_time_never_takes_progress_back_or_to_the_end(some: float, more: float, expected: float) -> None:
    before, after = fraction_done(some, expected), fraction_done(some + more, expected)
    assert 0 <= before <= after
    span = WORK[Stage.GENERATING]
    assert span.start + round(after * (span.end - span.start)) < span.end


@given(st.floats(1, 1e4))
def test_most_of_the_way_is_done_at_the_expected_time(expected: float) -> None:
    assert fraction_done(0, expected) == 0
    assert fraction_done(expected / 2, expected) == pytest.approx(fraction_done(expected, expected) / 2)
    assert 0.8 < fraction_done(expected, expected) < 0.9


def called(seconds: float, model: str = "new", outcome: str = "picture", ago: int = 0) -> None:
    ended = timezone.now() - timedelta(hours=ago)
    ProviderCall.objects.create(
        upload=UploadFactory.create(),
        run=1,
        attempt=1,
        fence=1,
        provider="gemini",
        model=model,
        prompt_version="v1",
        status="settled",
        outcome=outcome,
        reserved_usd=1,
        started_at=ended - timedelta(seconds=seconds),
        ended_at=ended,
        deadline_at=ended,
    )


@pytest.mark.django_db
def test_a_model_is_as_quick_as_its_latest_pictures_were() -> None:
    provider = GeminiProvider()
    provider.model = "new"
    assert typical_seconds(provider) == GeminiProvider.typical_seconds
    for seconds in (30, 31, 32):
        called(seconds)
    called(1, model="old")
    called(1, outcome="blocked")
    assert typical_seconds(provider) == 31
    for _ in range(RECENT):
        called(5)
    called(900, ago=48)
    assert typical_seconds(provider) == 5
