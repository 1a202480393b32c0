"""`manage.py process` as a process of its own: on a terminal, in a pipe, interrupted."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support import pictures
from tests.support.database import database_url
from tests.support.installation import PATIENCE
from uploads.models import Upload

pytestmark = pytest.mark.django_db


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    file = tmp_path / "in" / "garden.jpg"
    file.parent.mkdir()
    file.write_bytes(pictures.encoded(pictures.landscape(200, 150), "JPEG"))
    return file


def command(*words: object, **environment: str) -> dict[str, Any]:
    """What starts it by itself, as a shell would."""
    return {
        "args": [sys.executable, "manage.py", "process", *map(str, words)],
        "env": os.environ | {"DATABASE_URL": database_url(), "TERM": "xterm", "COLUMNS": "100"} | environment,
    }


def on_a_terminal(*words: object, **environment: str) -> tuple[int, bytes]:
    terminal, end = pty.openpty()
    process = subprocess.Popen(**command(*words, **environment), stdin=end, stdout=end, stderr=end)
    os.close(end)
    shown = b"".join(iter(lambda: read(terminal), b""))
    os.close(terminal)
    return process.wait(60), shown


def read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # what Linux says at the end of a terminal
        return b""


@pytest.mark.django_db(transaction=True)
def test_on_a_terminal_there_is_a_bar_and_no_json(photo: Path, tmp_path: Path) -> None:
    status, shown = on_a_terminal(photo, "-o", tmp_path / "out.png")
    assert status == 0
    assert b"garden.jpg" in shown
    assert "━".encode() in shown
    assert b"{" not in shown
    assert (tmp_path / "out.png").exists()


@pytest.mark.django_db(transaction=True)
def test_a_name_that_cannot_be_shown_is_shown_otherwise(photo: Path) -> None:
    name = photo.with_name(os.fsdecode(b"gr\xc3\xb6\xff\x1b[31m.jpg"))
    photo.rename(name)
    status, shown = on_a_terminal(name, PYTHONIOENCODING="ascii")
    assert status == 0
    assert rb"gr\xf6\udcff\x1b[31m.jpg" in shown
    told = subprocess.run(**command(name, "--force", PYTHONIOENCODING="ascii"), capture_output=True, text=True)
    assert (told.returncode, told.stderr) == (0, "")
    assert json.loads(told.stdout)["file"] == str(name)


@pytest.mark.django_db(transaction=True)
def test_nobody_who_listens_is_no_reason_for_a_traceback(photo: Path) -> None:
    listener, out = os.pipe()
    os.close(listener)
    ended = subprocess.run(**command(photo), stdout=out, stderr=subprocess.PIPE, text=True)
    os.close(out)
    assert (ended.returncode, ended.stderr) == (128 + signal.SIGPIPE, "")
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(**command(photo, "--force"), stdout=full, stderr=subprocess.PIPE, text=True)
    assert ended.returncode == 1
    assert ended.stderr.startswith("CommandError: What has become")
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.usefixtures("in_a_terminal")
@pytest.mark.django_db(transaction=True)
def test_an_interrupted_job_is_cancelled(photo: Path, tmp_path: Path) -> None:
    photo.write_bytes(pictures.encoded(pictures.landscape(3000, 2000), "JPEG"))
    process = subprocess.Popen(**command(photo), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    began = time.monotonic()
    while not Upload.objects.filter(stage="generating").exists():
        assert process.poll() is None
        assert time.monotonic() - began < PATIENCE
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=PATIENCE) == ("", "")
    assert process.returncode == 128 + signal.SIGINT
    assert Upload.objects.get().error_code == "CANCELED"
    assert list(photo.parent.iterdir()) == [photo]
