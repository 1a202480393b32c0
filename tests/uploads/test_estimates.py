"""Remaining time: learned from past durations, stored with the job, never negative."""

from datetime import timedelta

import pytest
from django.db.models import F
from django.utils import timezone

from tests.api import Api
from tests.uploads.backtest import WORLDS, World, backtest
from uploads import estimates
from uploads.estimates import Sample
from uploads.models import Step, Upload
from uploads.stages import StepName
from workflows import runner


@pytest.fixture(autouse=True)
def _no_samples_of_other_tests() -> None:
    estimates.forget()


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS.keys())
def test_four_jobs_in_five_are_done_by_their_estimate(world: World) -> None:
    outcome = backtest(world)
    assert 0.7 <= outcome.covered <= 0.9
    assert outcome.least > 0


@pytest.mark.parametrize("name", [name for name in WORLDS if name != "as shipped"])
def test_the_median_is_off_by_half_of_what_fixed_averages_are_off_by(name: str) -> None:
    outcome = backtest(WORLDS[name])
    assert outcome.error <= outcome.fixed_error / 2


def test_there_is_an_answer_without_any_sample() -> None:
    forecast = estimates.forecast([], shipped=4.0, megapixels=12)
    assert forecast.median == pytest.approx(4.0)
    assert 4.0 < forecast.likely < 6.0


def test_the_shipped_duration_weighs_as_five_samples() -> None:
    few = estimates.forecast([Sample(40.0, 12)] * 2, shipped=4.0, megapixels=12)
    many = estimates.forecast([Sample(40.0, 12)] * 8, shipped=4.0, megapixels=12)
    assert few.median < 10
    assert many.median == pytest.approx(40.0)


def test_what_is_recent_counts_for_more() -> None:
    slower_now = [Sample(20.0, 12)] * 20 + [Sample(5.0, 12)] * 20
    faster_now = slower_now[::-1]
    now, before = (estimates.forecast(samples, 4.0, 12).median for samples in (slower_now, faster_now))
    assert now > before


def test_size_counts_where_it_explains_the_durations() -> None:
    by_size = [Sample(0.2 * megapixels, megapixels) for megapixels in (1, 2, 4, 8, 16, 32)] * 3
    small, large = (estimates.forecast(by_size, 4.0, megapixels).median for megapixels in (1, 32))
    assert large > 5 * small
    unrelated = [Sample(3.0, megapixels) for megapixels in (1, 2, 4, 8, 16, 32)] * 3
    small, large = (estimates.forecast(unrelated, 4.0, megapixels).median for megapixels in (1, 32))
    assert large == pytest.approx(small)


@pytest.mark.django_db
def test_a_job_has_an_estimate_from_acceptance_to_the_end(api: Api) -> None:
    upload = api.accepted()
    told = api.get(f"/api/status/{upload.pk}").json()
    assert told["estimatedRemainingSeconds"] > 0
    assert told["estimatedCompletionAt"] > told["createdAt"]
    runner.run(StepName.VALIDATE, str(upload.pk), "task")
    runner.run(StepName.GENERATE, str(upload.pk), "task")
    nearly = api.get(f"/api/status/{upload.pk}").json()
    assert 0 < nearly["estimatedRemainingSeconds"] < told["estimatedRemainingSeconds"]
    runner.run(StepName.STORE, str(upload.pk), "task")
    runner.run(StepName.WATERMARK, str(upload.pk), "task")
    assert api.get(f"/api/status/{upload.pk}").json()["estimatedRemainingSeconds"] is None


@pytest.mark.django_db
def test_a_late_job_has_zero_seconds_left_and_not_less(api: Api) -> None:
    upload = api.accepted()
    Upload.objects.filter(pk=upload.pk).update(estimated_completion_at=timezone.now() - timedelta(hours=1))
    assert api.get(f"/api/status/{upload.pk}").json()["estimatedRemainingSeconds"] == 0


@pytest.mark.django_db
def test_the_job_learns_from_those_before_it(api: Api) -> None:
    first = api.accepted()
    usual = api.get(f"/api/status/{first.pk}").json()["estimatedRemainingSeconds"]
    for _ in range(10):
        slow = api.finished()
        slow.steps.update(started_at=F("completed_at") - timedelta(minutes=10))
    first.cancel()
    estimates.forget()
    later = api.get(f"/api/status/{api.accepted().pk}").json()["estimatedRemainingSeconds"]
    assert usual < 60
    assert later > 30 * 60


@pytest.mark.django_db
def test_only_the_model_in_use_counts_and_only_first_attempts(api: Api) -> None:
    for model, attempt, minutes in (("other-model", 1, 30), ("local-ink-1", 2, 20), ("local-ink-1", 1, 10)):
        step = api.finished().steps.get(name="generate")
        Step.objects.filter(pk=step.pk).update(
            output={"model": model}, attempt=attempt, started_at=F("completed_at") - timedelta(minutes=minutes)
        )
    estimates.forget()
    assert [sample.seconds for sample in estimates._samples(StepName.GENERATE)] == [600]


@pytest.mark.django_db
def test_who_waits_behind_others_waits_longer(api: Api) -> None:
    first = api.get(f"/api/status/{api.accepted().pk}").json()["estimatedRemainingSeconds"]
    for _ in range(4):
        last = api.accepted()
    assert api.get(f"/api/status/{last.pk}").json()["estimatedRemainingSeconds"] > 2 * first


@pytest.mark.django_db
def test_a_wait_before_the_next_attempt_is_part_of_the_estimate(api: Api) -> None:
    from workflows.errors import Transient

    upload = api.accepted()
    fence = upload.claim(StepName.VALIDATE, timedelta(seconds=30), "task")
    assert fence
    assert upload.estimated_completion_at
    before = upload.estimated_completion_at
    upload.try_again(Transient("STORAGE_UNAVAILABLE"), timedelta(minutes=5), fence=fence)
    assert upload.estimated_completion_at >= before + timedelta(minutes=4)
