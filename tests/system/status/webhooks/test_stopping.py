"""The process of the queues `house` and `deliver`, as `make up` starts it, while a receiver hangs."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest

from config.programs import programs
from status.models import WebhookDelivery, WebhookEndpoint
from tests.support.database import database_url
from tests.support.factories import UploadFactory
from tests.support.installation import PATIENCE, wait_for
from tests.support.receiver import Receiver, Request, receiver
from workflows.models import Heartbeat

pytestmark = pytest.mark.django_db(transaction=True)
HINT = "import config.celery, django; django.setup(); import status.tasks as t; t.deliver.apply_async(queue='deliver')"


@contextmanager
def worker(folder: Path, log: Path, **more: str) -> Iterator["subprocess.Popen[bytes]"]:
    """With a hint that there is something to deliver."""
    program = next(each for each in programs("127.0.0.1", 0, metrics=False) if "house,deliver" in each.command)
    environment = os.environ | program.environment | {"DATA_DIR": str(folder), "DATABASE_URL": database_url()}
    environment |= {"WEBHOOK_ALLOW_PRIVATE": "1", "SHUTDOWN_GRACE_SECONDS": "2"} | more
    subprocess.run([sys.executable, "-c", HINT], env=environment, check=True)
    with log.open("wb") as out, subprocess.Popen(program.command, env=environment, stdout=out, stderr=out) as process:
        try:
            yield process
        finally:
            process.kill()


def test_sweeps_go_on_while_receivers_hang(tmp_path: Path) -> None:
    """Both are in the same process there, and what waits for receivers takes minutes."""
    message = {"upload": UploadFactory.create(), "type": "job.completed", "body": "{}"}
    with receiver(Request.hang) as hanging:
        endpoint = WebhookEndpoint.objects.create(url=hanging.url)
        rows = (WebhookDelivery(endpoint=endpoint, message_id=f"evt_{number}", **message) for number in range(100))
        WebhookDelivery.objects.bulk_create(rows)
        with worker(tmp_path, tmp_path / "log", SWEEP_SECONDS="0.5"):
            wait_for(lambda: hanging.messages)
            for _ in range(3):
                before = _last_sweep()
                wait_for(lambda: _last_sweep() != before)  # noqa: B023 - called at once


def _last_sweep() -> list[datetime]:
    return list(Heartbeat.objects.filter(name=Heartbeat.SWEEP).values_list("seen_at", flat=True))


def test_it_ends_at_once_begins_nothing_more_and_hands_back_what_it_had(hook: Receiver, tmp_path: Path) -> None:
    log = tmp_path / "log"
    upload = UploadFactory.create()
    message = {"upload": upload, "type": "job.completed", "body": "{}"}
    with receiver(Request.hang) as hanging:
        endpoint = WebhookEndpoint.objects.create(url=hanging.url)
        rows = (WebhookDelivery(endpoint=endpoint, message_id=f"evt_{number}", **message) for number in range(100))
        WebhookDelivery.objects.bulk_create(rows)
        with worker(tmp_path, log) as process:
            wait_for(lambda: len(hanging.messages) == 16)
            process.send_signal(signal.SIGTERM)
            wait_for(lambda: "shutdown" in log.read_text())
            late = WebhookEndpoint.objects.create(url=hook.url)
            WebhookDelivery.objects.create(endpoint=late, message_id="evt_late", **message)
            process.wait(timeout=PATIENCE)
        assert len(hanging.messages) == 16
    assert hook.messages == []
    # None has run into its time limit: nobody waited for that.
    left = WebhookDelivery.objects.due().filter(endpoint=endpoint).values_list("tries_left", "history")
    assert [tuple(row) for row in left] == [(12, [])] * 100
    assert "Traceback" not in log.read_text()
    assert process.returncode == 0
