"""Slots are shared: whoever hangs, has many messages or comes under many names, holds up no other."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from celery.signals import before_task_publish
from django.utils import timezone

from status import deliverer, tasks
from status.models import WebhookDelivery, WebhookEndpoint
from tests.support.factories import SessionFactory, UploadFactory
from tests.support.installation import wait_for
from tests.support.receiver import Receiver, Request, receiver
from uploads.models import Session, Upload

pytestmark = pytest.mark.django_db


class Waiting:
    """A receiver's behaviour: it answers once it is told to, and fails when it is not."""

    def __init__(self) -> None:
        self.released = threading.Event()

    def __call__(self, request: Request) -> None:
        request.answer(200 if self.released.wait(60) else 500)


@contextmanager
def hanging() -> Iterator[tuple[Receiver, threading.Event]]:
    """A receiver, and what releases it."""
    waiting = Waiting()
    with receiver(waiting) as server:
        try:
            yield server, waiting.released
        finally:
            waiting.released.set()


numbers = iter(range(1_000_000))


def due(count: int, *, upload: Upload | None = None, **columns: Any) -> None:
    upload = upload or UploadFactory.create()
    message = {"upload": upload, "type": "job.completed", "body": "{}"}
    rows = (WebhookDelivery(message_id=f"evt_{next(numbers)}", **message, **columns) for _ in range(count))
    WebhookDelivery.objects.bulk_create(rows)


def due_at_host(url: str, host: str, count: int = 1, session: Session | None = None) -> None:
    """Messages for an address that came with an upload of this session, or of one of its own."""
    upload = UploadFactory.create(**{"session": session} if session else {})
    due(count, upload=upload, url=url, host=host, session_id=upload.session_id)


def others_before(hook: Receiver, busy: Receiver, released: threading.Event) -> list[int]:
    """How many messages the busy one has had by the time that one comes to the hook, which then releases it."""
    counts: list[int] = []

    def behaviour(request: Request) -> None:
        counts.append(len(busy.messages))
        released.set()
        request.answer(200)

    hook.behaviour = behaviour
    return counts


def test_a_host_with_many_messages_hides_no_other(hook: Receiver) -> None:
    with hanging() as (busy, released):
        due_at_host(busy.url, "busy.example", 2 * deliverer.UPLOADS.slots)
        due_at_host(hook.url, "other.example")
        before = others_before(hook, busy, released)
        deliverer.deliver(stopping=released)
    assert before[0] <= deliverer.UPLOADS.each


def test_a_session_with_many_hosts_hides_no_other(hook: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if it has more than are looked at together."""
    monkeypatch.setattr(deliverer, "HOSTS", 10)
    session = SessionFactory.create()
    with hanging() as (busy, released):
        for number in range(12):
            due_at_host(busy.url, f"{number}.example", session=session)
        due_at_host(hook.url, "other.example")
        before = others_before(hook, busy, released)
        deliverer.deliver(stopping=released)
    assert before[0] <= deliverer.OF_ONE_SESSION


def test_many_sessions_that_have_all_slots_leave_one_to_a_session_that_has_none(hook: Receiver) -> None:
    sessions = SessionFactory.create_batch(deliverer.UPLOADS.slots // deliverer.OF_ONE_SESSION + 4)
    with hanging() as (busy, released):
        for number in range(deliverer.OF_ONE_SESSION):
            for session in sessions:
                due_at_host(busy.url, f"{number}.{session.pk}.example", session=session)
        due_at_host(hook.url, "other.example")
        before = others_before(hook, busy, released)
        deliverer.deliver(stopping=released)
    assert before[0] <= deliverer.UPLOADS.slots


def test_an_endpoint_that_has_no_slot_may_always_begin_one(hook: Receiver) -> None:
    """One that failed shares a lane with those that hang, and is well again."""
    failed = {"failing_since": timezone.now(), "last_failure_at": timezone.now()}
    with hanging() as (busy, _):
        for _number in range(deliverer.SLOW.slots // deliverer.SLOW.each):
            due(5, endpoint=WebhookEndpoint.objects.create(url=busy.url, **failed))
        assert deliverer.deliver(0) == deliverer.SLOW.slots
        due(1, endpoint=WebhookEndpoint.objects.create(url=hook.url, **failed))
        assert deliverer.deliver(0) == 1
        wait_for(lambda: hook.messages)


def test_a_process_has_a_bounded_number_of_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliverer, "MOST", 3)
    with hanging() as (busy, released):
        for _ in range(5):
            due(1, endpoint=WebhookEndpoint.objects.create(url=busy.url))
            due_at_host(busy.url, f"{next(numbers)}.example")
        assert deliverer.deliver(0) == 3
        assert deliverer.deliver(0) == 0
        wait_for(lambda: len(busy.messages) == 3)
        released.set()
        assert deliverer.deliver() == 7
    assert not WebhookDelivery.objects.exclude(status="delivered", attempts=1).exists()


def test_what_runs_when_a_round_ends_is_taken_over_by_the_next(hook: Receiver) -> None:
    """Receivers that hang out of phase: at any moment one of them does."""
    good = WebhookEndpoint.objects.create(url=hook.url)
    with hanging() as (first, first_released), hanging() as (second, second_released):
        for busy, released in ((first, threading.Event()), (second, first_released), (first, second_released)):
            due(1, endpoint=WebhookEndpoint.objects.create(url=busy.url))
            due(1, endpoint=good)
            seen = len(hook.messages)
            assert deliverer.deliver(0) == 2
            wait_for(lambda seen=seen: len(hook.messages) > seen)  # type: ignore[misc]
            assert deliverer.is_under_way()
            released.set()
        assert deliverer.deliver() == 0
    assert not deliverer.is_under_way()
    assert set(WebhookDelivery.objects.values_list("status", "attempts")) == {("delivered", 1)}


def test_a_round_that_ends_before_its_attempts_asks_for_the_next(
    hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    hinted: list[str] = []

    def hear(sender: str, **_: object) -> None:
        hinted.append(sender)

    before_task_publish.connect(hear)
    with hanging() as (busy, released):
        due(1, endpoint=WebhookEndpoint.objects.create(url=busy.url))
        with monkeypatch.context() as at_once:
            at_once.setattr(deliverer, "deliver", partial(deliverer.deliver, 0))
            tasks.deliver()
        assert hinted == ["status.deliver"]
        released.set()
        tasks.deliver()
    assert hinted == ["status.deliver"]


def test_an_attempt_that_was_given_up_does_not_answer_for_the_next_one(
    hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliverer, "LOST_AFTER", 0.3)
    due(1, endpoint=WebhookEndpoint.objects.create(url=hook.url))
    first_may, second_may = threading.Event(), threading.Event()

    def behaviour(request: Request) -> None:
        if len(hook.messages) == 1:
            first_may.wait(60)
            request.answer(200)
        else:
            second_may.wait(60)
            request.answer(500)

    hook.behaviour = behaviour
    assert deliverer.deliver() == 1
    assert WebhookDelivery.objects.get().last_error.startswith("There was no answer within")
    wait_for(lambda: hook.messages)
    monkeypatch.setattr(deliverer, "LOST_AFTER", 60)
    WebhookDelivery.objects.update(due_at=timezone.now())
    assert deliverer.deliver(0) == 1
    wait_for(lambda: len(hook.messages) == 2)
    first_may.set()
    wait_for(lambda: not deliverer._deliverer._answers.empty())
    assert deliverer.deliver(0.5) == 0
    assert deliverer.is_under_way()
    second_may.set()
    deliverer.deliver()
    assert (WebhookDelivery.objects.get().status, WebhookDelivery.objects.get().last_status) == ("pending", 500)


def test_what_is_on_its_way_when_the_process_stops_is_handed_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliverer, "PARTING", 0.1)
    stopping = threading.Event()
    with hanging() as (busy, _):
        due(40, endpoint=WebhookEndpoint.objects.create(url=busy.url))

        def stops() -> None:
            wait_for(lambda: busy.messages)
            stopping.set()

        watch = threading.Thread(target=stops)
        watch.start()
        begun = deliverer.deliver(stopping=stopping)
        watch.join()
        assert begun == deliverer.QUICK.each
        assert deliverer.deliver(stopping=stopping) == 0
        assert not deliverer.is_under_way()
        rows = WebhookDelivery.objects.due().values_list("tries_left", "history")
        assert [(tries, history) for tries, history in rows] == [(12, [])] * 40


def test_what_ends_in_the_moment_after_that_still_counts(hook: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliverer, "PARTING", 60)
    stopping = threading.Event()

    def behaviour(request: Request) -> None:
        stopping.set()
        time.sleep(0.05)  # it is no longer the round that hears the answer
        request.answer(200)

    hook.behaviour = behaviour
    due(1, endpoint=WebhookEndpoint.objects.create(url=hook.url))
    assert deliverer.deliver(stopping=stopping) == 1
    assert WebhookDelivery.objects.get().status == "delivered"
