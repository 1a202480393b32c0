"""Where pictures lie: on the local disk, or in a bucket. Private either way, handed out by links that expire.

Both raise OSError, and nothing else, when they cannot do what they are asked; FileNotFoundError for what is not there.
"""

from __future__ import annotations

import mimetypes
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, cast
from uuid import uuid4

from django.conf import settings
from django.core import signing
from django.core.files import File
from django.core.files.storage import FileSystemStorage, default_storage
from django.urls import reverse

_to_show = signing.TimestampSigner(salt="uploads.storage")
_to_keep = signing.TimestampSigner(salt="uploads.storage.download")


class PictureStorage(Protocol):
    """What is asked of the default storage beside what Django asks of any."""

    def download_url(self, name: str | None) -> str:
        """As `url`, but a browser keeps the file instead of showing it, whatever page the link stands in."""

    def origin(self) -> str:
        """Of all its links, as a content security policy wants it."""

    def put_if_absent(self, name: str, data: bytes) -> bool:
        """Stores a whole file under exactly this name; False, and nothing done, when there is one."""

    def copy(self, name: str, to: str) -> str:
        """A second file with the same content, which outlives the first; returns its name. It passes through no memory.

        Raises FileNotFoundError when there is no file of that name, and FileExistsError when there is one at `to`.
        """

    def folders(self) -> Iterator[str]:
        """The names at the top: uploads' ids. Read bit by bit, for there may be very many."""

    def delete_folder(self, folder: str) -> None:
        """Everything below it; nothing to do is no error."""


def pictures() -> PictureStorage:
    return cast("PictureStorage", default_storage)


class SignedFileSystemStorage(FileSystemStorage):
    """A file is seen whole or not at all, and is on the disk when `save` returns."""

    def url(self, name: str | None) -> str:
        """An absolute link that opens for `RESULT_LINK_SECONDS`."""
        return _link(_to_show, name)

    def download_url(self, name: str | None) -> str:
        return _link(_to_keep, name)

    def origin(self) -> str:
        return str(settings.PUBLIC_URL)

    def has_room(self, size: int) -> bool:
        """Whether `size` more bytes leave the reserve that jobs in progress live on."""
        folder = Path(self.location)
        folder.mkdir(parents=True, exist_ok=True, mode=self.directory_permissions_mode or 0o700)
        return bool(shutil.disk_usage(folder).free - size >= settings.DISK_RESERVE_BYTES)

    def _save(self, name: str, content: File[Any]) -> str:
        target = Path(self.path(name))
        with self._written(target, content.chunks()) as aside:
            aside.rename(target)
        return str(target.relative_to(self.location))

    def put_if_absent(self, name: str, data: bytes) -> bool:
        target = Path(self.path(name))
        with self._written(target, [data]) as aside:
            try:
                target.hardlink_to(aside)
            except FileExistsError:
                return False
            finally:
                aside.unlink()
        return True

    def copy(self, name: str, to: str) -> str:
        """A second name of the same file: no file is ever changed once it is stored, so neither can hurt the other."""
        target = Path(self.path(to))
        target.parent.mkdir(parents=True, exist_ok=True, mode=self.directory_permissions_mode or 0o700)
        try:
            target.hardlink_to(self.path(name))
        except OSError:
            with suppress(OSError):  # others may be in it
                target.parent.rmdir()
            raise
        _sync_folders(target.parent, Path(self.location))
        return to

    @contextmanager
    def _written(self, target: Path, chunks: Iterable[bytes]) -> Iterator[Path]:
        """A whole file beside the target, which the block gives its name; both are then on the disk."""
        target.parent.mkdir(parents=True, exist_ok=True, mode=self.directory_permissions_mode or 0o700)
        aside = target.with_name(f".{uuid4().hex}.part")
        try:
            with aside.open("xb") as file:
                os.fchmod(file.fileno(), self.file_permissions_mode or 0o600)
                for chunk in chunks:
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            yield aside
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        _sync_folders(target.parent, Path(self.location))

    def delete(self, name: str) -> None:
        """Removes the file, and the folders that it leaves empty."""
        super().delete(name)
        folder = Path(self.path(name)).parent
        while folder != Path(self.location):
            try:
                folder.rmdir()
            except OSError:
                return
            folder = folder.parent

    def folders(self) -> Iterator[str]:
        try:
            with os.scandir(self.location) as entries:
                yield from (entry.name for entry in entries if entry.is_dir())
        except FileNotFoundError:
            return  # nothing was ever stored

    def delete_folder(self, folder: str) -> None:
        try:
            folders, files = self.listdir(folder)
        except FileNotFoundError:
            return
        for inner in folders:
            self.delete_folder(f"{folder}/{inner}")
        for file in files:
            self.delete(f"{folder}/{file}")
        # With its last file it is gone already; one that was empty is not.
        with suppress(FileNotFoundError):
            Path(self.path(folder)).rmdir()


def _link(signer: signing.TimestampSigner, name: str | None) -> str:
    return str(settings.PUBLIC_URL) + reverse("media", args=[signer.sign_object(name)])


def in_link(link: str) -> tuple[str, bool]:
    """The file's name, and whether it is to be kept; raises `signing.BadSignature`, also for what has expired."""
    age = settings.RESULT_LINK_SECONDS
    try:
        return _to_show.unsign_object(link, max_age=age), False
    except signing.BadSignature:
        return _to_keep.unsign_object(link, max_age=age), True


def shown_as(name: str) -> tuple[str, str]:
    """What a file is called when somebody keeps it, and its content type: by its own name, which is ours."""
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return f"darkroom-{Path(name).parts[0]}-{Path(name).name}", kind


def _sync_folders(folder: Path, root: Path) -> None:
    """A rename is only durable once its folder is, and a new folder once its parent is."""
    while True:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        if folder == root or root not in folder.parents:
            return
        folder = folder.parent
