"""What keeps the admin's list of uploads quick at a million rows.

Nothing counts or reads them all: counting stops at `COUNTED`, every filter reads through an index of the model,
and what no index can answer looks at the newest `RECENT` only.
"""

from datetime import timedelta
from functools import cached_property
from typing import Any, TypeVar
from uuid import UUID

from django.conf import settings
from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from uploads.errors import REASONS
from uploads.models import Result, Upload
from uploads.retention import first_id_at
from uploads.stages import WORK, Stage, Status

COUNTED = 10_000
RECENT = 100_000
SEEN_LATELY = 1000
"""So many of the newest rows show which values a filter has to offer."""
STATUS_WORDS = {
    Status.PENDING: _("pending"),
    Status.PROCESSING: _("processing"),
    Status.COMPLETED: _("completed"),
    Status.FAILED: _("failed"),
}
STAGE_WORDS = {
    None: _("pending"),
    Stage.VALIDATING: _("validating"),
    Stage.GENERATING: _("generating"),
    Stage.STORING: _("storing"),
    Stage.WATERMARKING: _("watermarking"),
    Stage.COMPLETE: _("complete"),
    Stage.FAILED: _("failed"),
}
Row = TypeVar("Row", bound=Model)


class BoundedPaginator(Paginator):
    """Pages of the first `COUNTED` rows; `has_more` when there are others."""

    @cached_property
    def count(self) -> int:
        return min(self._found, COUNTED)

    @property
    def has_more(self) -> bool:
        return self._found > COUNTED

    @cached_property
    def _found(self) -> int:
        assert isinstance(self.object_list, QuerySet)  # noqa: S101 - the admin paginates nothing else
        return self.object_list.order_by().values("pk")[: COUNTED + 1].count()


def among_recent(rows: QuerySet[Row]) -> QuerySet[Row]:
    """The newest `RECENT` of them, by a bound on the id and not by a slice, so that more can be asked of them."""
    oldest: Any = rows.order_by("-id").values_list("id", flat=True)[RECENT - 1 : RECENT]
    for bound in oldest:
        return rows.filter(id__gte=bound)
    return rows


def by_index(uploads: QuerySet[Upload], found: QuerySet[Upload], column: str) -> QuerySet[Upload]:
    """Those of them that are `found`, read in the order of the index on `column`: they are few.

    Asked for the newest of them first, SQLite would read all the others as well.
    """
    return uploads.filter(pk__in=found.order_by(column).values("pk")[:COUNTED])


def unfinished(uploads: QuerySet[Upload]) -> QuerySet[Upload]:
    return by_index(uploads, Upload.objects.unfinished(), "due_at")


def searched(uploads: QuerySet[Upload], words: str) -> QuerySet[Upload]:
    """By id, session or result; else by the caller's reference; else by a part of the name, among the recent."""
    words = words.strip().replace("\0", "")
    if not words:
        return uploads
    try:
        wanted = UUID(words)
    except ValueError:
        pass
    else:
        of_result = Result.objects.filter(pk=wanted).values("upload")
        return uploads.filter(Q(pk=wanted) | Q(session=wanted) | Q(pk__in=of_result))
    by_source = uploads.exclude(source="").filter(source=words)
    if by_source.exists():
        return by_source
    return among_recent(uploads).filter(original_name__icontains=words)


class AgeFilter(admin.SimpleListFilter):
    """By the id, which knows when it was made: `created_at` needs no index for this."""

    title = _("age")
    parameter_name = "age"
    _hours = {"hour": 1, "day": 24, "week": 7 * 24, "month": 30 * 24}  # noqa: RUF012 - never changed

    def lookups(self, request: HttpRequest, model_admin: object) -> list[tuple[str, str]]:
        return [
            ("hour", gettext("up to an hour")),
            ("day", gettext("up to a day")),
            ("week", gettext("up to 7 days")),
            ("month", gettext("up to 30 days")),
            ("older", gettext("more than 30 days")),
        ]

    def queryset(self, request: HttpRequest, uploads: QuerySet[Upload]) -> QuerySet[Upload]:
        age = self.value()
        if age == "older":
            return uploads.filter(id__lt=first_id_at(timezone.now() - timedelta(days=30)))
        if age in self._hours:
            return uploads.filter(id__gte=first_id_at(timezone.now() - timedelta(hours=self._hours[age])))
        return uploads


class StatusFilter(admin.SimpleListFilter):
    """In the words of the indexes: `status` and `stage` are in none, or every move of a job would write to it."""

    title = _("status")
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: object) -> list[tuple[str, str]]:
        return [(status.value, str(words)) for status, words in STATUS_WORDS.items()]

    def queryset(self, request: HttpRequest, uploads: QuerySet[Upload]) -> QuerySet[Upload]:
        match self.value():
            case Status.PENDING:
                return uploads.filter(started_at=None, completed_at=None)
            case Status.PROCESSING:
                return unfinished(uploads).filter(started_at__isnull=False)
            case Status.FAILED:
                return uploads.exclude(error_code="")
            case Status.COMPLETED:
                return among_recent(uploads).filter(stage=Stage.COMPLETE)
        return uploads


class StageFilter(admin.SimpleListFilter):
    """Where unfinished jobs are."""

    title = _("stage")
    parameter_name = "stage"

    def lookups(self, request: HttpRequest, model_admin: object) -> list[tuple[str, str]]:
        return [(stage.value, str(STAGE_WORDS[stage])) for stage in WORK]

    def queryset(self, request: HttpRequest, uploads: QuerySet[Upload]) -> QuerySet[Upload]:
        if self.value() not in dict(self.lookup_choices):
            return uploads
        return unfinished(uploads).filter(stage=self.value())


class StateFilter(admin.SimpleListFilter):
    """What the stages do not tell: who has it, and who should have."""

    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: object) -> list[tuple[str, str]]:
        quiet = quiet_for().total_seconds()
        return [
            ("stuck", gettext("stuck: due, and nothing new for %(number)d s") % {"number": quiet}),
            ("leased", gettext("being worked on")),
            ("waiting", gettext("waiting")),
            ("retrying", gettext("tried again")),
            ("deleted", gettext("deleted")),
        ]

    def queryset(self, request: HttpRequest, uploads: QuerySet[Upload]) -> QuerySet[Upload]:
        now = timezone.now()
        match self.value():
            case "stuck":
                return unfinished(uploads).filter(due_at__lt=now, updated_at__lt=now - quiet_for())
            case "leased":
                return unfinished(uploads).filter(lease_until__gt=now)
            case "waiting":
                return unfinished(uploads).exclude(lease_until__gt=now)
            case "retrying":
                return unfinished(uploads).filter(attempt__gt=1)
            case "deleted":
                return by_index(uploads, Upload.objects.filter(deleted_at__isnull=False), "deleted_at")
        return uploads


def quiet_for() -> timedelta:
    """Longer than any step may take and its loss may go unnoticed: a job that waits this long needs a look."""
    return settings.STEP_TIMEOUT + 2 * settings.STEP_LEASE


class ErrorCodeFilter(admin.SimpleListFilter):
    """Those that the latest failures have."""

    title = _("error code")
    parameter_name = "error_code"

    def lookups(self, request: HttpRequest, model_admin: object) -> list[tuple[str, str]]:
        failed = Upload.objects.exclude(error_code="").order_by("-id")
        codes = set(failed.values_list("error_code", flat=True)[:SEEN_LATELY])
        asked = self.value()
        if asked in REASONS:
            codes.add(asked)
        return [(code, code) for code in sorted(codes)]

    def queryset(self, request: HttpRequest, uploads: QuerySet[Upload]) -> QuerySet[Upload]:
        if self.value() not in dict(self.lookup_choices):
            return uploads
        return uploads.exclude(error_code="").filter(error_code=self.value())


class ModelFilter(admin.SimpleListFilter):
    """What drew the result."""

    title = _("generator")
    parameter_name = "model"

    def lookups(self, request: HttpRequest, model_admin: object) -> list[tuple[str, str]]:
        models = Result.objects.order_by("-id").values_list("model", flat=True)[:SEEN_LATELY]
        return [(model, model) for model in sorted(set(models))]

    def queryset(self, request: HttpRequest, uploads: QuerySet[Upload]) -> QuerySet[Upload]:
        if self.value() not in dict(self.lookup_choices):
            return uploads
        return among_recent(uploads).filter(result__model=self.value())
