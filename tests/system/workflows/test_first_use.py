"""Commands in a folder where no `make up` was before, as a newcomer types them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import ExifTags, Image

from tests.support.installation import PATIENCE

pytestmark = pytest.mark.any_database


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Nothing is configured but where the data lie."""
    inherited = {key: value for key, value in os.environ.items() if key not in {"SECRET_KEY", "DATABASE_URL"}}
    return inherited | {"DATA_DIR": str(folder / "data")} | more


def manage(folder: Path, *words: object, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *map(str, words)],
        env=environment(folder, **more),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def test_a_sample_is_a_photo_with_what_a_camera_adds_and_its_result_is_without(tmp_path: Path) -> None:
    photo = tmp_path / "holiday.jpg"
    assert manage(tmp_path, "sample", photo).returncode == 0
    with Image.open(photo) as image:
        exif = image.getexif()
        assert (image.format, image.size) == ("JPEG", (2400, 1600))
        assert exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] == (46.0, 21.0, 50.0)
        assert exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal].startswith("2026:")
    done = manage(tmp_path, "process", photo)
    assert (done.returncode, done.stderr) == (0, "")
    with Image.open(json.loads(done.stdout)["output"]) as image:
        assert not image.getexif()


@pytest.mark.parametrize(
    ("name", "words"),
    [("there.jpg", "exists already"), ("holiday.png", "like holiday.jpg"), ("no/where.jpg", "cannot be written")],
)
def test_a_sample_that_cannot_be_written_is_a_sentence(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "there.jpg").write_text("not to be replaced")
    done = manage(tmp_path, "sample", tmp_path / name)
    assert done.returncode != 0
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert [file.name for file in tmp_path.iterdir() if file.name != "data"] == ["there.jpg"]
    assert (tmp_path / "there.jpg").read_text() == "not to be replaced"


def test_two_at_once_make_one_database_and_one_secret(tmp_path: Path) -> None:
    photo = tmp_path / "small.png"
    Image.new("RGB", (40, 30), "teal").save(photo)
    words = [sys.executable, "manage.py", "process", str(photo), "-o"]
    both = [
        subprocess.Popen(
            [*words, str(tmp_path / name)],
            env=environment(tmp_path),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in ("one.webp", "two.webp")
    ]
    told = [process.communicate(timeout=PATIENCE) for process in both]
    assert [error for _, error in told] == ["", ""]
    assert [json.loads(line)["status"] for line, _ in told] == ["completed", "completed"]


def test_processes_that_need_the_secret_at_once_get_the_same(tmp_path: Path) -> None:
    show = "from django.conf import settings; print(settings.SECRET_KEY)"
    several = [
        subprocess.Popen([sys.executable, "-c", show], env=environment(tmp_path), stdout=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    keys = {process.communicate(timeout=PATIENCE)[0].strip() for process in several}
    file = tmp_path / "data" / "secret_key"
    assert keys == {file.read_text()}
    assert len(file.read_text()) > 50
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in file.parent.glob("*secret*")] == ["secret_key"]


def test_a_database_that_other_machines_use_gets_no_secret_of_this_one(tmp_path: Path) -> None:
    done = manage(tmp_path, "check", DATABASE_URL="postgres://127.0.0.1:1/none")
    assert done.returncode == 1
    assert done.stderr.startswith("mend  configuration: SECRET_KEY is not set")
    assert not (tmp_path / "data").exists()


def test_the_doctor_says_what_to_do_first(tmp_path: Path) -> None:
    done = manage(tmp_path, "doctor")
    assert done.returncode == 1
    assert "mend  migrations: Run `python manage.py migrate`: the database is empty." in done.stdout
    assert "note  `make up` migrates" in done.stdout


def test_what_lacks_a_table_is_told_to_migrate(tmp_path: Path) -> None:
    done = manage(tmp_path, "retain")
    assert done.returncode == 1
    assert done.stderr.startswith("The database is behind the code: run `python manage.py migrate` first")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", ["process", "sample", "doctor", "retain", "metrics", "check_providers"])
def test_every_command_has_help(tmp_path: Path, command: str) -> None:
    done = manage(tmp_path, command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"manage.py {command}" in done.stdout


def test_a_data_folder_that_cannot_be_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    done = manage(tmp_path, "process", __file__)
    assert done.returncode != 0
    assert str(tmp_path / "data") in done.stderr
    assert len(done.stderr.splitlines()) == 1
