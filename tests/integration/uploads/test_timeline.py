"""A job's time, drawn to scale from its events."""

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.support.api import Api
from uploads.models import Event
from uploads.timeline import LEFT, RIGHT, WIDTH, Span, spans, timeline

ACCEPTED = datetime(2026, 11, 1, 12, tzinfo=UTC)
ACROSS = WIDTH - LEFT - RIGHT


def at(seconds: float) -> datetime:
    return ACCEPTED + timedelta(seconds=seconds)


def event(seconds: float, kind: str, **data: object) -> Event:
    return Event(type=kind, data=data, created_at=at(seconds))


def said(found: list[Span]) -> list[tuple[str, str, float, float]]:
    return [
        (span.row, span.kind, (span.start - ACCEPTED).total_seconds(), (span.end - ACCEPTED).total_seconds())
        for span in found
    ]


def test_work_and_waiting_follow_each_other_without_a_hole() -> None:
    events = [
        event(0, "job.accepted"),
        event(2, "step.started", step="validate"),
        event(3, "step.completed", step="validate"),
        event(5, "step.started", step="generate"),
        event(6, "step.progress", step="generate"),
    ]
    assert said(spans(ACCEPTED, events, at(9))) == [
        ("wait", "waited", 0, 2),
        ("validate", "done", 2, 3),
        ("wait", "waited", 3, 5),
        ("generate", "worked", 5, 9),
    ]


def test_a_step_that_is_tried_again_waits_until_it_is_due() -> None:
    events = [
        event(0, "step.started", step="generate"),
        event(4, "step.retrying", step="generate", dueAt="2026-11-01T12:00:10Z"),
        event(12, "step.retrying", step="generate"),
        event(15, "step.failed", step="generate"),
        event(15, "job.failed", step="generate"),
    ]
    assert said(spans(ACCEPTED, events, at(15))) == [
        ("generate", "again", 0, 4),
        ("generate", "waited", 4, 10),
        ("generate", "again", 10, 12),
        ("generate", "failed", 12, 15),
    ]


def test_nothing_is_drawn_between_a_failure_and_the_retry() -> None:
    events = [
        event(0, "step.started", step="store"),
        event(1, "job.failed", step="store"),
        event(61, "job.retried"),
        event(62, "step.started", step="store"),
        event(64, "step.completed", step="store"),
        event(64, "job.completed"),
    ]
    assert said(spans(ACCEPTED, events, at(64))) == [
        ("store", "failed", 0, 1),
        ("wait", "waited", 61, 62),
        ("store", "done", 62, 64),
    ]


def test_the_drawing_is_to_scale() -> None:
    events = [event(10, "step.started", step="validate"), event(30, "step.completed", step="validate")]
    drawn = timeline(ACCEPTED, events, at(40))
    waited, worked, after = drawn.blocks
    assert waited.x == LEFT
    assert waited.width == pytest.approx(ACROSS / 4)
    assert worked.x == pytest.approx(LEFT + ACROSS / 4)
    assert worked.width == pytest.approx(ACROSS / 2)
    assert after.x + after.width == pytest.approx(WIDTH - RIGHT)
    assert drawn.ticks[:2] == [(LEFT, "0 s"), (pytest.approx(LEFT + ACROSS / 4, abs=0.01), "10 s")]
    assert "validate: done, 20 s from 10 s" in worked.said


def test_a_job_of_no_time_at_all_can_be_drawn() -> None:
    assert timeline(ACCEPTED, [], ACCEPTED).blocks == []


@pytest.mark.django_db
def test_the_record_page_shows_it(api: Api) -> None:
    upload = api.finished()
    client = Client()
    client.force_login(User.objects.create_superuser("operator"))
    shown = client.get(f"/admin/uploads/upload/{upload.pk}/change/").content.decode()
    assert shown.count('<rect class="done"') == 4
    assert "<title>generate: done, " in shown
    assert "style=" not in shown.partition("<main")[2]
