"""A job's events drawn to scale: what was worked on when, and when it waited. Numbers for a template's SVG."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from uploads.models import Event
from uploads.stages import StepName

WIDTH, LEFT, RIGHT, ROW, TOP = 720, 120, 24, 26, 8
LEAST = 2.0
"""Of the width, so that what was quick is seen at all."""
MOST_TICKS = 6
"""More would not fit on a phone, where the letters are larger."""
STEPS_OF_SCALE = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)


class Span(NamedTuple):
    row: str
    start: datetime
    end: datetime
    kind: str
    """worked, done, again or failed: how it ended; waited: nobody had it."""


@dataclass(frozen=True)
class Block:
    x: float
    y: int
    width: float
    kind: str
    said: str


@dataclass(frozen=True)
class Timeline:
    blocks: list[Block]
    rows: list[tuple[int, str]]
    ticks: list[tuple[float, str]]
    width: int
    height: int
    left: int = LEFT
    right: int = WIDTH - RIGHT


KIND_WORDS = {
    "waited": _("waited"),
    "worked": _("works"),
    "done": _("done"),
    "again": _("to be tried again"),
    "failed": _("failed"),
}
ENDED = {"step.completed": "done", "step.retrying": "again", "step.failed": "failed", "job.failed": "failed"}


def spans(accepted: datetime, events: Iterable[Event], until: datetime) -> list[Span]:
    """`until` is when the job ended, or now. Nothing is drawn between a failure and the retry of the job."""
    found: list[Span] = []
    row, since, kind = "wait", accepted, "waited"
    for event in events:
        after = _after(event)
        if after is None:
            continue
        at = event.created_at
        found.append(Span(row, since, at, ENDED.get(event.type, kind) if kind == "worked" else kind))
        row, kind = after
        since = _due(event, at, until)
        found.append(Span(row, at, since, "waited"))
    found.append(Span(row, since, until, kind))
    return [span for span in found if span.row and span.end > span.start]


def _after(event: Event) -> tuple[str, str] | None:
    """The row and kind of what begins with this event; None when it is none of these."""
    match event.type:
        case "step.started" | "step.retrying":
            return str(event.data.get("step") or ""), "worked"
        case "step.completed" | "step.skipped" | "job.retried":
            return "wait", "waited"
        case "step.failed" | "job.failed" | "job.completed":
            return "", "over"
    return None


def _due(event: Event, at: datetime, until: datetime) -> datetime:
    """When a step that is tried again may go on."""
    due = parse_datetime(str(event.data.get("dueAt", ""))) if event.type == "step.retrying" else None
    return min(max(due, at), until) if due else at


def timeline(accepted: datetime, events: Iterable[Event], until: datetime) -> Timeline:
    found = spans(accepted, events, until)
    seconds = max((until - accepted).total_seconds(), 0.001)
    names = ["wait", *StepName]
    scale = (WIDTH - LEFT - RIGHT) / seconds
    blocks = [
        Block(
            round(LEFT + (span.start - accepted).total_seconds() * scale, 2),
            TOP + ROW * names.index(span.row),
            round(max((span.end - span.start).total_seconds() * scale, LEAST), 2),
            span.kind,
            gettext("%(step)s: %(kind)s, %(time)s from %(start)s")
            % {
                "step": _row_words(span.row),
                "kind": KIND_WORDS[span.kind],
                "time": _words((span.end - span.start).total_seconds()),
                "start": _words((span.start - accepted).total_seconds()),
            },
        )
        for span in found
        if span.row in names
    ]
    every = next((step for step in STEPS_OF_SCALE if seconds / step <= MOST_TICKS), seconds / MOST_TICKS)
    ticks = [(round(LEFT + every * mark * scale, 2), _words(every * mark)) for mark in range(int(seconds / every) + 1)]
    rows = [(TOP + ROW * index, _row_words(name)) for index, name in enumerate(names)]
    return Timeline(blocks, rows, ticks, WIDTH, TOP + ROW * len(names) + 20)


def _row_words(row: str) -> str:
    """Steps are called as in the record."""
    return gettext("wait") if row == "wait" else row


def _words(seconds: float) -> str:
    if seconds >= 7200:
        return f"{seconds / 3600:.3g} h"
    if seconds >= 120:
        return f"{seconds / 60:.3g} min"
    return f"{seconds:.3g} s"
