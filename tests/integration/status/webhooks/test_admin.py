"""Webhooks in the admin: endpoints and their secrets, the log of deliveries, and what an operator may do."""

import html
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from uuid_utils.compat import uuid7

from status import admin as status_admin
from status import deliverer, outbox
from status.admin import EndpointForm
from status.models import WebhookDelivery, WebhookEndpoint
from tests.support.factories import UploadFactory
from tests.support.receiver import Receiver, takes_it
from uploads.models import ProviderCall
from uploads.stages import Stage

pytestmark = pytest.mark.django_db
ENDPOINTS = "/admin/status/webhookendpoint/"
DELIVERIES = "/admin/status/webhookdelivery/"
SLOW = re.compile(r"UPPER\(|LIKE|::text")
SECRET = re.compile(r"whsec_[\w+/=]+")


@pytest.fixture
def admin() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("operator"))
    return client


def page(admin: Client, path: str) -> str:
    response = admin.get(path)
    assert response.status_code == 200
    return html.unescape(response.content.decode())


def act(admin: Client, where: str, action: str, *rows: Any, **more: str) -> str:
    data = {"action": action, "_selected_action": [str(row.pk) for row in rows], **more}
    response = admin.post(where, data, follow=True)
    assert response.status_code == 200
    return html.unescape(response.content.decode())


def make(admin: Client, **fields: Any) -> str:
    values = {"url": "https://receiver.example.com/hook", "types": ["job.completed"]} | fields
    response = admin.post(f"{ENDPOINTS}add/", values, follow=True)
    assert response.status_code == 200
    return html.unescape(response.content.decode())


def happens(count: int = 1) -> None:
    for _ in range(count):
        UploadFactory.create().update_stage(Stage.COMPLETE)
    outbox.publish()


def test_a_secret_is_shown_once_and_stored_nowhere(admin: Client) -> None:
    (shown,) = SECRET.findall(make(admin))
    endpoint = WebhookEndpoint.objects.get()
    assert shown == endpoint.secret()
    assert endpoint.types == ["job.completed"]
    again = page(admin, f"{ENDPOINTS}{endpoint.pk}/change/") + page(admin, ENDPOINTS)
    assert not SECRET.findall(again)
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM status_webhookendpoint")
        assert shown not in str(cursor.fetchall())


@pytest.mark.parametrize("url", ["https://10.0.0.1/", "http://receiver.example.com/", "nonsense"])
def test_an_address_that_can_be_no_receiver_is_refused(admin: Client, settings: Any, url: str) -> None:
    settings.WEBHOOK_ALLOW_PRIVATE = False
    assert "errorlist" in make(admin, url=url)
    assert not WebhookEndpoint.objects.exists()


def test_an_endpoint_wants_at_least_one_known_type(admin: Client) -> None:
    make(admin, types=["job.paused"])
    make(admin, types=[])
    assert not WebhookEndpoint.objects.exists()


def test_rotation_asks_first_and_shows_the_new_secret_once(admin: Client) -> None:
    make(admin)
    endpoint = WebhookEndpoint.objects.get()
    old = endpoint.secret()
    assert "For 24 hours messages are signed with both" in act(admin, ENDPOINTS, "rotate", endpoint)
    endpoint.refresh_from_db()
    assert endpoint.secret() == old
    (shown,) = SECRET.findall(act(admin, ENDPOINTS, "rotate", endpoint, confirmed="yes"))
    endpoint.refresh_from_db()
    assert shown == endpoint.secret() != old
    assert not SECRET.findall(page(admin, f"{ENDPOINTS}{endpoint.pk}/change/"))


def test_a_test_is_sent_and_its_answer_is_in_the_log(admin: Client, hook: Receiver) -> None:
    endpoint = WebhookEndpoint.objects.create(url=hook.url, types=["job.failed"])
    assert "Test sent: 1." in act(admin, ENDPOINTS, "send_test", endpoint)
    deliverer.deliver()
    assert hook.messages[0].verified(endpoint.secret())["type"] == "webhook.test"
    delivery = WebhookDelivery.objects.get()
    shown = page(admin, f"{DELIVERIES}{delivery.pk}/change/")
    for words in ("delivered", "<pre>thanks</pre>", delivery.message_id, " ms · "):
        assert words in shown
    endpoint.disable("for a test")
    assert "not even a test" in act(admin, ENDPOINTS, "send_test", endpoint)
    assert WebhookDelivery.objects.count() == 1


def test_disabling_and_enabling_are_seen_with_their_reason(admin: Client, hook: Receiver) -> None:
    endpoint = WebhookEndpoint.objects.create(url=hook.url)
    act(admin, ENDPOINTS, "disable", endpoint, confirmed="yes")
    assert "By operator." in page(admin, ENDPOINTS)
    act(admin, ENDPOINTS, "enable", endpoint, confirmed="yes")
    hook.behaviour = lambda request: request.answer(410)
    happens()
    deliverer.deliver()
    assert "It answered 410: it wants no more messages." in page(admin, ENDPOINTS)
    assert [entry.change_message for entry in LogEntry.objects.order_by("pk")] == ["Disabled", "Enabled"]


def lose_the_log(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
    if 'INSERT INTO "django_admin_log"' in sql:
        raise OperationalError("gone")
    return execute(sql, params, many, context)


@pytest.mark.parametrize("action", ["enable", "disable", "rotate", "send_test", "replay"])
def test_what_cannot_be_written_down_is_not_done(admin: Client, hook: Receiver, action: str) -> None:
    endpoint = WebhookEndpoint.objects.create(url=hook.url)
    happens()
    WebhookDelivery.objects.update(status=WebhookDelivery.DEAD)
    if action == "enable":
        endpoint.disable("for a test")
    rows = WebhookDelivery.objects.all() if action == "replay" else [endpoint]
    data = {"action": action, "_selected_action": [row.pk for row in rows], "confirmed": "yes"}
    before = list(WebhookEndpoint.objects.values()), list(WebhookDelivery.objects.values())
    admin.raise_request_exception = False
    with connection.execute_wrapper(lose_the_log):
        answer = admin.post(DELIVERIES if action == "replay" else ENDPOINTS, data)
    assert answer.status_code == 503
    assert (list(WebhookEndpoint.objects.values()), list(WebhookDelivery.objects.values())) == before
    assert not LogEntry.objects.exists()


def test_what_was_so_already_is_not_written_down(admin: Client, hook: Receiver) -> None:
    endpoint = WebhookEndpoint.objects.create(url=hook.url)
    assert "Enabled: 0." in act(admin, ENDPOINTS, "enable", endpoint, confirmed="yes")
    endpoint.disable("for a test")
    assert "Disabled: 0." in act(admin, ENDPOINTS, "disable", endpoint, confirmed="yes")
    assert not LogEntry.objects.exists()


def test_what_is_replayed_is_sent_again_as_it_was(admin: Client, hook: Receiver) -> None:
    WebhookEndpoint.objects.create(url=hook.url)
    hook.behaviour = lambda request: request.answer(500)
    happens(3)
    deliverer.deliver()
    WebhookDelivery.objects.update(status=WebhookDelivery.DEAD)
    hook.behaviour = takes_it
    one, *others = WebhookDelivery.objects.all()
    assert "with the same id and body" in act(admin, DELIVERIES, "replay", one)
    assert deliverer.deliver() == 0
    assert "Replay: 1 are due now." in act(admin, DELIVERIES, "replay", one, confirmed="yes")
    assert deliverer.deliver() == 1
    dead = f"{DELIVERIES}?status__exact=dead"
    assert "Replay: 2 are due now." in act(admin, dead, "replay", *others, confirmed="yes")
    assert deliverer.deliver() == 2
    first, second = hook.messages[:3], hook.messages[3:]
    assert {(m.id, m.body) for m in first} == {(m.id, m.body) for m in second}


def test_what_a_disabled_endpoint_was_to_have_is_not_replayed(admin: Client, hook: Receiver) -> None:
    off, on = (WebhookEndpoint.objects.create(url=hook.url) for _ in range(2))
    happens(2)
    WebhookDelivery.objects.update(status=WebhookDelivery.DEAD)
    off.disable("for a test")
    rows = list(WebhookDelivery.objects.all())
    assert "Those of a disabled endpoint stay as they are." in act(admin, DELIVERIES, "replay", *rows)
    said = act(admin, DELIVERIES, "replay", *rows, confirmed="yes")
    assert "Not replayed: 2. Their endpoint is disabled, and is sent nothing: enable it first." in said
    assert "Replay: 2 are due now." in said
    assert set(WebhookDelivery.objects.values_list("endpoint", "status")) == {(off.pk, "dead"), (on.pk, "pending")}
    assert LogEntry.objects.count() == 2
    said = act(admin, DELIVERIES, "replay", *WebhookDelivery.objects.filter(endpoint=off), confirmed="yes")
    assert "are due now" not in said


def test_all_that_the_list_has_found_can_be_replayed_at_once(
    admin: Client, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status_admin, "MOST_SHOWN", 3)
    WebhookEndpoint.objects.create(url=hook.url)
    happens(8)
    WebhookDelivery.objects.update(status=WebhookDelivery.DEAD)
    kept = WebhookDelivery.objects.first()
    assert kept
    WebhookDelivery.objects.filter(pk=kept.pk).update(status=WebhookDelivery.DELIVERED)
    dead = f"{DELIVERIES}?status__exact=dead"
    asked = act(admin, dead, "replay", *WebhookDelivery.objects.all()[5:], select_across="1")
    assert "and all others that the list has found: 4" in asked
    assert 'name="select_across" value="1"' in asked
    chosen = WebhookDelivery.objects.order_by("-pk")[:3]
    assert "Replay: 7 are due now." in act(admin, dead, "replay", *chosen, select_across="1", confirmed="yes")
    kept.refresh_from_db()
    assert kept.status == "delivered"


def test_the_log_is_filtered_and_searched(admin: Client, hook: Receiver) -> None:
    first, second = (WebhookEndpoint.objects.create(url=hook.url, description=name) for name in ("one", "two"))
    happens()
    WebhookDelivery.objects.filter(endpoint=second).update(status=WebhookDelivery.DEAD)
    delivery = WebhookDelivery.objects.filter(endpoint=first).get()
    rows = {
        "status__exact=dead": [False, True],
        f"endpoint__id__exact={first.pk}": [True, False],
        f"q={delivery.message_id}": [True, True],
        f"q={delivery.upload_id}": [True, True],
        "q=evt_unknown": [False, False],
        "type=job.completed": [True, True],
        "type=webhook.test": [False, False],
    }
    for query, expected in rows.items():
        shown = page(admin, f"{DELIVERIES}?{query}")
        assert [f'<span title="{name}">{name}<' in shown for name in ("one", "two")] == expected, query


def searches(admin: Client, where: str, table: str) -> list[str]:
    """The statements that look into the table."""
    with CaptureQueriesContext(connection) as asked:
        page(admin, where)
    return [query["sql"] for query in asked.captured_queries if f'FROM "{table}"' in query["sql"]]


def test_the_log_is_searched_by_what_its_indexes_know(admin: Client, hook: Receiver) -> None:
    endpoint = WebhookEndpoint.objects.create(url=hook.url)
    act(admin, ENDPOINTS, "send_test", endpoint)
    happens(2)
    test = WebhookDelivery.objects.get(upload=None)
    wanted = WebhookDelivery.objects.exclude(upload=None)[0]
    found = {
        str(wanted.upload_id): wanted.message_id,
        wanted.upload_id.hex.upper() if wanted.upload_id else "": wanted.message_id,
        f" {wanted.message_id} ": wanted.message_id,
        test.message_id: test.message_id,
        "evt_zz_1": None,
        f"{wanted.message_id}_1": None,
        "test_unknown": None,
        "holiday": None,
        "evt_": None,
    }
    everything = list(WebhookDelivery.objects.values_list("message_id", flat=True))
    for words, expected in found.items():
        shown = page(admin, f"{DELIVERIES}?q={words}")
        assert [name for name in everything if f'title="{name}"' in shown] == ([expected] if expected else []), words
        for sql in searches(admin, f"{DELIVERIES}?q={words}", "status_webhookdelivery"):
            assert not SLOW.search(sql)
            assert '"upload_id"' in sql.partition(" WHERE ")[2], sql


@pytest.mark.parametrize("what", ["session", "providercall"])
def test_sessions_and_calls_are_searched_by_the_key_itself(admin: Client, what: str) -> None:
    upload = UploadFactory.create()
    call = ProviderCall.objects.create(
        upload=upload, run=1, attempt=1, fence=1, reserved_usd=0, deadline_at=timezone.now()
    )
    key, row = (upload.session_id, upload.session_id) if what == "session" else (upload.pk, call.pk)
    where = f"/admin/uploads/{what}/"
    for words, expected in {str(key): True, key.hex: True, str(uuid7()): False, "holiday": False}.items():
        assert (f"{where}{row}/change/" in page(admin, f"{where}?q={words}")) is expected
        for sql in searches(admin, f"{where}?q={words}", f"uploads_{what}"):
            assert not SLOW.search(sql)


def test_the_log_takes_as_many_statements_for_many_as_for_one(admin: Client, hook: Receiver) -> None:
    WebhookEndpoint.objects.create(url=hook.url)
    happens()
    page(admin, DELIVERIES)
    with CaptureQueriesContext(connection) as one:
        page(admin, DELIVERIES)
    happens(10)
    with CaptureQueriesContext(connection) as more:
        page(admin, DELIVERIES)
    assert len(more) == len(one)


def test_what_a_receiver_answers_is_shown_as_text(admin: Client, hook: Receiver) -> None:
    WebhookEndpoint.objects.create(url=hook.url)
    hook.behaviour = lambda request: request.answer(500, b"<script>alert(1)</script>")
    happens()
    deliverer.deliver()
    response = admin.get(f"{DELIVERIES}{WebhookDelivery.objects.get().pk}/change/")
    assert b"&lt;script&gt;alert(1)" in response.content
    assert b"<script>alert(1)" not in response.content


def test_an_endpoint_with_a_log_is_not_deleted(admin: Client, hook: Receiver) -> None:
    endpoint = WebhookEndpoint.objects.create(url=hook.url)
    happens()
    assert admin.post(f"{ENDPOINTS}{endpoint.pk}/delete/", {"post": "yes"}).status_code == 403
    unused = WebhookEndpoint.objects.create(url=hook.url)
    assert admin.post(f"{ENDPOINTS}{unused.pk}/delete/", {"post": "yes"}).status_code == 302
    assert WebhookEndpoint.objects.get() == endpoint


def test_who_may_only_look_sees_no_secret_and_has_no_actions(hook: Receiver) -> None:
    endpoint = WebhookEndpoint.objects.create(url=hook.url)
    happens()
    viewer = User.objects.create_user("viewer", is_staff=True)
    for name in ("view_webhookendpoint", "view_webhookdelivery"):
        viewer.user_permissions.add(Permission.objects.get(codename=name))
    client = Client()
    client.force_login(viewer)
    for where in (ENDPOINTS, DELIVERIES):
        assert 'name="action"' not in page(client, where)
    act(client, ENDPOINTS, "disable", endpoint, confirmed="yes")
    endpoint.refresh_from_db()
    assert endpoint.is_enabled


def test_a_form_writes_only_what_it_was_given(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = WebhookEndpoint.objects.create(url="https://receiver.example.com/hook")

    def meanwhile(form: EndpointForm) -> dict[str, Any]:
        endpoint.disable("It answered 410.")
        return form.cleaned_data

    monkeypatch.setattr(EndpointForm, "clean", meanwhile)
    values = {"url": "https://receiver.example.com/other", "types": endpoint.types}
    assert admin.post(f"{ENDPOINTS}{endpoint.pk}/change/", values).status_code == 302
    endpoint.refresh_from_db()
    assert (endpoint.url, endpoint.disabled_reason) == (values["url"], "It answered 410.")
