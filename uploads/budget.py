"""What may be spent in a day (UTC), and what is left of it.

Counted are the calls of today at their cost, the open ones at their reserve, and for every unfinished upload that
has still to be drawn the expected cost of that.
"""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from django.conf import settings
from django.db import connection
from django.db.models import Exists, OuterRef, Q, Sum
from django.utils import timezone

from uploads.errors import NotAllowed
from uploads.models import ProviderCall, Upload
from uploads.stages import Stage

LOCK = 0x6461726B
"""Of PostgreSQL's advisory locks, the one that is held while the budget is decided on."""


class Spending(NamedTuple):
    """US dollars."""

    limit: Decimal
    settled: Decimal
    reserved: Decimal
    expected: Decimal
    """For accepted uploads that have not been drawn yet; at most a little more than the limit leaves."""

    @property
    def left(self) -> Decimal:
        return self.limit - self.settled - self.reserved - self.expected


def today() -> Spending | None:
    """None when there is no limit, or nothing that costs."""
    limit = _limit()
    if limit is None:
        return None
    settled, reserved = _called()
    return Spending(limit, settled, reserved, _expected(limit - settled - reserved))


def refuse_when_spent() -> None:
    """Raises BUDGET_EXHAUSTED when one more upload is not to be had today."""
    spending = today()
    if spending and spending.left < settings.GENERATE_COST_USD:
        raise NotAllowed("BUDGET_EXHAUSTED")


def admit() -> None:
    """`refuse_when_spent`, right also when many ask at once: inside the transaction that writes the upload."""
    if _limit() is not None:
        _decide_alone()
        refuse_when_spent()


def reserve(cost: Decimal) -> None:
    """Raises BUDGET_EXHAUSTED when today's calls leave less than `cost`; inside the transaction that opens the call."""
    limit = _limit()
    if limit is not None:
        _decide_alone()
        if sum(_called()) + cost > limit:
            raise NotAllowed("BUDGET_EXHAUSTED")


def until_tomorrow() -> timedelta:
    """Until the next day's budget."""
    return midnight() + timedelta(days=1) - timezone.now()


def _limit() -> Decimal | None:
    """None also where pictures cost nothing."""
    limit: Decimal | None = settings.DAILY_BUDGET_USD
    return limit if settings.GENERATE_COST_USD > 0 else None


def _decide_alone() -> None:
    """To the end of the transaction; on SQLite every transaction is alone already."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])


def midnight() -> datetime:
    """When today began."""
    return timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)


def _called() -> tuple[Decimal, Decimal]:
    """Today's calls: what they cost, and what is reserved for those that are open."""
    sums = ProviderCall.objects.filter(started_at__gte=midnight()).aggregate(
        settled=Sum("cost_usd", default=Decimal(0)),
        reserved=Sum("reserved_usd", filter=Q(status=ProviderCall.OPEN), default=Decimal(0)),
    )
    return sums["settled"], sums["reserved"]


def _expected(left: Decimal) -> Decimal:
    """Counting stops where nothing is left."""
    cost: Decimal = settings.GENERATE_COST_USD
    enough = max(int(left / cost), 0) + 1
    being_drawn = ProviderCall.objects.filter(upload=OuterRef("pk"), status=ProviderCall.OPEN)
    to_draw = Upload.objects.unfinished().filter(
        ~Exists(being_drawn), Q(stage=None) | Q(stage__in=[Stage.VALIDATING, Stage.GENERATING])
    )
    return to_draw[:enough].count() * cost
