"""The local storage: a file is seen whole or not at all."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.files.base import ContentFile

from uploads.storage import SignedFileSystemStorage


class Written(ContentFile):
    """Two chunks; between them it notes which files are seen, and may fail as on a full disk."""

    def __init__(self, folder: Path, error: OSError | None = None) -> None:
        super().__init__(b"")
        self.seen: list[str] = []
        self._folder, self._error = folder, error

    def chunks(self, chunk_size: int | None = None) -> Iterator[bytes]:
        yield b"one half"
        self.seen = visible(self._folder)
        if self._error:
            raise self._error
        yield b", and the other"


def visible(folder: Path) -> list[str]:
    """What readers may find: names that begin with a dot are the storage's own."""
    return sorted(path.name for path in folder.rglob("[!.]*") if path.is_file())


def test_a_file_is_seen_once_it_is_whole(tmp_path: Path) -> None:
    storage, content = SignedFileSystemStorage(tmp_path), Written(tmp_path)
    name = storage.save("job/picture.png", content)
    assert content.seen == []
    assert visible(tmp_path) == ["picture.png"]
    with storage.open(name) as file:
        assert file.read() == b"one half, and the other"


def test_a_file_that_could_not_be_written_leaves_nothing(tmp_path: Path) -> None:
    storage = SignedFileSystemStorage(tmp_path)
    with pytest.raises(OSError, match="full"):
        storage.save("job/picture.png", Written(tmp_path, OSError("full")))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
