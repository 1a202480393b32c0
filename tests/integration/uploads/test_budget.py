"""The day's budget: new pictures are refused before it is overspent, also when many come at once."""

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.conf import LazySettings
from django.db import connection
from django.utils import timezone

from tests.integration.workflows.generators.test_gemini import COST, RESERVED
from tests.support import gemini as server
from tests.support.api import Api, develop, stored_files
from tests.support.gemini import Gemini
from uploads import budget, ledger
from uploads.errors import NotAllowed
from uploads.ledger import Outcome, Settlement
from uploads.models import ProviderCall, Upload

pytestmark = pytest.mark.django_db(transaction=True)


def spend(upload: Upload, cost: Decimal, ago: timedelta = timedelta(0)) -> None:
    call = ledger.open_call(upload, fence=1, provider="gemini", model="m", reserved=cost, within=timedelta(minutes=5))
    ledger.settle(call.pk, Settlement(ProviderCall.SETTLED, Outcome.PICTURE, cost))
    ProviderCall.objects.filter(pk=call.pk).update(started_at=timezone.now() - ago)


def spending() -> budget.Spending:
    told = budget.today()
    assert told
    return told


def test_a_picture_is_refused_once_the_budget_is_used_up(api: Api, gemini: Gemini, settings: LazySettings) -> None:
    settings.DAILY_BUDGET_USD = 2 * RESERVED
    first = api.accepted()
    api.accepted()
    refused = api.send()
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "BUDGET_EXHAUSTED")
    assert refused.json()["error"] == {
        "code": "BUDGET_EXHAUSTED",
        "message": "Today's limit has been reached. Please try again tomorrow.",
        "retryable": True,
    }
    assert 0 < int(refused["Retry-After"]) <= 86400
    assert (Upload.objects.count(), len(stored_files())) == (2, 2)
    first.cancel()
    assert api.send().status_code == 202, "a job that has ended without a call costs nothing"


def test_the_wait_is_until_the_next_day_in_utc(api: Api, gemini: Gemini, settings: LazySettings) -> None:
    settings.DAILY_BUDGET_USD = Decimal(0)
    with time_machine.travel(datetime(2026, 11, 22, 23, 0, tzinfo=UTC), tick=False):
        assert api.send()["Retry-After"] == "3600"


def test_settled_open_and_expected_are_told_apart(api: Api, gemini: Gemini, settings: LazySettings) -> None:
    settings.DAILY_BUDGET_USD = Decimal(5)
    done, waiting = api.finished(), api.accepted()
    assert spending() == budget.Spending(Decimal(5), COST, Decimal(0), RESERVED)
    ledger.open_call(waiting, fence=1, provider="gemini", model="m", reserved=RESERVED, within=timedelta(minutes=5))
    assert spending() == budget.Spending(Decimal(5), COST, RESERVED, Decimal(0)), (
        "one that is being drawn is not expected any more"
    )
    assert done.cost_usd == COST


def test_counting_stops_where_nothing_is_left(api: Api, gemini: Gemini, settings: LazySettings) -> None:
    settings.DAILY_BUDGET_USD = Decimal(5)
    for _ in range(4):
        api.accepted()
    settings.DAILY_BUDGET_USD = RESERVED
    assert spending().expected == 2 * RESERVED


def test_yesterday_does_not_count(api: Api, gemini: Gemini, settings: LazySettings) -> None:
    settings.DAILY_BUDGET_USD = None
    upload = api.accepted()
    settings.DAILY_BUDGET_USD = Decimal(1)
    spend(upload, Decimal("0.40"), timedelta(days=1))
    spend(upload, Decimal("0.20"))
    assert spending().settled == Decimal("0.20")


def test_of_many_at_once_only_so_many_are_let_in(api: Api, gemini: Gemini, settings: LazySettings) -> None:
    """All of them have passed the first look, which locks nothing."""
    settings.DAILY_BUDGET_USD = 5 * RESERVED

    def send(_: int) -> Any:
        try:
            return api.send().status_code
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(send, range(16)))
    assert sorted(answers) == [202] * 5 + [429] * 11
    assert Upload.objects.count() == len(stored_files()) == 5


def test_a_call_that_the_day_has_no_room_for_waits_for_the_next(
    api: Api, gemini: Gemini, settings: LazySettings
) -> None:
    """It was accepted within the budget; but calls that failed half-way have used it up."""
    settings.DAILY_BUDGET_USD = 2 * RESERVED
    upload = api.accepted()
    gemini.then(server.resetting, server.resetting)
    for _ in range(3):
        Upload.objects.filter(pk=upload.pk).update(due_at=upload.created_at)
        develop(upload)
    assert (upload.status, upload.stage, upload.attempt) == ("processing", "generating", 2)
    tomorrow = (upload.updated_at + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    assert abs(upload.due_at - tomorrow) < timedelta(minutes=2)
    assert upload.estimated_completion_at
    assert upload.estimated_completion_at > upload.due_at
    assert upload.error_detail == "the day's budget is used up"
    assert (len(gemini.requests), spending().settled) == (2, 2 * RESERVED)
    message = upload.events.filter(type="step.retrying").order_by("seq").last().message  # type: ignore[union-attr]
    assert re.fullmatch(r"Today's budget for pictures is used up\. Retrying in \d+ (hours|minutes|s)\.", message)
    settings.DAILY_BUDGET_USD = 3 * RESERVED
    Upload.objects.filter(pk=upload.pk).update(due_at=upload.created_at)
    develop(upload)
    assert upload.status == "completed"


def test_the_reserve_is_right_when_many_call_at_once(api: Api, gemini: Gemini, settings: LazySettings) -> None:
    settings.DAILY_BUDGET_USD = 5 * RESERVED
    upload = api.accepted()

    def reserve(_: int) -> bool:
        try:
            ledger.open_call(upload, fence=1, provider="g", model="m", reserved=RESERVED, within=timedelta(minutes=5))
        except NotAllowed:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(reserve, range(16))) == 5


def test_without_a_budget_or_a_price_nothing_is_asked(
    api: Api, gemini: Gemini, settings: LazySettings, django_assert_num_queries: Any
) -> None:
    for limit, cost in ((None, RESERVED), (Decimal(0), Decimal(0))):
        settings.DAILY_BUDGET_USD, settings.GENERATE_COST_USD = limit, cost
        with django_assert_num_queries(0):
            budget.refuse_when_spent()
            assert budget.today() is None
        assert api.send().status_code == 202


def test_the_question_costs_two_queries_whatever_there_is(
    api: Api, gemini: Gemini, settings: LazySettings, django_assert_num_queries: Any
) -> None:
    settings.DAILY_BUDGET_USD = Decimal(5)
    for _ in range(2):
        api.accepted()
        with django_assert_num_queries(2):
            budget.refuse_when_spent()
