"""Remaining time: learned from past durations, stored with the job, never negative."""

from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.benchmarks.backtest import WORLDS, backtest
from tests.support.api import Api
from tests.support.factories import UploadFactory
from uploads import estimates
from uploads.estimates import Crew, Sample
from uploads.models import Step, Upload
from uploads.stages import Stage, StepName
from workflows import runner

LEASE = timedelta(seconds=30)


@pytest.fixture(autouse=True)
def _no_samples_of_other_tests() -> None:
    estimates.forget()


@pytest.mark.parametrize("name", WORLDS)
def test_four_jobs_in_five_are_done_by_their_estimate_which_halves_the_error(name: str) -> None:
    outcome = backtest(WORLDS[name])
    assert 0.7 <= outcome.covered <= 0.9
    assert outcome.least > 0
    if name != "as shipped":
        assert outcome.error <= outcome.fixed_error / 2, "the median, beside averages that never learn"


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


def promised(api: Api, upload: Upload) -> int:
    """Seconds, as a poller is told."""
    return int(api.get(f"/api/status/{upload.pk}").json()["estimatedRemainingSeconds"])


@pytest.mark.django_db
def test_who_waits_behind_fifty_is_not_promised_the_time_of_an_idle_house(api: Api) -> None:
    idle = promised(api, api.accepted())
    waiting = UploadFactory.create_batch(50)
    one_worker = promised(api, api.accepted())
    assert one_worker > 50 * sum(estimates.SHIPPED_SECONDS.values())
    for upload in waiting[:4]:
        assert upload.claim(StepName.VALIDATE, LEASE, "task")
    four_workers = promised(api, api.accepted())
    assert 3 * idle < four_workers < one_worker / 3


@pytest.mark.django_db
def test_how_many_work_at_once_is_learned_from_what_is_done(api: Api) -> None:
    for number in range(8):
        steps = api.finished().steps
        # Two at a time: each begins when the one before the one before it ends.
        ended = F("completed_at") - timedelta(seconds=1000 - 5 * number)
        steps.update(completed_at=ended, started_at=ended - timedelta(seconds=10))
    estimates.forget()
    samples = {step: estimates._samples(step) for step in StepName}
    assert estimates.crew_of(samples, {}).by_step[StepName.GENERATE] == 2


def test_one_after_the_other_is_one_worker() -> None:
    steps = {step: [Sample(4.0, 12, ended=100.0 - 4 * age) for age in range(9)] for step in StepName}
    assert estimates.crew_of(steps, {}).by_step == dict.fromkeys(StepName, 1)


def test_no_others_are_no_wait_and_fewer_than_workers_neither() -> None:
    steps = {step: estimates.typical([], 1.0) for step in StepName}
    crew = Crew(4, dict.fromkeys(StepName, 4))
    for number in range(4):
        assert estimates.wait_for_turn({Stage.GENERATING: number}, crew, steps) == (0, 0)
    assert estimates.wait_for_turn({Stage.GENERATING: 4}, crew, steps).median > 0


def test_a_step_that_few_can_do_holds_up_all() -> None:
    steps = {step: estimates.typical([], 10.0 if step is StepName.GENERATE else 1.0) for step in StepName}
    many, one = Crew(8, dict.fromkeys(StepName, 8)), Crew(8, dict.fromkeys(StepName, 8) | {StepName.GENERATE: 1})
    waits = [estimates.wait_for_turn({None: 40}, crew, steps).median for crew in (many, one)]
    assert waits == pytest.approx([40 * 13 * 1.05 / 8, 40 * 10 * 1.05])


@pytest.mark.django_db
def test_what_has_begun_does_not_wait_for_what_has_not(api: Api) -> None:
    upload = api.accepted()
    runner.run(StepName.VALIDATE, str(upload.pk), "task")
    UploadFactory.create_batch(50)
    estimates.forget()
    runner.run(StepName.GENERATE, str(upload.pk), "task")
    assert promised(api, upload) < 10


@pytest.mark.django_db
def test_what_is_not_due_keeps_nobody_waiting(api: Api) -> None:
    idle = promised(api, api.accepted())
    UploadFactory.create_batch(50, due_at=timezone.now() + timedelta(hours=1))
    assert promised(api, api.accepted()) < 4 * idle


@pytest.mark.django_db
def test_a_claim_and_a_commit_take_few_statements(api: Api) -> None:
    warm, upload = api.accepted(), api.accepted()
    assert warm.claim(StepName.VALIDATE, LEASE, "task")
    with CaptureQueriesContext(connection) as claimed:
        fence = upload.claim(StepName.VALIDATE, LEASE, "task")
    assert fence
    with CaptureQueriesContext(connection) as committed:
        upload.complete_step(fence=fence, output={})
    with CaptureQueriesContext(connection) as advanced:
        upload.advance(45, fence=upload.fence)
    # Read, compare and set, the step, the events, the outbox; progress has neither step nor outbox.
    assert [len(statements(queries)) for queries in (claimed, committed, advanced)] == [5, 5, 3]


def statements(queries: CaptureQueriesContext) -> list[str]:
    said = [str(query["sql"]) for query in queries]
    return [sql for sql in said if not sql.startswith(("SAVEPOINT", "RELEASE"))]


@pytest.mark.django_db
def test_a_wait_before_the_next_attempt_is_part_of_the_estimate(api: Api) -> None:
    from workflows.errors import Transient

    upload = api.accepted()
    fence = upload.claim(StepName.VALIDATE, LEASE, "task")
    assert fence
    assert upload.estimated_completion_at
    before = upload.estimated_completion_at
    upload.try_again(Transient("STORAGE_UNAVAILABLE"), timedelta(minutes=5), fence=fence)
    assert upload.estimated_completion_at >= before + timedelta(minutes=4)
