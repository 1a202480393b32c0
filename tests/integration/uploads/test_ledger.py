"""The ledger, whatever is killed: what was paid is written down once, and nothing is bought that is there already."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal

import pytest
from django.conf import LazySettings
from django.db import connection
from django.utils import timezone

from tests.support.api import Api
from tests.support.factories import UploadFactory
from uploads import ledger, retention
from uploads.ledger import Outcome, Settlement
from uploads.models import ProviderCall, Upload
from uploads.stages import StepName
from workflows import recovery, runner
from workflows.job import Job
from workflows.job import Outcome as Ended
from workflows.pipeline import PIPELINE

pytestmark = pytest.mark.django_db(transaction=True)
CENT = Decimal("0.01")


def opened(upload: Upload, within: timedelta = timedelta(minutes=5), reserved: Decimal = 8 * CENT) -> ProviderCall:
    return ledger.open_call(upload, fence=1, provider="gemini", model="m", reserved=reserved, within=within)


def settled(cost: Decimal) -> Settlement:
    return Settlement(ProviderCall.SETTLED, Outcome.PICTURE, cost)


def overdue(call: ProviderCall) -> None:
    ProviderCall.objects.filter(pk=call.pk).update(deadline_at=timezone.now() - timedelta(days=1))


def test_a_worker_that_stops_and_leaves_its_call_behind_has_used_an_attempt(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Handed back for nothing, it could be bought without end."""

    def work(job: Job) -> Ended:
        ledger.open_call(
            job.upload, fence=job.fence, provider="g", model="m", reserved=8 * CENT, within=timedelta(minutes=5)
        )
        raise SystemExit

    monkeypatch.setitem(PIPELINE, StepName.GENERATE, PIPELINE[StepName.GENERATE]._replace(work=work))
    upload = api.accepted()
    runner.run(StepName.VALIDATE, str(upload.pk), "test")
    for attempt in (1, 2, 3):
        with pytest.raises(SystemExit):
            runner.run(StepName.GENERATE, str(upload.pk), "test")
        upload.refresh_from_db()
        assert (upload.status, upload.attempt, upload.cost_usd) == ("processing", attempt, attempt * 8 * CENT)
    assert not runner.run(StepName.GENERATE, str(upload.pk), "test")
    assert upload.events.order_by("-seq")[0].message == "Work was interrupted; attempt 3 of 3 goes on."
    recovery.sweep()
    upload.refresh_from_db()
    assert (upload.status, upload.error_code) == ("failed", "WORKER_LOST")
    assert {call.status for call in upload.provider_calls.all()} == {"unknown"}


def test_the_cost_of_a_job_that_fails_with_its_worker_is_told_with_its_end(api: Api) -> None:
    upload = api.accepted()
    runner.run(StepName.VALIDATE, str(upload.pk), "test")
    Upload.objects.filter(pk=upload.pk).update(max_attempts=1)
    fence = upload.claim(StepName.GENERATE, timedelta(0), "a worker that is killed")
    assert fence
    ledger.open_call(upload, fence=fence, provider="g", model="m", reserved=CENT, within=timedelta(minutes=5))
    recovery.sweep()
    upload.refresh_from_db()
    assert (upload.status, upload.error_code, upload.cost_usd) == ("failed", "WORKER_LOST", CENT)


def test_many_who_settle_lose_nothing() -> None:
    upload = UploadFactory.create()
    calls = [opened(upload) for _ in range(12)]
    version = upload.version

    together = threading.Barrier(4)

    def settle(call: ProviderCall) -> bool:
        try:
            together.wait()
            return ledger.settle(call.pk, settled(CENT))
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(settle, [call for call in calls for _ in range(4)])) == 12
    upload.refresh_from_db()
    assert (upload.cost_usd, upload.version) == (12 * CENT, version + 12)


def test_an_open_call_costs_nothing_yet_and_an_unknown_one_its_reserve() -> None:
    upload = UploadFactory.create()
    call = opened(upload)
    assert ledger.give_up_overdue(10) == 0
    overdue(call)
    assert (ledger.give_up_overdue(10), ledger.give_up_overdue(10)) == (1, 0)
    call.refresh_from_db()
    upload.refresh_from_db()
    assert (call.status, call.outcome, call.cost_usd, upload.cost_usd) == ("unknown", "lost", 8 * CENT, 8 * CENT)


def test_an_answer_that_comes_too_late_puts_the_figure_right() -> None:
    upload = UploadFactory.create()
    call = opened(upload)
    overdue(call)
    ledger.give_up_overdue(10)
    assert ledger.settle(call.pk, settled(3 * CENT))
    assert not ledger.settle(call.pk, settled(5 * CENT)), "it is settled already"
    assert not ledger.settle(call.pk, Settlement(ProviderCall.UNKNOWN, Outcome.LOST))
    upload.refresh_from_db()
    assert upload.cost_usd == 3 * CENT


@pytest.mark.parametrize(("cost", "counted"), [(Decimal(-1), Decimal(0)), (Decimal(10**12), ledger.MOST_USD)])
def test_whatever_a_provider_says_a_call_can_be_settled(cost: Decimal, counted: Decimal) -> None:
    upload = UploadFactory.create()
    for _ in range(2):
        odd = Settlement(ProviderCall.SETTLED, Outcome.FAILED, cost, {"image": 10**300}, "\ud800\0" * 50, "\udfff\0")
        assert ledger.settle(opened(upload).pk, odd)
    call = upload.provider_calls.all()[0]
    assert (call.cost_usd, call.tokens, len(call.error_kind)) == (counted, {"image": 10**300}, 64)
    upload.refresh_from_db()
    assert upload.cost_usd == 2 * counted


def test_a_round_takes_no_more_than_it_may() -> None:
    upload = UploadFactory.create()
    for _ in range(3):
        overdue(opened(upload))
    assert [ledger.give_up_overdue(2) for _ in range(3)] == [2, 1, 0]


def test_what_was_paid_outlives_its_upload(api: Api) -> None:
    upload = api.accepted()
    call, late = opened(upload), opened(upload)
    ledger.settle(call.pk, settled(CENT))
    upload.discard()
    Upload.objects.filter(pk=upload.pk).update(deleted_at=timezone.now() - timedelta(days=1))
    assert retention.retain().deleted == 1
    assert ledger.settle(late.pk, settled(2 * CENT))
    assert [call.cost_usd for call in ProviderCall.objects.filter(upload=None).order_by("pk")] == [CENT, 2 * CENT]


def test_a_free_generator_writes_nothing(api: Api, settings: LazySettings) -> None:
    settings.DAILY_BUDGET_USD = Decimal(0)
    upload = api.finished()
    assert (upload.status, upload.cost_usd, ProviderCall.objects.count()) == ("completed", Decimal(0), 0)
