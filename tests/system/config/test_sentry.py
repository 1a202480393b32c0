"""What goes to Sentry when something breaks: the place, and nothing that a person has sent."""

import gzip
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from django.conf import settings

from tests.support.installation import PATIENCE

pytestmark = pytest.mark.any_database

# Breaks while it holds all that must not leave: in variables, messages, headers, cookies, the body and the address.
BREAKS = """
import logging
from django.http import HttpResponse
from django.urls import path

def broken(request, link):
    token = request.headers["X-Session-Token"]
    name = request.FILES["image"].name
    logging.getLogger("tests").error("cannot open %s for %s", name, token)
    raise RuntimeError(f"cannot open {name} for {token}")

urlpatterns = [path("media/<str:link>", broken)]
handler500 = "status.errors.server_error"
"""
SENDS = """
import django, sentry_sdk
from django.conf import settings
django.setup()
settings.ROOT_URLCONF = "breaks"
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
client = Client(raise_request_exception=False)
client.cookies["sessionid"] = "SECRET-cookie"
response = client.post(
    "/media/SECRET-link?q=SECRET-query",
    {"image": SimpleUploadedFile("SECRET-name.jpg", b"SECRET-body"), "source": "SECRET-source"},
    headers={"X-Session-Token": "SECRET-token", "Idempotency-Key": "SECRET-key", "host": "localhost"},
)
assert response.status_code == 500, response.status_code
# Whoever scans the internet calls every host by any name: that is not an error of ours.
for address in ("/", "/api/jobs", "/healthz"):
    client.get(address, headers={"host": "SCANNED.example"})
sentry_sdk.flush(60)
"""


@pytest.fixture
def sentry() -> Iterator[tuple[str, list[str]]]:
    """Somewhere to send events, and the events that came."""
    came: list[str] = []

    class Sink(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            came.append((gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body).decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as it is called
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://public@127.0.0.1:{server.server_address[1]}/1", came
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_place_goes_out_and_nothing_that_a_person_sent(sentry: tuple[str, list[str]], tmp_path: Path) -> None:
    dsn, came = sentry
    (tmp_path / "breaks.py").write_text(BREAKS)
    (tmp_path / "sends.py").write_text(SENDS)
    static = str(settings.STATIC_ROOT)  # where the tests have collected it, for the page of a 500
    environment = os.environ | {"SENTRY_DSN": dsn, "PYTHONPATH": f"{Path.cwd()}:{tmp_path}", "STATIC_ROOT": static}
    ended = subprocess.run(
        [sys.executable, tmp_path / "sends.py"], env=environment, capture_output=True, text=True, timeout=PATIENCE
    )
    assert ended.returncode == 0, ended.stderr
    sent = "\n".join(came)
    assert "RuntimeError" in sent
    assert '"function":"broken"' in sent
    assert "request_id" in sent
    # Where it broke is shown with the lines of the source, which here hold nothing secret.
    assert "SECRET" not in sent, [line for line in sent.splitlines() if "SECRET" in line]
    events = [json.loads(line) for line in sent.splitlines() if '"exception"' in line or '"logentry"' in line]
    assert len(events) == 2
    assert "DisallowedHost" not in sent
