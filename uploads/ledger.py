"""The ledger of paid calls: opened before the call, settled after it, whoever owns the upload by then."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum

from django.db import transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Now

from uploads import budget
from uploads.models import ProviderCall, Upload
from uploads.text import storable, storable_data

MOST_USD = Decimal(9999)
"""Of one call, whatever its provider says: the column of the sum has room for a hundred of them."""


class Outcome(StrEnum):
    """What came of a call."""

    PICTURE = "picture"
    NO_PICTURE = "no picture"
    BLOCKED = "blocked"
    REFUSED = "refused"
    """For a reason that only the operator can mend: key, permission, name of the model."""
    BUSY = "busy"
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    LOST = "lost"
    """No answer came back, or none that says what it cost."""


@dataclass(frozen=True)
class Settlement:
    status: str
    """SETTLED, FAILED or UNKNOWN of `ProviderCall`."""
    outcome: Outcome
    cost_usd: Decimal = Decimal(0)
    """Of a call whose status is UNKNOWN, its reserve is taken."""
    tokens: Mapping[str, int] = field(default_factory=dict)
    error_kind: str = ""
    reason: str = ""


def open_call(
    upload: Upload, *, fence: int, provider: str, model: str, reserved: Decimal, within: timedelta
) -> ProviderCall:
    """Committed when it returns. `within`: how long its caller can wait for the answer, at most.

    Raises `NotAllowed("BUDGET_EXHAUSTED")` when the day's budget has no room for it.
    """
    with transaction.atomic():
        budget.reserve(reserved)
        return ProviderCall.objects.create(
            upload=upload,
            run=upload.run,
            attempt=upload.attempt,
            fence=fence,
            provider=provider,
            model=model,
            prompt_version=upload.prompt_version,
            reserved_usd=reserved,
            deadline_at=Now() + within,
        )


def settle(call_id: int, settlement: Settlement) -> bool:
    """Write down what came of the call, and count it to its upload; False when that is known already.

    No fence is asked for: what was paid was paid, also for an upload that is somebody else's now, or has ended.
    """
    while True:
        with transaction.atomic():
            call = ProviderCall.objects.filter(pk=call_id).first()
            if call is None or not _may_become(call.status, settlement.status):
                return False
            if _settle(call, settlement):
                return True


def _may_become(old: str, new: str) -> bool:
    """An answer that comes after everybody had given up is better than none."""
    return old == ProviderCall.OPEN or (old == ProviderCall.UNKNOWN and new != ProviderCall.UNKNOWN)


def _settle(call: ProviderCall, settlement: Settlement) -> bool:
    unknown = settlement.status == ProviderCall.UNKNOWN
    cost = call.reserved_usd if unknown else min(max(settlement.cost_usd, Decimal(0)), MOST_USD)
    as_it_was = ProviderCall.objects.filter(pk=call.pk, status=call.status)
    if not as_it_was.update(
        status=settlement.status,
        outcome=settlement.outcome,
        cost_usd=cost,
        tokens=storable_data(dict(settlement.tokens)),
        error_kind=storable(settlement.error_kind)[:64],
        reason=storable(settlement.reason),
        ended_at=Now(),
    ):
        return False
    if (more := cost - call.cost_usd) and call.upload_id:
        # A poller sees the cost: another version.
        Upload.objects.filter(pk=call.upload_id).update(
            cost_usd=F("cost_usd") + more, version=F("version") + 1, updated_at=Now()
        )
    return True


def is_awaited(upload: Upload) -> bool:
    """Whether a call of an earlier run may still bring the picture of this one."""
    earlier = ProviderCall.objects.filter(upload=upload, run__lt=upload.run, status=ProviderCall.OPEN)
    return earlier.filter(deadline_at__gt=Now()).exists()


def may_have_drawn(upload: Upload, model: str) -> list[int]:
    """Keys of calls, the latest first, whose picture may have been kept: also of those that nobody has settled."""
    calls = ProviderCall.objects.filter(upload=upload, model=model, outcome__in=[Outcome.PICTURE, Outcome.LOST, ""])
    return list(calls.order_by("-pk").values_list("pk", flat=True))


def lose(upload: Upload, *, before: int) -> int:
    """Calls of this run whose claim is over, for its fence is below `before`, become unknown. Returns how many.

    Their worker is gone. One that was only held up may still settle its call, and put the figure right.
    """
    return _give_up(ProviderCall.objects.filter(upload=upload, run=upload.run, fence__lt=before))


def give_up_overdue(limit: int) -> int:
    """Calls whose worker must be gone become unknown; at most `limit` of them."""
    return _give_up(ProviderCall.objects.filter(deadline_at__lte=Now()).order_by("deadline_at"), limit)


def _give_up(calls: QuerySet[ProviderCall], limit: int | None = None) -> int:
    lost = Settlement(ProviderCall.UNKNOWN, Outcome.LOST, error_kind="no settlement")
    calls = calls.filter(status=ProviderCall.OPEN)
    return sum(settle(pk, lost) for pk in calls.values_list("pk", flat=True)[:limit])


def refusal() -> ProviderCall | None:
    """The latest call, if that is one which only the operator can mend. None when a later one was let in."""
    latest = ProviderCall.objects.exclude(status=ProviderCall.OPEN).order_by("-id").first()
    return latest if latest and latest.outcome == Outcome.REFUSED else None
