"""`manage.py process`: whole jobs in a terminal, or for a script."""

import json
import os
import signal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.management import CommandError, call_command
from PIL import Image

from tests.support import pictures
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
    again = process(photo.parent, "--force")[1]
    assert [told["file"] for told in again] == [told["file"] for told in first]


def test_a_result_that_is_there_is_replaced_only_by_force(photo: Path) -> None:
    there = photo.with_name("garden.darkroom.webp")
    there.write_text("not to be replaced")
    status, [told] = process(photo)
    assert (status, told["error"]["code"]) == (1, "OUTPUT_EXISTS")
    assert (there.read_text(), Upload.objects.count()) == ("not to be replaced", 0)
    wanted = photo.with_name("own.webp")
    wanted.write_text("dear, too")
    assert process(photo, "-o", wanted)[0] == 1
    assert wanted.read_text() == "dear, too"
    assert process(photo, "-o", wanted, "--force")[0] == 0
    Image.open(wanted).close()
    assert not list(photo.parent.glob(".*"))


def test_pictures_of_one_name_do_not_replace_each_others_results(photo: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "garden.png"
    other.parent.mkdir()
    other.write_bytes(pictures.encoded(pictures.night(120, 90), "PNG"))
    status, told = process(photo, other, photo, "-o", tmp_path / "out")
    assert (status, len(told)) == (0, 2)
    sizes = []
    for line in told:
        with Image.open(line["output"]) as image:
            sizes.append(image.size)
    assert sizes == [(200, 150), (120, 90)]


def test_a_result_never_takes_the_place_of_its_picture(photo: Path, tmp_path: Path) -> None:
    before, link = photo.read_bytes(), tmp_path / "link.jpg"
    link.symlink_to(photo)
    for output in (photo, link):
        with pytest.raises(CommandError, match="one of the pictures"):
            process(photo, "-o", output, "--force")
    assert photo.read_bytes() == before


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
        (["{photo}", "{file}", "-o", "one.webp"], "do not fit into one file"),
        (["{photo}", "-o", "out.bmp"], "ends in one of"),
        (["{empty}"], "no pictures in .*/empty"),
        (["{photo}", "-o", "{file}"], "is no folder"),
        ([os.devnull], "neither a file nor a folder"),
        (["x" * 300], "too long"),
    ],
)
def test_a_mistake_is_told_before_anything_is_begun(
    photo: Path, tmp_path: Path, words: list[str], sentence: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(CommandError, match=sentence) as error:
        process(*(word.format(photo=photo, empty=tmp_path / "empty", file=tmp_path / "file") for word in words))
    assert error.value.returncode == 2
    assert Upload.objects.count() == 0


@pytest.mark.usefixtures("in_a_terminal")
@pytest.mark.django_db(transaction=True)
def test_an_interruption_is_not_taken_for_a_fault_of_what_it_hits(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def send(upload: Upload) -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt as error:  # as Python does where a class is made
            raise RuntimeError from error

    monkeypatch.setattr("workflows.pipeline.send", send)
    assert process(photo) == (128 + signal.SIGINT, [])
    assert Upload.objects.get().error_code == "CANCELED"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
