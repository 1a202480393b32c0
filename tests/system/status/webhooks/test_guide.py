"""The receivers of README.md, as they stand there, with the public libraries."""

import os
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from status import deliverer, outbox
from status.models import WebhookDelivery, WebhookEndpoint
from tests.support.api import Api
from tests.support.factories import UploadFactory
from tests.support.installation import PATIENCE, wait_for
from tests.support.ports import free_port
from tests.support.readme import block
from tests.support.required import cannot
from uploads.errors import CodedError
from uploads.models import Upload
from uploads.stages import Stage

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]


@pytest.fixture
def python(tmp_path: Path) -> list[str]:
    program = tmp_path / "receiver.py"
    program.write_text(block("# receiver.py"))
    return [sys.executable, str(program)]


@pytest.fixture
def node(tmp_path: Path) -> list[str]:
    node = shutil.which("node") or cannot("This needs Node (node), which is not installed.")
    npm = shutil.which("npm") or cannot("This needs npm, which is not installed.")
    (tmp_path / "package.json").write_text('{"private": true}')
    install = [npm, "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "standardwebhooks@1"]
    done = subprocess.run(install, cwd=tmp_path, capture_output=True, text=True, timeout=2 * PATIENCE, check=False)
    if done.returncode:
        cannot(f"npm could not install standardwebhooks: {done.stderr}")
    program = tmp_path / "receiver.mjs"
    program.write_text(block("// receiver.mjs"))
    return [node, str(program)]


@contextmanager
def receiving(command: list[str], port: int, *secrets: str) -> Iterator["subprocess.Popen[str]"]:
    environment = os.environ | {"PORT": str(port), "WEBHOOK_SECRETS": " ".join(secrets)}
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env=environment, text=True, **quiet) as process:  # type: ignore[call-overload]
        try:
            wait_for(lambda: _answers(port))
            yield process
        finally:
            process.kill()


@pytest.fixture(params=["python", "node"])
def guide(request: pytest.FixtureRequest) -> Iterator[tuple[WebhookEndpoint, "subprocess.Popen[str]"]]:
    """The endpoint, and its receiver, which runs."""
    command, port = request.getfixturevalue(request.param), free_port()
    endpoint = WebhookEndpoint.objects.create(url=f"http://127.0.0.1:{port}/hook")
    with receiving(command, port, endpoint.secret()) as process:
        yield endpoint, process


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("how", ["closed", "reset"])
def test_a_request_that_is_cut_off_is_not_its_end(
    guide: tuple[WebhookEndpoint, "subprocess.Popen[str]"], how: str
) -> None:
    endpoint, process = guide
    address = urlsplit(endpoint.url)
    with socket.create_connection((str(address.hostname), address.port), timeout=PATIENCE) as sender:
        sender.sendall(b"POST /hook HTTP/1.1\r\nHost: here\r\nContent-Length: 1000\r\n\r\n" + b'{"type": "job.com')
        if how == "reset":
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    UploadFactory.create().update_stage(Stage.COMPLETE)
    outbox.publish()
    assert deliverer.deliver() == 1
    assert WebhookDelivery.objects.get().status == "delivered"
    assert process.poll() is None


def test_it_takes_what_is_signed_once_and_nothing_else(guide: tuple[WebhookEndpoint, "subprocess.Popen[str]"]) -> None:
    endpoint, process = guide
    upload = UploadFactory.create()
    upload.update_stage(Stage.GENERATING, 40)
    upload.update_stage(Stage.COMPLETE)
    outbox.publish()
    assert deliverer.deliver() == 2
    assert set(WebhookDelivery.objects.values_list("status", "last_status")) == {("delivered", 204)}
    WebhookDelivery.objects.all().replay()
    assert deliverer.deliver() == 2
    endpoint.rotate()
    WebhookEndpoint.objects.update(previous_salt="")
    WebhookDelivery.objects.all().replay()
    assert deliverer.deliver() == 2
    assert set(WebhookDelivery.objects.values_list("status", "last_status")) == {("pending", 401)}
    process.kill()
    assert process.stdout
    told = sorted(process.stdout.read().splitlines())
    assert told == [f"job.completed {upload.pk}", f"job.stage_changed {upload.pk}"]


@pytest.mark.parametrize("language", ["python", "node"])
def test_it_knows_every_secret_that_a_message_may_be_signed_with(
    language: str, api: Api, request: pytest.FixtureRequest
) -> None:
    """Those of an upload's answer and of an endpoint, also of one that was rotated, and whatever the letters."""
    command, port = request.getfixturevalue(language), free_port()
    endpoint = WebhookEndpoint.objects.create(url=f"http://127.0.0.1:{port}/all")
    answer = api.send(webhookUrl=f"http://127.0.0.1:{port}/mine").json()
    Upload.objects.get(pk=answer["jobId"]).fail(CodedError("GENERATOR_BUSY", "Zu viel zu tun – 写真 später."))
    outbox.publish()
    with receiving(command, port, endpoint.secret(), answer["webhookSecret"]) as process:
        assert deliverer.deliver() == 2
        told = WebhookDelivery.objects.values_list("endpoint", "status", "last_status")
        assert set(told) == {(endpoint.pk, "delivered", 204), (None, "delivered", 204)}
        # From now on messages are signed with two secrets, of which the receiver knows the old one.
        endpoint.rotate()
        WebhookDelivery.objects.all().replay()
        assert deliverer.deliver() == 2
        assert set(told.all()) == {(endpoint.pk, "delivered", 204), (None, "delivered", 204)}
        assert all("写真" in body for body in WebhookDelivery.objects.values_list("body", flat=True))
        process.kill()
        assert process.stdout
        assert process.stdout.read().splitlines() == [f"job.failed {answer['jobId']}"]
