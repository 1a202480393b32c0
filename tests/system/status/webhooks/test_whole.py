"""A whole Darkroom, as `make up` starts it, with receivers that take messages and one that hangs, and a PostHog."""

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.support import pictures
from tests.support.installation import Installation, installation, wait_for
from tests.support.posthog import posthog
from tests.support.receiver import Receiver, Request, receiver

pytestmark = pytest.mark.any_database


def send(darkroom: Installation, webhook_url: str) -> Any:
    edge = uuid4().hex
    field = f'--{edge}\r\nContent-Disposition: form-data; name="webhookUrl"\r\n\r\n{webhook_url}\r\n'
    head = f'--{edge}\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
    picture = pictures.encoded(pictures.landscape(320, 240), "JPEG")
    body = field.encode() + head.encode() + picture + f"\r\n--{edge}--\r\n".encode()
    answer = darkroom.request("POST", "/api/uploads", body, Content_Type=f"multipart/form-data; boundary={edge}")
    assert answer.status == 202
    return answer.json


def test_a_job_is_told_outside_while_a_receiver_hangs(hook: Receiver, tmp_path: Path) -> None:
    with receiver(Request.hang) as hanging, posthog() as hog:
        environment = {
            "WEBHOOK_ALLOW_PRIVATE": "1",
            "POSTHOG_API_KEY": "phc_test",
            "POSTHOG_HOST": hog.url,
            "SWEEP_SECONDS": "1",
        }
        with installation(tmp_path, **environment) as darkroom:
            send(darkroom, hanging.url.replace("127.0.0.1", "localhost"))
            wait_for(lambda: hanging.messages)
            sent = send(darkroom, hook.url)
            wait_for(lambda: any(json.loads(message.body)["type"] == "job.completed" for message in hook.messages))
            wait_for(lambda: len(hog.named("status_complete")) == 2)
            assert darkroom.status(sent["jobId"])["status"] == "completed"
            wait_for(lambda: len(set(hook.ids())) == 5)
            told = [message.verified(sent["webhookSecret"]) for message in hook.messages]
            assert sorted({message["type"] for message in told}) == ["job.completed", "job.stage_changed"]
            assert {message["data"]["jobId"] for message in told} == {sent["jobId"]}
            late = send(darkroom, hook.url)["jobId"]
        # Ctrl-C, in the middle of all that: every process has ended, and what the web still had in its queue is sent.
        received = {event["properties"]["upload_id"] for event in hog.named("upload_received")}
        assert {sent["jobId"], late} <= received
