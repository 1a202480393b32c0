"""What the README says of the dialects, and of the record in Python, is so."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone

from tests.support import pictures
from tests.support.api import Api
from tests.support.readme import block
from uploads.models import Upload
from uploads.stages import StepName
from workflows import runner

pytestmark = pytest.mark.any_database


ROOT = Path(__file__).parents[3]


@pytest.mark.django_db
def test_the_record_can_be_used_from_python(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    file = SimpleUploadedFile("holiday.jpg", pictures.encoded(pictures.landscape(160, 120), "JPEG"))
    exec(block("from uploads.errors import CodedError"), {"file": file})  # noqa: S102 - our own
    told = capsys.readouterr().out
    assert told.startswith("CANCELED {'total': 1, 'byStatus': {")
    events = Upload.objects.get(source="order-7").events.order_by("seq").values_list("type", "level", "message")
    assert list(events) == [
        ("job.accepted", "info", "Your picture has arrived."),
        ("step.skipped", "info", "This step had nothing to do."),
        ("step.started", "info", "Mixing colours"),
        ("log", "warn", "Looks like rain"),
        ("step.failed", "error", "The image service is too busy at the moment."),
        ("job.failed", "error", "The image service is too busy at the moment."),
        ("job.retried", "info", "The job is tried again."),
        ("job.failed", "error", "The job was cancelled."),
    ]


def table() -> dict[str, dict[str, str]]:
    """The rows of the README's table of the dialects: by their names, what stands below each address."""
    section = (ROOT / "README.md").read_text().split("## One record, four dialects")[1].split("\n## ")[0]
    rows = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in section.splitlines() if line[:1] == "|"]
    head, _, *body = rows
    return {name: dict(zip(head[1:], cells, strict=True)) for name, *cells in body}


def said_in(document: Any, cell: str) -> bool:
    """Whether the cell's `"key": value` is said in it, at whatever depth; `[…]` is any list that is not empty."""
    if isinstance(document, list):
        return any(said_in(each, cell) for each in document)
    if not isinstance(document, dict):
        return False
    key, _, value = cell.partition(": ")
    own = document.get(json.loads(key))
    found = bool(own) and isinstance(own, list) if value == "[…]" else own == json.loads(value)
    return found or any(said_in(each, cell) for each in document.values())


@pytest.mark.django_db
def test_the_table_of_the_dialects_tells_what_they_say(api: Api) -> None:
    rows = table()
    job = api.accepted()
    runner.run(StepName.VALIDATE, str(job.pk), "test")
    fence = job.claim(StepName.GENERATE, timedelta(seconds=30), "test")
    assert fence
    job.advance(45, fence=fence)
    done = api.finished()
    for name, cells in rows.items():
        upload = done if name == "when done" else job
        for address, cell in cells.items():
            events = rows["what happened"][address]
            is_type = name == "an event" and events.startswith("/")
            path = events if is_type else cell if cell.startswith("/") else address
            if upload == job:  # of whole seconds, what is left now and not since the first row
                Upload.objects.filter(pk=job.pk).update(estimated_completion_at=timezone.now() + timedelta(seconds=2.9))
            response = api.get(path.format(id=upload.pk))
            assert response.status_code == 200, path
            if cell and path != cell:
                assert said_in(response.json(), f'"type": "{cell}"' if is_type else cell), (name, address, cell)
