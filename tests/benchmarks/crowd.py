"""Very many uploads, as they would be after five weeks: by COPY on PostgreSQL, and as quickly as it goes on SQLite.

One in twenty has failed, the last few hundred wait. Every one of the others has its steps, ten events and a result.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import chain, islice
from typing import Any
from uuid import UUID

from django.core.management import call_command
from django.db import connection, models
from django.db.models.expressions import DatabaseDefault
from django.utils import timezone

from tests.support.factories import SessionFactory, UploadFactory
from uploads.models import Event, Result, Session, Step, Upload
from uploads.stages import Stage, StepName

Row = dict[str, Any]

DAYS = 35
EVENTS = 10
"""Of each upload."""
BACKLOG = 600
"""Uploads that wait: more than a sweep takes at once."""
OF_ONE_SESSION = 500
BLOCK = 5000
CODES = ("CANCELED", "STEP_TIMEOUT", "UNREADABLE_IMAGE")


def fill(count: int) -> None:
    """`count` uploads that have ended and `BACKLOG` that wait, in the empty database that Django is connected to."""
    call_command("migrate", verbosity=0)
    if connection.vendor == "postgresql":
        run("SET statement_timeout = 0")
        run("SET synchronous_commit = off")
    now = timezone.now()
    sessions = SessionFactory.build_batch(-(-count // OF_ONE_SESSION))
    Session.objects.bulk_create(sessions)

    def accepted(number: int) -> datetime:
        return now - timedelta(days=DAYS) * (1 - number / count)

    def every(rows_of: Callable[[int, datetime], Iterable[Row]]) -> Iterator[Row]:
        for number in range(count):
            yield from rows_of(number, accepted(number))

    load(Upload, every(lambda number, at: [_upload(number, at, sessions[number // OF_ONE_SESSION].pk)]))
    load(Step, every(_steps))
    load(Event, every(_events))
    load(Result, every(_results))
    _wait(sessions[-1])
    run("VACUUM ANALYZE" if connection.vendor == "postgresql" else "ANALYZE")
    if connection.vendor == "postgresql":
        run("CHECKPOINT")


def _id(number: int, at: datetime, kind: int = 0) -> UUID:
    """A version 7 UUID: the milliseconds first (RFC 9562)."""
    return UUID(f"{int(at.timestamp() * 1000):012x}7{kind:03x}8000{number:012x}")


def _has_failed(number: int) -> bool:
    return number % 20 == 3


def _upload(number: int, at: datetime, session: UUID) -> Row:
    failed = _has_failed(number)
    return {
        "id": _id(number, at),
        "session_id": session,
        "original": f"{_id(number, at)}/original.jpg",
        "original_name": f"holiday-{number}.jpg",
        "content_type": "image/jpeg",
        **dict.fromkeys(("byte_size", "width", "height"), 4000),
        "sha256": "0" * 64,
        "source": f"order-{number}" if number % 10 == 7 else "",
        "prompt_version": "v1",
        "stage": Stage.FAILED if failed else Stage.COMPLETE,
        "progress": 40 if failed else 100,
        "version": EVENTS,
        "event_count": EVENTS,
        "error_code": CODES[number % 3] if failed else "",
        **dict.fromkeys(("created_at", "due_at", "deadline_at"), at),
        "started_at": at + timedelta(seconds=1),
        **dict.fromkeys(("completed_at", "updated_at"), at + timedelta(seconds=6)),
        "cost_usd": "0.04",
    }


def _steps(number: int, at: datetime) -> Iterator[Row]:
    for place, name in enumerate(StepName, start=1):
        began = at + timedelta(seconds=place)
        yield {
            "upload_id": _id(number, at),
            "name": name,
            "status": Step.COMPLETED,
            "attempt": 1,
            "started_at": began,
            "completed_at": began + timedelta(seconds=1),
        }


def _events(number: int, at: datetime) -> Iterator[Row]:
    upload_id = _id(number, at).hex
    for seq in range(1, EVENTS + 1):
        yield {"upload_id": upload_id, "created_at": at + timedelta(seconds=seq / 2), **_WORDS[seq - 1]}


_WORDS = [
    {
        "seq": str(seq),
        "type": "step.progress",
        "level": "info",
        "message": f"Developing the picture: {30 + 4 * seq}%",
        "data": json.dumps({"step": "generate", "progress": 30 + 4 * seq}),
    }
    for seq in range(1, EVENTS + 1)
]


def _results(number: int, at: datetime) -> Iterator[Row]:
    if not _has_failed(number):
        yield {
            "id": _id(number, at, kind=1),
            "upload_id": _id(number, at),
            **dict.fromkeys(("full", "preview", "thumbnail", "content_type"), "a/file.jpg"),
            **dict.fromkeys(("width", "height"), 2000),
            "model": "local-ink-1",
            "prompt_version": "v1",
            "created_at": at + timedelta(seconds=6),
        }


def _wait(session: Session) -> None:
    """As when a broker has been away: every other one has still to be hinted."""
    waiting = Upload.objects.bulk_create(UploadFactory.build(session=session) for _ in range(BACKLOG))
    Upload.objects.filter(pk__in=[upload.pk for upload in waiting[::2]]).update(hinted_at=timezone.now())


def load(model: type[models.Model], rows: Iterable[Row]) -> None:
    """All rows, by column; columns that they do not name get the model's default, or the database's."""
    defaults = dict(_defaults(model))
    rows = iter(rows)
    first = next(rows)
    names = [*first, *(name for name in defaults if name not in first)]
    rest = [_text(defaults[name]) for name in names[len(first) :]]

    def values() -> Iterator[list[str | None]]:
        for row in chain([first], rows):
            yield [*map(_text, row.values()), *rest]

    table, columns = model._meta.db_table, ", ".join(f'"{name}"' for name in names)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            with cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
                for block in _blocks(values()):
                    copy.write("".join(map(_line, block)))
        else:
            marks = ", ".join(["%s"] * len(names))
            for block in _blocks(values()):
                cursor.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", block)  # noqa: S608 - our own names


def _defaults(model: type[models.Model]) -> Iterator[tuple[str, Any]]:
    for field in model._meta.concrete_fields:
        if not (field.generated or field.primary_key or isinstance(default := field.get_default(), DatabaseDefault)):
            yield str(field.column), default


def _text(value: Any) -> str | None:
    """As both databases take it, whatever the column's type."""
    if value is None or type(value) is str:
        return value
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    if isinstance(value, UUID):
        return value.hex
    return json.dumps(value) if isinstance(value, dict) else str(value)


def _line(row: list[str | None]) -> str:
    """In COPY's text format; nothing in these rows needs an escape."""
    return "\t".join(r"\N" if value is None else value for value in row) + "\n"


def _blocks(rows: Iterator[list[str | None]]) -> Iterator[list[list[str | None]]]:
    while block := list(islice(rows, BLOCK)):
        yield block


def run(sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters or None)
        return cursor.fetchall() if cursor.description else []


def timed_fill(count: int) -> None:
    began = time.monotonic()
    fill(count)
    print(f"{count:,} uploads and {count * EVENTS:,} events were made in {time.monotonic() - began:.0f} s", flush=True)
