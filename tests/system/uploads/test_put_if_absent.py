"""A name that all attempts share, and a copy for another job: on the disk and in a bucket."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import pytest
from django.conf import LazySettings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from uploads.models import Upload
from uploads.stages import StepName
from uploads.storage import pictures
from workflows.job import Job


@pytest.fixture(params=["disk", "bucket"])
def storage(request: pytest.FixtureRequest, settings: LazySettings, tmp_path: Path) -> str:
    settings.MEDIA_ROOT = tmp_path / "media"
    if request.param == "bucket":
        request.getfixturevalue("bucket")
    return str(request.param)


def read(name: str) -> bytes:
    with default_storage.open(name) as file:
        return bytes(file.read())


def test_the_first_stays(storage: str) -> None:
    assert pictures().put_if_absent("a/generate/raw", b"first")
    assert not pictures().put_if_absent("a/generate/raw", b"second")
    assert read("a/generate/raw") == b"first"


def test_of_many_at_once_one_is_the_first(storage: str) -> None:
    data = [bytes([number]) * 100_000 for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        kept = list(pool.map(lambda each: pictures().put_if_absent("a/raw", each), data))
    assert kept.count(True) == 1
    assert read("a/raw") == data[kept.index(True)]


def job(fence: int) -> Job:
    """An attempt of its own at the same upload's step."""
    return Job(Upload(pk=UUID(int=7)), StepName.GENERATE, fence, time.monotonic() + 60)


def test_what_an_attempt_kept_first_is_what_all_others_have(storage: str) -> None:
    assert job(1).keep("a/generate/raw", b"first") == b"first"
    assert job(2).keep("a/generate/raw", b"second") == b"first"
    assert job(3).read("a/generate/raw") == b"first"


def test_of_many_attempts_at_once_all_have_the_same(storage: str) -> None:
    together = threading.Barrier(8)

    def keep(number: int) -> bytes:
        together.wait()
        return job(number).keep("a/raw", bytes([number]) * 100_000)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(keep, range(8))) == {read("a/raw")}


def test_nothing_else_is_left_on_the_disk(settings: LazySettings, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path / "media"
    for data in (b"first", b"second"):
        pictures().put_if_absent("a/raw", data)
    assert os.listdir(tmp_path / "media" / "a") == ["raw"]  # noqa: PTH208 - names only


def test_a_disk_that_refuses_says_so(settings: LazySettings, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path / "media"
    (tmp_path / "media").mkdir()
    (tmp_path / "media" / "a").write_text("a file where a folder should be")
    with pytest.raises(OSError, match="a"):
        pictures().put_if_absent("a/raw", b"data")


def test_a_copy_outlives_the_first(storage: str) -> None:
    default_storage.save("a/work.png", ContentFile(b"picture"))
    assert pictures().copy("a/work.png", "b/checked.png") == "b/checked.png"
    pictures().delete_folder("a")
    assert read("b/checked.png") == b"picture"
    assert pictures().copy("b/checked.png", "c/checked.png")
    pictures().delete_folder("c")
    assert read("b/checked.png") == b"picture"


def test_what_is_not_there_is_not_copied_and_what_is_there_not_replaced(storage: str) -> None:
    with pytest.raises(FileNotFoundError):
        pictures().copy("a/nothing.png", "b/checked.png")
    assert "b" not in set(pictures().folders())
    for name in ("a/one.png", "b/two.png"):
        default_storage.save(name, ContentFile(name.encode()))
    with pytest.raises(FileExistsError):
        pictures().copy("a/one.png", "b/two.png")
    assert read("b/two.png") == b"b/two.png"
