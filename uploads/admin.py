from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import F, Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.defaultfilters import filesizeformat
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.text import format_lazy
from django.utils.timesince import timesince
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from uploads import budget, ledger
from uploads.changelist import (
    RECENT,
    STAGE_WORDS,
    AgeFilter,
    BoundedPaginator,
    ErrorCodeFilter,
    ModelFilter,
    StageFilter,
    StateFilter,
    StatusFilter,
    among_recent,
    searched,
)
from uploads.errors import NotAllowed
from uploads.models import Event, ProviderCall, Result, Session, Step, Upload
from uploads.stages import Stage, StepName
from uploads.timeline import timeline
from uploads.transitions import is_retryable

MOST_EVENTS = 500
"""Shown of one job; one that logs without end has many more."""
MOST_REFUSALS = 10
"""Told one by one: messages travel in a cookie where they can."""
MOST_AT_ONCE = 500
"""Uploads that one action takes, also when all that the list has found are selected."""


Row = TypeVar("Row", bound=Model)


class ReadOnlyAdmin(admin.ModelAdmin):
    """Records are looked at here; they change by their own rules only. No table is counted to its end."""

    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def by_key(rows: QuerySet[Row], column: str, words: str) -> QuerySet[Row]:
    """Compared as an id, by its index: Django's own search compares texts, and reads them all."""
    words = words.strip()
    if not words:
        return rows
    try:
        return rows.filter(**{column: UUID(words)})
    except ValueError:
        return rows.none()


class ReadOnlyInline(admin.TabularInline):
    extra = 0
    can_delete = False
    show_change_link = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class StepInline(ReadOnlyInline):
    model = Step
    fields = ("name", "status", "attempt", "started", "completed", "took", "error", "output")
    readonly_fields = ("started", "completed", "took")
    ordering = ("id",)

    @admin.display(description=_("started"))
    def started(self, step: Step) -> str:
        return _clock(step.started_at)

    @admin.display(description=_("completed"))
    def completed(self, step: Step) -> str:
        return _clock(step.completed_at)

    @admin.display(description=_("took"))
    def took(self, step: Step) -> str:
        return "" if step.duration_ms is None else f"{step.duration_ms / 1000:.2f} s"


class EventInline(ReadOnlyInline):
    model = Event
    fields = ("seq", "at", "level", "type", "message", "data")
    readonly_fields = ("at",)
    ordering = ("seq",)
    verbose_name_plural = format_lazy(_("events, the last {number}"), number=MOST_EVENTS)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Event]:
        """By a bound and not by a slice, for the form that shows them asks more of them."""
        events: QuerySet[Event] = super().get_queryset(request)
        return events.filter(seq__gt=F("upload__event_count") - MOST_EVENTS)

    @admin.display(description=_("at"))
    def at(self, event: Event) -> str:
        return _clock(event.created_at)


class ProviderCallInline(ReadOnlyInline):
    model = ProviderCall
    verbose_name_plural = _("paid calls")
    fields = ("at", "run", "attempt", "model", "status", "outcome", "error_kind", "reason", "cost_usd", "tokens")
    readonly_fields = ("at",)
    ordering = ("id",)

    @admin.display(description=_("at"))
    def at(self, call: ProviderCall) -> str:
        return _clock(call.started_at)


class ResultInline(admin.StackedInline):
    model = Result
    extra = 0
    can_delete = False
    has_add_permission = has_change_permission = ReadOnlyInline.has_add_permission
    fields = ("full", "preview", "thumbnail", "width", "height", "model", "prompt_version", "unlocked_at")


class Operation(NamedTuple):
    written: str
    """In the audit log, in its language: whoever reads it later may speak another."""
    meaning: Promise
    """Told before it is done."""
    rule: Callable[[Upload], bool | None]
    """False when there was nothing to do."""
    is_of_use: Callable[[Upload], bool]
    """Whether the page of a record offers it; the rule decides."""


def _may_be_tried_again(upload: Upload) -> bool:
    gone = upload.deleted_at or upload.has_expired(timezone.now())
    return upload.stage == Stage.FAILED and not gone and is_retryable(upload.error_code)


def _is_locked(upload: Upload) -> bool:
    result = _shown(upload)
    return upload.stage == Stage.COMPLETE and result is not None and result.unlocked_at is None


OPERATIONS = {
    "retry": Operation(
        "Retry",
        _("It goes on from the step that failed; what is done is kept."),
        Upload.retry,
        _may_be_tried_again,
    ),
    "cancel": Operation(
        "Cancel",
        _("It ends now, as failed; it can be tried again later."),
        Upload.cancel,
        lambda upload: not upload.is_terminal,
    ),
    "unlock": Operation(
        "Unlock the full picture",
        _("Whoever sent it may then download it in full size and without the watermark."),
        Upload.unlock,
        _is_locked,
    ),
    "discard": Operation(
        "Delete",
        _("Whoever sent it finds it no more, and its pictures go for good. If it still runs, it is cancelled."),
        Upload.discard,
        lambda upload: not upload.deleted_at,
    ),
}


def _do(request: HttpRequest, upload: Upload, operation: Operation) -> bool:
    """Both or neither: nothing is done that is not written down, and nothing written down that was not done.

    False when there was nothing to do.
    """
    with transaction.atomic():
        if operation.rule(upload) is False:
            return False
        LogEntry.objects.log_actions(request.user.pk or 0, [upload], CHANGE, operation.written)
    return True


def _record(uploads: list[Upload]) -> str | None:
    """The page of the one that was chosen."""
    return reverse("admin:uploads_upload_change", args=[uploads[0].pk]) if len(uploads) == 1 else None


@admin.register(Upload)
class UploadAdmin(ReadOnlyAdmin):
    list_display = ("thumbnail", "name", "stage_now", "bar", "tries", "age")
    list_display_links = ("name",)
    list_filter = (AgeFilter, StatusFilter, StateFilter, StageFilter, ErrorCodeFilter, ModelFilter)
    list_select_related = ("result",)
    list_per_page = 50
    search_fields = ("id",)  # anything: shows the box; `searched` does it
    search_help_text = format_lazy(
        _("An id of a job, session or result; a source; or a part of a name of the newest {number}."),
        number=f"{RECENT:,}",
    )
    ordering = ("-id",)
    sortable_by = ()  # by anything but the id, the whole table would have to be sorted
    actions = ("retry", "cancel", "unlock", "discard")
    inlines = (StepInline, EventInline, ProviderCallInline, ResultInline)
    readonly_fields = ("pictures", "timeline", "bar", "age", "deliveries")
    fieldsets = (
        (
            None,
            {"fields": ("pictures", "id", "status", "stage", "bar", "attempt", "run", "age", "cost_usd", "deliveries")},
        ),
        (_("Where the time went"), {"fields": ("timeline",)}),
        (
            _("What came in"),
            {"fields": ("session", "original_name", "content_type", "size", "sha256", "source", "prompt_version")},
        ),
        (_("What went wrong"), {"fields": ("error_code", "error_message", "error_detail", "failed_step")}),
        (
            _("Ownership and time"),
            {
                "fields": (
                    ("fence", "run_id"),
                    ("lease_until", "due_at", "hinted_at", "deadline_at"),
                    ("created_at", "started_at", "completed_at", "updated_at", "deleted_at"),
                    ("version", "event_count"),
                )
            },
        ),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return (*self.readonly_fields, "size")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Upload], search_term: str
    ) -> tuple[QuerySet[Upload], bool]:
        return searched(queryset, search_term), False

    def has_operate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("uploads.change_upload")

    @admin.action(description=_("Retry"), permissions=["operate"])
    def retry(self, request: HttpRequest, uploads: QuerySet[Upload]) -> HttpResponse | None:
        return self._confirmed(request, uploads, "retry")

    @admin.action(description=_("Cancel"), permissions=["operate"])
    def cancel(self, request: HttpRequest, uploads: QuerySet[Upload]) -> HttpResponse | None:
        return self._confirmed(request, uploads, "cancel")

    @admin.action(description=_("Unlock the full picture"), permissions=["operate"])
    def unlock(self, request: HttpRequest, uploads: QuerySet[Upload]) -> HttpResponse | None:
        return self._confirmed(request, uploads, "unlock")

    @admin.action(description=_("Delete"), permissions=["operate"])
    def discard(self, request: HttpRequest, uploads: QuerySet[Upload]) -> HttpResponse | None:
        return self._confirmed(request, uploads, "discard")

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Also what may be done with this one: the same actions, asked about by the same page."""
        upload = kwargs.get("obj")
        if upload and self.has_operate_permission(request):
            of_use = [name for name, operation in OPERATIONS.items() if operation.is_of_use(upload)]
            context["operations"] = [(name, getattr(self, name).short_description) for name in of_use]
        return super().render_change_form(request, context, *args, **kwargs)

    def _confirmed(self, request: HttpRequest, uploads: QuerySet[Upload], action: str) -> HttpResponse | None:
        """Ask first; then do it by the record's own rule to each, write it down, and say what came of it.

        What is asked is what is done: the same uploads by their ids, however many the list has found by then.
        """
        description = str(getattr(UploadAdmin, action).short_description)
        chosen = list(uploads.order_by("-id")[: MOST_AT_ONCE + 1])
        record = _record(chosen) if "record" in request.POST else None
        if "confirmed" not in request.POST:
            context = self.admin_site.each_context(request) | {
                "title": f"{description}?",
                "verb": description,
                "meaning": OPERATIONS[action].meaning,
                "action": action,
                "uploads": chosen[:MOST_AT_ONCE],
                "most": MOST_AT_ONCE if len(chosen) > MOST_AT_ONCE else 0,
                "opts": self.opts,
                "record": record,
                "back": record or request.get_full_path(),
            }
            return TemplateResponse(request, "admin/uploads/confirm.html", context)
        done, idle, refused = 0, 0, []
        for upload in chosen[:MOST_AT_ONCE]:
            try:
                changed = _do(request, upload, OPERATIONS[action])
            except NotAllowed as error:
                refused.append(f"{upload}: {gettext(error.message)}")
            else:
                done, idle = done + changed, idle + (not changed)
        if done:
            told = gettext("%(action)s: %(number)d done.") % {"action": description, "number": done}
            self.message_user(request, told, messages.SUCCESS)
        if idle or not chosen:
            told = gettext("%(action)s: nothing to do for %(number)d.") % {"action": description, "number": idle}
            self.message_user(request, told, messages.WARNING)
        for sentence in refused[:MOST_REFUSALS]:
            self.message_user(request, sentence, messages.WARNING)
        if len(refused) > MOST_REFUSALS:
            told = gettext("%(number)d more were refused.") % {"number": len(refused) - MOST_REFUSALS}
            self.message_user(request, told, messages.WARNING)
        return HttpResponseRedirect(record) if record else None

    @admin.display(description="")
    def thumbnail(self, upload: Upload) -> SafeString | str:
        result = _shown(upload)
        return _image(result.thumbnail.url, "thumbnail") if result else _none("thumbnail")

    @admin.display(description=_("Pictures: as it came, and as it became"))
    def pictures(self, upload: Upload) -> SafeString | str:
        if upload.files_purged_at:
            return gettext("The files are gone.")
        result, cleaned = _shown(upload), _cleaned(upload)
        missing = _none("preview", gettext("Not checked yet."))
        came = _image(default_storage.url(cleaned), "preview") if cleaned else missing
        became = _image(result.preview.url, "preview") if result and result.preview else ""
        return format_html("{} {}", came, became)

    @admin.display(description=_("to scale, from acceptance"))
    def timeline(self, upload: Upload) -> SafeString:
        events = upload.events.filter(seq__gt=upload.event_count - MOST_EVENTS).order_by("seq")
        drawn = timeline(upload.created_at, events, upload.completed_at or timezone.now())
        return render_to_string("admin/uploads/timeline.html", {"timeline": drawn})

    @admin.display(description=_("webhooks"))
    def deliveries(self, upload: Upload) -> SafeString:
        # By name: that room knows this one, and not the other way round.
        address = reverse("admin:status_webhookdelivery_changelist")
        words = gettext("what was delivered, and how often it was tried")
        return format_html('<a href="{}?q={}">{}</a>', address, upload.pk, words)

    @admin.display(description=_("picture"))
    def name(self, upload: Upload) -> str:
        return upload.original_name or str(upload.pk)

    @admin.display(description=_("stage"))
    def stage_now(self, upload: Upload) -> SafeString | str:
        words = str(STAGE_WORDS[upload.current_stage])
        if upload.error_code:
            # Broken where it may be, so that a long one takes no room from the other columns.
            code = format_html_join(mark_safe("_<wbr>"), "{}", ([part] for part in upload.error_code.split("_")))
            return format_html('{}<span class="darkroom-code">{}</span>', words, code)
        return words

    @admin.display(description=_("progress"))
    def bar(self, upload: Upload) -> SafeString:
        return format_html(
            '<progress class="darkroom-bar darkroom-{}" max="100" value="{}"></progress> {}%',
            upload.status,
            upload.progress,
            upload.progress,
        )

    @admin.display(description=_("attempt"))
    def tries(self, upload: Upload) -> str:
        tries = f"{upload.attempt}/{upload.max_attempts}"
        if upload.run == 1:
            return tries
        return gettext("%(tries)s, run %(run)d") % {"tries": tries, "run": upload.run}

    @admin.display(description=_("age"))
    def age(self, upload: Upload) -> str:
        return timesince(upload.created_at, depth=1)

    @admin.display(description=_("size"))
    def size(self, upload: Upload) -> str:
        return f"{upload.width} × {upload.height}, {filesizeformat(upload.byte_size)}"


def _clock(time: datetime | None) -> str:
    """To the millisecond, for reading a timeline; UTC, like everything here."""
    return f"{time:%Y-%m-%d %H:%M:%S}.{time.microsecond // 1000:03}" if time else ""


def _shown(upload: Upload) -> Result | None:
    return None if upload.files_purged_at else getattr(upload, "result", None)


def _cleaned(upload: Upload) -> str | None:
    """The picture that came, as `validate` hands it on: decoded and written anew, so that nothing else is in it.

    The file as it was sent has no link anywhere: whatever is in it, a GPS position too, is the sender's.
    """
    outputs = upload.steps.filter(name=StepName.VALIDATE).values_list("output__work", flat=True)
    return outputs.first()


def _none(kind: str, words: str = "") -> SafeString:
    return format_html('<span class="darkroom-{} darkroom-none">{}</span>', kind, words)


def _image(url: str, kind: str) -> SafeString:
    return format_html('<img class="darkroom-{}" src="{}" alt="" loading="lazy">', kind, url)


@admin.register(Session)
class SessionAdmin(ReadOnlyAdmin):
    list_display = ("id", "created_at")
    search_fields = ("id",)  # shows the box
    search_help_text = _("A session's id.")
    ordering = ("-id",)
    exclude = ("token_hash",)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Session], search_term: str
    ) -> tuple[QuerySet[Session], bool]:
        return by_key(queryset, "pk", search_term), False


@admin.register(ProviderCall)
class ProviderCallAdmin(ReadOnlyAdmin):
    list_display = ("started", "upload_link", "model", "status", "outcome", "error_kind", "cost_usd", "took")
    list_filter = ("started_at",)
    search_fields = ("id",)  # shows the box
    search_help_text = _("An upload's id.")
    ordering = ("-id",)
    readonly_fields = ("upload_link", "took")
    fieldsets = (
        (None, {"fields": ("upload_link", ("provider", "model", "prompt_version"), ("run", "attempt", "fence"))}),
        (_("What came of it"), {"fields": (("status", "outcome", "error_kind"), "reason")}),
        (_("What it cost"), {"fields": (("cost_usd", "reserved_usd"), "tokens")}),
        (_("Time"), {"fields": (("started_at", "ended_at", "deadline_at"), "took")}),
    )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[ProviderCall], search_term: str
    ) -> tuple[QuerySet[ProviderCall], bool]:
        return by_key(queryset, "upload_id", search_term), False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Also today's budget, and whether the provider lets us in."""
        context = {"spending": budget.today(), "refusal": ledger.refusal()}
        return super().changelist_view(request, context | (extra_context or {}))

    @admin.display(description=_("started"), ordering="id")
    def started(self, call: ProviderCall) -> str:
        return _clock(call.started_at)

    @admin.display(description=_("upload"))
    def upload_link(self, call: ProviderCall) -> SafeString | str:
        if call.upload_id is None:
            return gettext("deleted")
        return format_html(
            '<a href="{}">{}</a>', reverse("admin:uploads_upload_change", args=[call.upload_id]), call.upload_id
        )

    @admin.display(description=_("took"))
    def took(self, call: ProviderCall) -> str:
        return f"{(call.ended_at - call.started_at).total_seconds():.1f} s" if call.ended_at else ""


@admin.register(LogEntry)
class LogEntryAdmin(ReadOnlyAdmin):
    """Who has done what, also to what is gone: what was done to uploads and webhooks for whoever may see uploads."""

    list_display = ("at", "user", "done", "thing", "object_id")
    list_display_links = ("at",)
    list_select_related = ("user", "content_type")
    search_fields = ("id",)  # shows the box
    search_help_text = format_lazy(_("An id, of the newest {number} entries."), number=f"{RECENT:,}")
    ordering = ("-id",)
    sortable_by = ()
    fields = ("at", "user", "done", "thing", "object_id", "link")
    readonly_fields = ("at", "done", "thing", "link")

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_view_permission(request, obj) or request.user.has_perm("uploads.view_upload")

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def get_queryset(self, request: HttpRequest) -> QuerySet[LogEntry]:
        entries: QuerySet[LogEntry] = super().get_queryset(request)
        if super().has_view_permission(request):
            return entries
        return entries.filter(content_type__app_label__in=["uploads", "status"])

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[LogEntry], search_term: str
    ) -> tuple[QuerySet[LogEntry], bool]:
        words = search_term.strip().replace("\0", "")
        return (among_recent(queryset).filter(object_id=words) if words else queryset), False

    @admin.display(description=_("at"))
    def at(self, entry: LogEntry) -> str:
        return _clock(entry.action_time)

    @admin.display(description=_("what was done"))
    def done(self, entry: LogEntry) -> str:
        said = entry.get_change_message()
        return gettext(said) if said else entry.get_action_flag_display()

    @admin.display(description=_("to what"))
    def thing(self, entry: LogEntry) -> str:
        return str(entry.content_type.name) if entry.content_type else ""

    @admin.display(description=_("record"))
    def link(self, entry: LogEntry) -> SafeString | str:
        address = entry.get_admin_url()
        return format_html('<a href="{}">{}</a>', address, entry.object_repr) if address else entry.object_repr
