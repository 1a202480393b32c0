"""One message, one receiver: what is sent, and what comes of each way to answer or not to answer."""

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from standardwebhooks import WebhookVerificationError

from status import deliverer, models, outbox, posting
from status.models import MAX_ATTEMPTS, WebhookDelivery, WebhookEndpoint, backoff
from status.posting import post
from status.webhooks import session_secret
from tests.support.factories import SessionFactory, UploadFactory
from tests.support.installation import wait_for
from tests.support.ports import free_port
from tests.support.receiver import Behaviour, Receiver, Request, receiver, takes_it
from uploads.stages import Stage

pytestmark = pytest.mark.django_db
UPDATED = re.compile(r'^UPDATE "status_(\w+)".*?"status_\1"\."id" = (\d+)')


@pytest.fixture
def endpoint(hook: Receiver) -> WebhookEndpoint:
    return WebhookEndpoint.objects.create(url=hook.url)


def happens(count: int = 1, **upload: Any) -> list[WebhookDelivery]:
    """So many jobs end, and their messages are due."""
    for _ in range(count):
        UploadFactory.create(**upload).update_stage(Stage.COMPLETE)
    outbox.publish()
    return list(WebhookDelivery.objects.order_by("-pk")[:count])


def only() -> WebhookDelivery:
    return WebhookDelivery.objects.get()


def passes(time: timedelta) -> None:
    """As if so much time had passed: what was to be due then is due."""
    WebhookDelivery.objects.update(due_at=F("due_at") - time)
    times = ("resting_until", "failing_since", "last_failure_at")
    WebhookEndpoint.objects.update(**{name: F(name) - time for name in times})


def test_a_message_arrives_and_verifies(hook: Receiver, endpoint: WebhookEndpoint) -> None:
    happens()
    assert deliverer.deliver() == 1
    (message,) = hook.messages
    told = message.verified(endpoint.secret())
    assert (told["type"], told["data"]["status"]) == ("job.completed", "completed")
    assert message.headers["content-type"] == "application/json"
    assert message.headers["user-agent"].startswith("Darkroom")
    delivery = only()
    assert (delivery.status, delivery.last_status, delivery.last_answer) == ("delivered", 200, "thanks")
    assert message.id == delivery.message_id
    assert delivery.delivered_at
    assert deliverer.deliver() == 0


def test_nobody_else_can_sign(hook: Receiver, endpoint: WebhookEndpoint) -> None:
    other = WebhookEndpoint.objects.create(url=hook.url, types=[])
    happens()
    deliverer.deliver()
    with pytest.raises(WebhookVerificationError):
        hook.messages[0].verified(other.secret())


def test_two_secrets_are_valid_during_a_rotation(hook: Receiver, endpoint: WebhookEndpoint) -> None:
    old = endpoint.secret()
    endpoint.rotate()
    happens()
    deliverer.deliver()
    assert endpoint.secret() != old
    for secret in (old, endpoint.secret()):
        assert hook.messages[0].verified(secret)
    WebhookEndpoint.objects.update(previous_until=timezone.now())
    happens()
    deliverer.deliver()
    assert hook.messages[1].verified(endpoint.secret())
    with pytest.raises(WebhookVerificationError):
        hook.messages[1].verified(old)


def answers(status: int, body: bytes = b"", **headers: str) -> Behaviour:
    return lambda request: request.answer(status, body, **headers)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_success(hook: Receiver, endpoint: WebhookEndpoint, status: int) -> None:
    hook.behaviour = answers(status)
    happens()
    deliverer.deliver()
    assert only().status == "delivered"


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
def test_anything_else_is_tried_again_with_the_same_id_and_body(
    hook: Receiver, endpoint: WebhookEndpoint, status: int
) -> None:
    hook.behaviour = answers(status, b"no, because " + b"x" * 5000)
    happens()
    deliverer.deliver()
    delivery = only()
    assert (delivery.status, delivery.last_status) == ("pending", status)
    assert delivery.last_error == f"It answered {status}."
    assert delivery.last_answer == "no, because " + "x" * 1012
    assert delivery.due_at > timezone.now()
    assert deliverer.deliver() == 0
    hook.behaviour = takes_it
    passes(timedelta(seconds=10))
    assert deliverer.deliver() == 1
    first, second = hook.messages
    assert (first.id, first.body) == (second.id, second.body)
    assert only().status == "delivered"
    assert [attempt["status"] for attempt in only().history] == [status, 200]


def test_nobody_there(endpoint: WebhookEndpoint) -> None:
    WebhookEndpoint.objects.update(url=f"http://127.0.0.1:{free_port()}/")
    happens()
    deliverer.deliver()
    assert (only().last_status, only().last_error) == (
        None,
        "The connection failed or broke off before there was an answer.",
    )


def test_a_redirect_is_a_failure_and_is_not_followed(hook: Receiver, endpoint: WebhookEndpoint) -> None:
    with receiver() as elsewhere:
        hook.behaviour = answers(302, b"x" * 5_000_000, Location=elsewhere.url)
        happens()
        deliverer.deliver()
        assert elsewhere.messages == []
    assert only().last_error == "It answered 302, a redirect; those are not followed."
    assert (only().status, len(only().last_answer)) == ("pending", 1024)


def test_of_a_large_answer_only_the_beginning_is_read(hook: Receiver, endpoint: WebhookEndpoint) -> None:
    sent = threading.Event()

    def floods(request: Request) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(200_000_000))
        request.send_header("Content-Encoding", "gzip")
        request.end_headers()
        try:
            for _ in range(2000):
                request.wfile.write(b"y" * 100_000)
        except OSError:
            sent.set()  # not all of it

    hook.behaviour = floods
    happens()
    deliverer.deliver()
    assert (only().status, only().last_answer) == ("delivered", "y" * 1024)
    assert sent.wait(60)


def test_an_answer_that_is_no_text_is_kept_as_well_as_it_can_be(hook: Receiver, endpoint: WebhookEndpoint) -> None:
    hook.behaviour = answers(500, b"\x00\xff\xfe ol\xc3\xa9")
    happens()
    deliverer.deliver()
    assert only().last_answer == "\N{REPLACEMENT CHARACTER}" * 3 + " olé"


@pytest.mark.parametrize(("status", "word"), [(200, "OK"), (500, "No")])
def test_what_is_only_a_hint_is_not_the_answer(hook: Receiver, status: int, word: str) -> None:
    """RFC 8297 and RFC 9110, 15.2: any number of them may come before it."""

    def hints_first(request: Request) -> None:
        for _ in range(2):
            request.connection.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n")
            request.connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.answer(status, word.encode())

    hook.behaviour = hints_first
    answer = post(hook.url, {}, "{}", allow_private=True)
    assert (answer.status, answer.body) == (status, word)


def test_a_switch_to_another_protocol_is_no_success(hook: Receiver) -> None:
    hook.behaviour = lambda request: request.answer(101, Upgrade="websocket")
    assert post(hook.url, {}, "{}", allow_private=True).error == "It answered 101."


def drips(request: Request) -> None:
    """The status line, and then a header that never ends: each byte comes in time."""
    drip(request.connection, b"HTTP/1.1 200 OK\r\nX-Long: ", forever=b"z")


def drips_the_body(request: Request) -> None:
    drip(request.connection, b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", forever=b"z")


def says_continue(request: Request) -> None:
    drip(request.connection, b"", forever=b"HTTP/1.1 100 Continue\r\n\r\n")


def hints_forever(request: Request) -> None:
    drip(request.connection, b"", forever=b"HTTP/1.1 103 Early Hints\r\n\r\n")


def drip(connection: socket.socket, beginning: bytes, *, forever: bytes) -> None:
    try:
        connection.sendall(beginning)
        while True:
            connection.sendall(forever)
            time.sleep(0.05)
    except OSError:
        pass  # the other side has had enough


@pytest.mark.parametrize("behaviour", [Request.hang, drips, says_continue, hints_forever])
def test_a_receiver_that_hangs_or_drips_is_cut_off(hook: Receiver, behaviour: Behaviour) -> None:
    hook.behaviour = behaviour
    answer = post(hook.url, {}, "{}", allow_private=True, limit=1)
    assert (answer.status, answer.error) == (None, "There was no answer within 1 s.")


def test_a_verdict_counts_though_the_rest_drips(hook: Receiver) -> None:
    hook.behaviour = drips_the_body
    answer = post(hook.url, {}, "{}", allow_private=True, limit=1)
    assert answer.status == 200
    assert set(answer.body) == {"z"}


@contextmanager
def silent_port() -> Iterator[int]:
    """Takes connections, and never says a word: no TLS comes about."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_tls_handshake_that_never_ends_is_cut_off() -> None:
    with silent_port() as port:
        answer = post(f"https://127.0.0.1:{port}/", {}, "{}", allow_private=True, limit=1)
    assert answer.error == "There was no answer within 1 s."


def test_a_server_without_tls(hook: Receiver) -> None:
    answer = post(hook.url.replace("http:", "https:"), {}, "{}", allow_private=True)
    assert answer.error == "There is no trusted secure connection to the host: its certificate, or TLS, failed."


def test_waits_grow_and_add_up_to_about_a_day() -> None:
    waits = [backoff(attempt) for attempt in range(1, MAX_ATTEMPTS)]
    assert timedelta(seconds=5) <= waits[0] < timedelta(seconds=10)
    assert all(wait <= timedelta(hours=5) for wait in waits)
    assert timedelta(hours=20) < sum(waits, timedelta()) < timedelta(hours=30)


def test_after_about_a_day_it_is_a_dead_letter_and_can_be_replayed(hook: Receiver, endpoint: WebhookEndpoint) -> None:
    hook.behaviour = answers(500)
    happens()
    for _ in range(MAX_ATTEMPTS):
        assert deliverer.deliver() == 1
        passes(timedelta(hours=5))
    assert (only().status, only().attempts) == ("dead", MAX_ATTEMPTS)
    assert deliverer.deliver() == 0
    hook.behaviour = takes_it
    WebhookDelivery.objects.all().replay()
    assert deliverer.deliver() == 1
    assert only().status == "delivered"
    assert len({(message.id, message.body) for message in hook.messages}) == 1
    assert len(only().history) == MAX_ATTEMPTS + 1


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_honoured(hook: Receiver, endpoint: WebhookEndpoint, as_date: bool) -> None:
    soon = timezone.now() + timedelta(seconds=1000)
    hook.behaviour = answers(429, Retry_After=format_datetime(soon, usegmt=True) if as_date else "1000")
    happens()
    deliverer.deliver()
    wait = only().due_at - timezone.now()
    assert timedelta(seconds=800) < wait < timedelta(seconds=1001)
    # And so do those that come after it.
    happens()
    assert deliverer.deliver() == 0
    hook.behaviour = takes_it
    passes(timedelta(seconds=1001))
    assert deliverer.deliver() == 2


@pytest.mark.parametrize("nonsense", ["-5", "soon", "1e9", "Fri, 99 Foo 2026 00:00:00 GMT", "²"])
def test_nonsense_in_retry_after_is_no_wait(hook: Receiver, nonsense: str) -> None:
    hook.behaviour = answers(503, Retry_After=nonsense)
    assert post(hook.url, {}, "{}", allow_private=True).retry_after == timedelta(0)


def test_a_wait_that_is_too_long_is_cut(hook: Receiver) -> None:
    hook.behaviour = answers(503, Retry_After="9" * 30)
    assert post(hook.url, {}, "{}", allow_private=True).retry_after <= posting.RETRY_AFTER_MOST


def test_410_disables_the_endpoint_and_what_waits_goes_out_once_it_is_enabled(
    hook: Receiver, endpoint: WebhookEndpoint
) -> None:
    hook.behaviour = answers(410)
    happens()
    deliverer.deliver()
    endpoint.refresh_from_db()
    assert endpoint.disabled_reason == "It answered 410: it wants no more messages."
    passes(timedelta(days=1))
    assert deliverer.deliver() == 0
    assert outbox.lag_seconds().undelivered == 0
    assert outbox.lag_seconds().withheld > 0
    happens()
    assert WebhookDelivery.objects.count() == 1
    hook.behaviour = takes_it
    endpoint.enable()
    assert deliverer.deliver() == 1
    assert only().status == "delivered"


def test_410_of_an_uploads_own_address_ends_only_that_message(hook: Receiver) -> None:
    hook.behaviour = answers(410)
    happens(webhook_url=hook.url)
    deliverer.deliver()
    assert only().status == "dead"


def test_days_of_failure_disable_it_with_a_reason(hook: Receiver, endpoint: WebhookEndpoint) -> None:
    hook.behaviour = answers(500)
    for _ in range(20):
        happens()
        deliverer.deliver()
        endpoint.refresh_from_db()
        assert endpoint.is_enabled
        passes(timedelta(hours=6))
    deliverer.deliver()
    endpoint = WebhookEndpoint.objects.get()
    assert not endpoint.is_enabled
    assert endpoint.disabled_reason.startswith("It has taken no message since ")
    assert endpoint.disabled_reason.endswith("It answered 500.")


def test_two_failures_with_quiet_days_between_them_are_not_days_of_failure(
    hook: Receiver, endpoint: WebhookEndpoint
) -> None:
    hook.behaviour = answers(500)
    happens()
    deliverer.deliver()
    WebhookDelivery.objects.update(status=WebhookDelivery.DEAD)
    passes(timedelta(days=6))
    happens()
    assert deliverer.deliver() == 1
    endpoint.refresh_from_db()
    assert endpoint.is_enabled
    assert endpoint.failing_since
    assert timezone.now() - endpoint.failing_since < timedelta(days=1)


def test_a_success_counts_though_the_endpoint_began_to_fail_while_it_was_under_way(endpoint: WebhookEndpoint) -> None:
    happens()
    with transaction.atomic():
        (taken,) = WebhookDelivery.objects.due().claim(1)
    assert taken.endpoint
    WebhookEndpoint.objects.update(failing_since=timezone.now())
    taken.endpoint.hear([posting.Answer(200)])
    assert WebhookEndpoint.objects.filter(failing_since=None).exists()


def ended(*deliveries: WebhookDelivery) -> list[Any]:
    """Attempts as the deliverer has them, that have come to an end."""
    attempts = [deliverer._Attempt(each, 0.0, deliverer.QUICK) for each in deliveries]
    return [(attempt, posting.Answer(500, "It answered 500.")) for attempt in attempts]


def test_rows_are_written_in_one_order_whoever_answered_first(endpoint: WebhookEndpoint) -> None:
    """Two deliverers that write the same rows in two orders wait for each other."""
    WebhookEndpoint.objects.create(url=endpoint.url)
    happens(3)
    with transaction.atomic():
        taken = WebhookDelivery.objects.due().claim(10)
    with CaptureQueriesContext(connection) as asked:
        deliverer._Deliverer()._record(ended(*sorted(taken, key=lambda delivery: -delivery.pk)))
    written = [update for query in asked.captured_queries if (update := UPDATED.search(query["sql"]))]
    order = [(update[1], int(update[2])) for update in written]
    deliveries = [pk for table, pk in order if table == "webhookdelivery"]
    endpoints = [pk for table, pk in order if table == "webhookendpoint"]
    assert deliveries == sorted(delivery.pk for delivery in taken)
    assert endpoints == sorted(endpoints)
    assert len(set(endpoints)) == 2
    assert [table for table, _ in order] == sorted(table for table, _ in order)


def refuses(times: int, really: Any) -> Any:
    """The database, which so often finds that somebody else has to go first."""
    left = iter(range(times))

    def tries(*args: Any) -> Any:
        if next(left, None) is not None:
            raise OperationalError("deadlock detected")
        return really(*args)

    return tries


@pytest.mark.parametrize(
    ("model", "method"), [(WebhookDelivery, "record"), (WebhookEndpoint, "hear"), (models.DeliveryQuerySet, "claim")]
)
def test_answers_outlive_a_transaction_that_was_rolled_back(
    hook: Receiver, endpoint: WebhookEndpoint, monkeypatch: pytest.MonkeyPatch, model: Any, method: str
) -> None:
    happens(3)
    monkeypatch.setattr(deliverer, "RETRY_PAUSE", 0)
    monkeypatch.setattr(model, method, refuses(2, getattr(model, method)))
    assert deliverer.deliver() == 3
    assert set(WebhookDelivery.objects.values_list("status", "attempts")) == {("delivered", 1)}
    assert len(hook.messages) == 3


def test_a_database_that_never_gives_way_ends_the_round(
    endpoint: WebhookEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    happens()
    monkeypatch.setattr(deliverer, "RETRY_PAUSE", 0)
    monkeypatch.setattr(WebhookDelivery, "record", refuses(1000, None))
    with pytest.raises(OperationalError):
        deliverer.deliver()
    assert only().status == "pending"


def test_a_success_in_between_clears_the_record_of_failures(hook: Receiver, endpoint: WebhookEndpoint) -> None:
    hook.behaviour = answers(500)
    happens()
    deliverer.deliver()
    endpoint.refresh_from_db()
    assert endpoint.failing_since
    hook.behaviour = takes_it
    passes(timedelta(days=6))
    deliverer.deliver()
    assert WebhookEndpoint.objects.filter(failing_since=None, disabled_at=None).exists()


def test_an_hour_of_silence_loses_nothing(endpoint: WebhookEndpoint, hook: Receiver) -> None:
    port = free_port()
    WebhookEndpoint.objects.update(url=f"http://127.0.0.1:{port}/")
    happens(20)
    for _ in range(6):
        deliverer.deliver()
        passes(timedelta(minutes=10))
    assert not WebhookDelivery.objects.exclude(status="pending").exists()
    WebhookEndpoint.objects.update(url=hook.url)
    passes(timedelta(hours=5))
    deliverer.deliver()
    assert not WebhookDelivery.objects.exclude(status="delivered").exists()
    assert sorted(hook.ids()) == sorted(WebhookDelivery.objects.values_list("message_id", flat=True))
    for message in hook.messages:
        message.verified(endpoint.secret())


def test_one_slow_receiver_holds_up_no_other(hook: Receiver, endpoint: WebhookEndpoint) -> None:
    released = threading.Event()

    def waits(request: Request) -> None:
        assert released.wait(60)
        request.answer(200)

    with receiver(waits) as slow:
        WebhookEndpoint.objects.create(url=slow.url)
        happens(30)

        def release() -> None:
            wait_for(lambda: len(hook.messages) == 30)
            released.set()

        watch = threading.Thread(target=release)
        watch.start()
        deliverer.deliver()
        watch.join()
        assert len(hook.messages) == 30
        assert len(slow.messages) == 30
    # It was released by the thirtieth message to the other one.
    assert released.is_set()


def test_what_a_lost_deliverer_had_taken_is_tried_again(hook: Receiver, endpoint: WebhookEndpoint) -> None:
    happens()
    with transaction.atomic():
        (taken,) = WebhookDelivery.objects.due().claim(5)
    assert deliverer.deliver() == 0
    passes(timedelta(seconds=61))
    assert deliverer.deliver() == 1
    assert not taken.record(posting.Answer(500, "too late"))
    assert (only().status, only().attempts) == ("delivered", 2)


def test_a_deliverer_that_is_lost_with_the_last_try_is_no_end(hook: Receiver, endpoint: WebhookEndpoint) -> None:
    happens()
    WebhookDelivery.objects.update(tries_left=0)
    assert deliverer.deliver() == 1
    assert only().status == "delivered"


def test_an_upload_with_an_address_of_its_own(hook: Receiver) -> None:
    (delivery,) = happens(webhook_url=hook.url)
    deliverer.deliver()
    assert delivery.upload
    assert hook.messages[0].verified(session_secret(delivery.upload.session_id))
    assert json.loads(hook.messages[0].body)["data"]["jobId"] == str(delivery.upload_id)


class Crowd:
    """Counts how many messages a receiver is given at once."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> None:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(0.1)  # long enough for others to come, if any may
        with self._lock:
            self.now -= 1
        request.answer(200)


def test_a_slow_endpoint_is_sent_less_at_once(
    hook: Receiver, endpoint: WebhookEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "SLOW_MS", 10)
    happens()
    hook.behaviour = Crowd()
    deliverer.deliver()
    endpoint.refresh_from_db()
    assert endpoint.is_slow
    hook.behaviour = crowd = Crowd()
    happens(12)
    assert deliverer.deliver() == 12
    assert crowd.most <= 2


def test_a_host_of_uploads_is_sent_few_at_once(hook: Receiver) -> None:
    hook.behaviour = crowd = Crowd()
    happens(12, webhook_url=hook.url)
    assert deliverer.deliver() == 12
    assert crowd.most <= 2


def test_a_session_with_many_hosts_is_sent_few_at_once(hook: Receiver) -> None:
    """Names of one domain cost nothing: all of them may lead to one receiver that dawdles."""
    hook.behaviour = crowd = Crowd()
    session = SessionFactory.create()
    for number in range(2, 14):
        happens(session=session, webhook_url=hook.url.replace("127.0.0.1", f"127.0.0.{number}"))
    WebhookDelivery.objects.update(url=hook.url)
    happens(webhook_url=hook.url)
    assert deliverer.deliver() == 13
    assert crowd.most <= 5
