"""`manage.py process`: whole jobs in a terminal, or for a script."""

import json
import os
import pty
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.management import CommandError, call_command
from PIL import Image

from tests import pictures
from tests.database import database_url
from uploads.models import Upload

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _own_storage(settings: LazySettings, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path / "media"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    file = tmp_path / "in" / "garden.jpg"
    file.parent.mkdir()
    file.write_bytes(pictures.encoded(pictures.landscape(200, 150), "JPEG"))
    return file


def process(*words: object) -> tuple[int, list[dict[str, Any]]]:
    out = StringIO()
    try:
        call_command("process", *(str(word) for word in words), stdout=out)
    except SystemExit as end:
        return int(end.code or 0), [json.loads(line) for line in out.getvalue().splitlines()]
    return 0, [json.loads(line) for line in out.getvalue().splitlines()]


def test_one_picture_into_the_file_that_was_asked_for(photo: Path, tmp_path: Path) -> None:
    wanted = tmp_path / "new" / "out.webp"
    status, [told] = process(photo, "-o", wanted, "--prompt", "v2")
    assert status == 0
    assert (told["file"], told["output"], told["status"]) == (str(photo), str(wanted), "completed")
    with Image.open(wanted) as image:
        assert (image.format, image.size) == ("WEBP", (200, 150))
    upload = Upload.objects.get(pk=told["jobId"])
    assert (upload.status, upload.result.prompt_version, upload.source) == ("completed", "v2", "terminal")


def test_without_a_name_the_result_lies_beside_the_picture(photo: Path) -> None:
    _, [told] = process(photo)
    assert Path(told["output"]).parent == photo.parent
    assert Path(told["output"]).name.startswith("garden.darkroom.")
    Image.open(told["output"]).close()


def test_a_folder_is_gone_through_and_its_results_are_not_taken_for_pictures(photo: Path) -> None:
    (photo.parent / "notes.txt").write_text("not a picture, and not called one")
    (photo.parent / "more").mkdir()
    (photo.parent / "more" / "night.png").write_bytes(pictures.encoded(pictures.night(120, 90), "PNG"))
    first = process(photo.parent)[1]
    assert [Path(told["file"]).name for told in first] == ["garden.jpg", "night.png"]
    assert [told["file"] for told in process(photo.parent)[1]] == [told["file"] for told in first]


def test_a_bad_file_is_a_sentence_and_the_others_go_on(photo: Path, tmp_path: Path) -> None:
    text, broken = tmp_path / "in" / "a.jpg", tmp_path / "in" / "b.png"
    text.write_text("no picture")
    broken.write_bytes(pictures.encoded(pictures.night(120, 90), "PNG")[:-400])
    status, told = process(text, broken, photo, "-o", tmp_path / "out")
    assert status == 1
    assert [line["status"] for line in told] == ["failed", "failed", "completed"]
    assert [line.get("error", {}).get("code") for line in told] == ["UNSUPPORTED_TYPE", "UNREADABLE_IMAGE", None]
    assert all(line["error"]["message"].endswith(".") for line in told[:2])
    assert [file.name for file in (tmp_path / "out").iterdir()] == [Path(told[2]["output"]).name]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nowhere.jpg"], "There is no nowhere.jpg."),
        (["{photo}", "{photo}", "-o", "one.webp"], "do not fit into one file"),
        (["{photo}", "-o", "out.bmp"], "ends in one of"),
        (["{empty}"], "no pictures"),
    ],
)
def test_a_mistake_is_told_before_anything_is_begun(
    photo: Path, tmp_path: Path, words: list[str], sentence: str
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CommandError, match=sentence) as error:
        process(*(word.format(photo=photo, empty=tmp_path / "empty") for word in words))
    assert error.value.returncode == 2
    assert Upload.objects.count() == 0


@pytest.mark.django_db(transaction=True)
def test_on_a_terminal_there_is_a_bar_and_no_json(photo: Path, tmp_path: Path) -> None:
    terminal, end = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "manage.py", "process", str(photo), "-o", str(tmp_path / "out.png")],
        env=os.environ | {"DATABASE_URL": database_url(), "TERM": "xterm", "COLUMNS": "100"},
        stdin=end,
        stdout=end,
        stderr=end,
    )
    os.close(end)
    shown = b""
    while True:
        try:
            read = os.read(terminal, 4096)
        except OSError:  # what Linux says at the end of a terminal
            break
        if not read:
            break
        shown += read
    os.close(terminal)
    assert process.wait(60) == 0
    assert b"garden.jpg" in shown
    assert "━".encode() in shown
    assert b"{" not in shown
    assert (tmp_path / "out.png").exists()
