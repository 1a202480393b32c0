import re
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from uuid_utils.compat import uuid7

from status import webhooks
from status.models import ROTATION, WebhookDelivery, WebhookEndpoint
from status.tasks import hint_deliveries
from uploads.admin import ReadOnlyAdmin, by_key
from uploads.changelist import COUNTED, BoundedPaginator

SHOW_SECRET = "show-webhook-secret"  # noqa: S105 - a name in the session, which keeps the endpoint's id only
MOST_SHOWN = 100
MESSAGE_ID, TEST_ID = re.compile(r"evt_([0-9a-f]{32})_[0-9]+"), re.compile(r"test_\w+")


def _asks(
    model_admin: admin.ModelAdmin, request: HttpRequest, rows: QuerySet[Any], action: str, explanation: str
) -> HttpResponse | None:
    """The page that asks whether it is meant; None once it has been answered."""
    if "confirmed" in request.POST:
        return None
    across = request.POST.get("select_across") == "1"
    chosen = list(rows[: MOST_SHOWN + 1])
    more = BoundedPaginator(rows, 1).count - MOST_SHOWN if across and len(chosen) > MOST_SHOWN else 0
    verb = str(getattr(model_admin, action).short_description)
    context = model_admin.admin_site.each_context(request) | {
        "title": f"{verb}?",
        "verb": verb,
        "explanation": explanation,
        "action": action,
        "chosen": chosen if not more else chosen[:MOST_SHOWN],
        "more": f"{more} or more" if more >= COUNTED - MOST_SHOWN else more,
        "opts": model_admin.opts,
        "back": request.get_full_path(),
    }
    return TemplateResponse(request, "admin/status/confirm.html", context)


class EndpointForm(forms.ModelForm):
    types = forms.MultipleChoiceField(
        choices=[(name, name) for name in webhooks.TYPES],
        widget=forms.CheckboxSelectMultiple,
        initial=webhooks.all_types,
    )

    class Meta:
        model = WebhookEndpoint
        fields = ("url", "description", "types")


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(admin.ModelAdmin):
    form = EndpointForm
    list_display = ("name", "wants", "state", "deliveries", "created_at")
    fields = ("url", "description", "types", "state", "rotation")
    readonly_fields = ("state", "rotation")
    actions = ("enable", "disable", "rotate", "send_test")
    show_full_result_count = False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """What has a log is disabled and not deleted."""
        if obj is None or obj.deliveries.exists():
            return False
        return super().has_delete_permission(request, obj)

    def save_model(self, request: HttpRequest, obj: WebhookEndpoint, form: forms.ModelForm, change: bool) -> None:
        """Only what was asked for: the rest of the row may have changed since it was read."""
        obj.save(update_fields=form.changed_data if change else None)

    def response_add(self, request: HttpRequest, obj: WebhookEndpoint, post_url_continue: Any = None) -> HttpResponse:
        return self._shows_secret(request, obj)

    def _shows_secret(self, request: HttpRequest, endpoint: WebhookEndpoint) -> HttpResponse:
        request.session[SHOW_SECRET] = endpoint.pk
        return HttpResponseRedirect(reverse("admin:status_webhookendpoint_change", args=[endpoint.pk]))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        context = dict(extra_context or {})
        if request.method == "GET" and str(request.session.get(SHOW_SECRET)) == object_id:
            del request.session[SHOW_SECRET]
            endpoint = self.get_object(request, object_id)
            if endpoint and self.has_change_permission(request, endpoint):
                context["secret"] = endpoint.secret()
        response = super().change_view(request, object_id, form_url, context)
        if "secret" in context:
            response["Cache-Control"] = "no-store"
        return response

    @admin.action(description="Enable", permissions=["change"])
    def enable(self, request: HttpRequest, endpoints: QuerySet[WebhookEndpoint]) -> HttpResponse | None:
        words = "What was waiting when it was disabled goes out; what happened since does not."
        if answer := _asks(self, request, endpoints, "enable", words):
            return answer
        with transaction.atomic():
            self._done(request, [endpoint for endpoint in endpoints if endpoint.enable()], "Enabled")
        hint_deliveries()
        return None

    @admin.action(description="Disable", permissions=["change"])
    def disable(self, request: HttpRequest, endpoints: QuerySet[WebhookEndpoint]) -> HttpResponse | None:
        words = "Nothing is sent any more. What happens until it is enabled again, it never hears of."
        if answer := _asks(self, request, endpoints, "disable", words):
            return answer
        reason = f"By {request.user.get_username()}."
        with transaction.atomic():
            self._done(request, [endpoint for endpoint in endpoints if endpoint.disable(reason)], "Disabled")
        return None

    @admin.action(description="Rotate the secret", permissions=["change"])
    def rotate(self, request: HttpRequest, endpoints: QuerySet[WebhookEndpoint]) -> HttpResponse | None:
        if len(endpoints) != 1:
            self.message_user(request, "One at a time: the new secret is shown once.", messages.WARNING)
            return None
        hours = round(ROTATION.total_seconds() / 3600)
        words = f"The new secret is shown once. For {hours} hours messages are signed with both."
        if answer := _asks(self, request, endpoints, "rotate", words):
            return answer
        endpoint = endpoints[0]
        with transaction.atomic():
            endpoint.rotate()
            self._done(request, [endpoint], "Secret rotated")
        return self._shows_secret(request, endpoint)

    @admin.action(description="Send a test", permissions=["change"])
    def send_test(self, request: HttpRequest, endpoints: QuerySet[WebhookEndpoint]) -> HttpResponse | None:
        enabled = [endpoint for endpoint in endpoints if endpoint.is_enabled]
        if len(enabled) < len(endpoints):
            self.message_user(request, "A disabled endpoint is sent nothing, not even a test.", messages.WARNING)
        tests = [
            WebhookDelivery(
                endpoint=endpoint, message_id=f"test_{uuid7().hex}", type=webhooks.TEST, body=webhooks.test_body()
            )
            for endpoint in enabled
        ]
        if not tests:
            return None
        with transaction.atomic():
            WebhookDelivery.objects.bulk_create(tests)
            self._done(request, enabled, "Test sent")
        hint_deliveries()
        return HttpResponseRedirect(reverse("admin:status_webhookdelivery_changelist"))

    def _done(self, request: HttpRequest, endpoints: list[WebhookEndpoint], words: str) -> None:
        """Written down in the transaction of what was done; only what was."""
        LogEntry.objects.log_actions(request.user.pk or 0, endpoints, CHANGE, words)
        self.message_user(request, f"{words}: {len(endpoints)}.", messages.SUCCESS if endpoints else messages.WARNING)

    @admin.display(description="endpoint", ordering="url")
    def name(self, endpoint: WebhookEndpoint) -> str:
        return str(endpoint)

    @admin.display(description="types")
    def wants(self, endpoint: WebhookEndpoint) -> str:
        return ", ".join(endpoint.types)

    @admin.display(description="state")
    def state(self, endpoint: WebhookEndpoint) -> SafeString | str:
        if not endpoint.is_enabled:
            return format_html("<strong>disabled {}</strong> {}", endpoint.disabled_at, endpoint.disabled_reason)
        if endpoint.failing_since:
            return f"failing since {endpoint.failing_since:%Y-%m-%d %H:%M} UTC"
        return "enabled, slow" if endpoint.is_slow else "enabled"

    @admin.display(description="secret before the rotation")
    def rotation(self, endpoint: WebhookEndpoint) -> str:
        until = endpoint.previous_until
        return f"valid until {until:%Y-%m-%d %H:%M} UTC" if until else "none"

    @admin.display(description="deliveries")
    def deliveries(self, endpoint: WebhookEndpoint) -> SafeString:
        log = reverse("admin:status_webhookdelivery_changelist")
        return format_html('<a href="{}?endpoint__id__exact={}">log</a>', log, endpoint.pk)


class TypeFilter(admin.SimpleListFilter):
    """All that there are: Django's own filter reads the whole table to find those that are in use."""

    title = parameter_name = "type"

    def lookups(self, request: HttpRequest, model_admin: object) -> list[tuple[str, str]]:
        return [(name, name) for name in (*webhooks.TYPES, webhooks.TEST)]

    def queryset(self, request: HttpRequest, deliveries: QuerySet[WebhookDelivery]) -> QuerySet[WebhookDelivery]:
        return deliveries.filter(type=self.value()) if self.value() else deliveries


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(ReadOnlyAdmin):
    # What somebody comes for, first: the rest may be out of sight.
    list_display = ("status", "attempts", "answered", "receiver", "type", "created_at", "due", "shortly")
    list_filter = ("status", TypeFilter, "endpoint")
    list_select_related = ("endpoint",)
    ordering = ("-id",)
    search_fields = ("id",)  # shows the box; `searched` does it
    search_help_text = "A webhook-id, or an upload's id."
    actions = ("replay",)
    fields = (
        ("status", "attempts", "tries_left"),
        ("due", "delivered_at"),
        "answered",
        "answer",
        "log",
        "receiver",
        ("type", "upload"),
        ("message_id", "created_at"),
        "message",
    )
    readonly_fields = ("receiver", "answered", "answer", "log", "message", "due")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[WebhookDelivery], search_term: str
    ) -> tuple[QuerySet[WebhookDelivery], bool]:
        return searched(queryset, search_term), False

    def has_operate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("status.change_webhookdelivery")

    @admin.action(description="Replay", permissions=["operate"])
    def replay(self, request: HttpRequest, deliveries: QuerySet[WebhookDelivery]) -> HttpResponse | None:
        words = "Each is sent once more, with the same id and body, and tried anew for about a day."
        words += " Those of a disabled endpoint stay as they are."
        if answer := _asks(self, request, deliveries, "replay", words):
            return answer
        count = refused = 0
        for chosen in _in_batches(deliveries):
            with transaction.atomic():
                replayed = list(chosen.to_enabled().select_for_update(of=("self",)))
                refused += len(chosen) - len(replayed)
                count += WebhookDelivery.objects.filter(pk__in=[each.pk for each in replayed]).replay()
                LogEntry.objects.log_actions(request.user.pk or 0, replayed, CHANGE, "Replayed")
        if refused:
            words = f"Not replayed: {refused}. Their endpoint is disabled, and is sent nothing: enable it first."
            self.message_user(request, words, messages.WARNING)
        if count:
            self.message_user(request, f"Replay: {count} are due now.", messages.SUCCESS)
            hint_deliveries()
        return None

    @admin.display(description="receiver")
    def receiver(self, delivery: WebhookDelivery) -> SafeString:
        words = str(delivery.endpoint) if delivery.endpoint else f"{delivery.url} (came with the upload)"
        return format_html('<span title="{}">{}</span>', words, words)

    @admin.display(description="answered")
    def answered(self, delivery: WebhookDelivery) -> SafeString | str:
        if delivery.last_duration_ms is None:
            return "-"
        words = f"{delivery.last_status or 'nothing'} in {delivery.last_duration_ms / 1000:.2f} s"
        return format_html("{}<br>{}", words, delivery.last_error) if delivery.last_error else words

    @admin.display(description="message id")
    def shortly(self, delivery: WebhookDelivery) -> SafeString:
        whole = delivery.message_id
        return format_html('<span title="{}">{}…{}</span>', whole, whole[:5], whole[-9:])

    @admin.display(description="next try")
    def due(self, delivery: WebhookDelivery) -> str:
        waits = delivery.status == WebhookDelivery.PENDING
        return f"{delivery.due_at:%Y-%m-%d %H:%M:%S}" if waits else "-"

    @admin.display(description="beginning of the last answer")
    def answer(self, delivery: WebhookDelivery) -> SafeString:
        return format_html("<pre>{}</pre>", delivery.last_answer)

    @admin.display(description="attempts")
    def log(self, delivery: WebhookDelivery) -> SafeString:
        lines = ((each["at"], each["status"] or "–", each["ms"], each["error"]) for each in delivery.history)
        return format_html("<ol>{}</ol>", format_html_join("", "<li>{} · {} · {} ms · {}</li>", lines))

    @admin.display(description="message")
    def message(self, delivery: WebhookDelivery) -> SafeString:
        return format_html("<pre>{}</pre>", delivery.body)


def searched(deliveries: QuerySet[WebhookDelivery], words: str) -> QuerySet[WebhookDelivery]:
    """By an upload's id or a webhook-id, which has the upload's in it; those of tests are few and have no upload."""
    words = words.strip()
    if found := MESSAGE_ID.fullmatch(words):
        return deliveries.filter(upload_id=UUID(found[1]), message_id=words)
    if TEST_ID.fullmatch(words):
        return deliveries.filter(upload=None, message_id=words)
    return by_key(deliveries, "upload_id", words)


def _in_batches(deliveries: QuerySet[WebhookDelivery], size: int = 1000) -> Any:
    """Newest first, by their ids: a replayed one may no longer be among those that the list has found."""
    newest = None
    while True:
        rows = deliveries.order_by("-pk") if newest is None else deliveries.order_by("-pk").filter(pk__lt=newest)
        ids = list(rows.values_list("pk", flat=True)[:size])
        if not ids:
            return
        newest = ids[-1]
        yield WebhookDelivery.objects.filter(pk__in=ids)
