"""What a step is given to work with, and what it hands back."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from uploads.errors import LeaseLost, Rejected
from uploads.models import Upload
from uploads.stages import STAGE_OF, WORK, StepName
from uploads.storage import pictures
from workflows.errors import Deferred, Transient

REPORT_EVERY = 0.3
"""Seconds between two recorded reports of progress."""
FILE_MAX_BYTES = 128 * 1024 * 1024
"""Or what may be sent, if that is more: no step makes larger ones."""


@dataclass
class Outcome:
    output: dict[str, Any] = field(default_factory=dict)
    """For the steps after this one: names of files, mostly. Must be JSON."""
    result: dict[str, Any] | None = None
    """Columns of `Result` that are known now."""
    skipped: bool = False


class Job:
    """A claimed step of an upload. Nothing that it writes is seen before the runner commits the outcome."""

    def __init__(self, upload: Upload, step: StepName, fence: int, ends_at: float) -> None:
        """`ends_at`, on the monotonic clock, is when the step has had all the time that it may take."""
        self.upload = upload
        self.step = step
        self.fence = fence
        self.ends_at = ends_at
        self.lost = False
        self.exit: BaseException | None = None
        """What ends the worker as soon as the step is recorded."""
        self._span = WORK[STAGE_OF[step]]
        self._reported_at = time.monotonic()

    def seconds_left(self) -> float:
        return self.ends_at - time.monotonic()

    def report(self, fraction: float) -> None:
        """How much of this step is done, 0 to 1. Raises `LeaseLost` when the work is void: let it end the step."""
        if self.lost:
            raise LeaseLost
        if time.monotonic() - self._reported_at < REPORT_EVERY:
            return
        self._reported_at = time.monotonic()
        points = round(min(max(fraction, 0), 1) * (self._span.end - self._span.start))
        self.upload.advance(self._span.start + points, fence=self.fence)

    def log(self, level: str, message: str, data: dict[str, Any] | None = None) -> None:
        """Tell whoever watches; `level` is info, warn or error."""
        self.upload.log(level, message, data, fence=self.fence)

    def output_of(self, step: StepName) -> dict[str, Any]:
        """What an earlier step handed on. Raises `Rejected` when that is nothing: `update_stage` passed it over."""
        output: dict[str, Any] = self.upload.steps.get(name=step).output
        if not output:
            raise Rejected("INTERNAL", detail=f"{step} has handed on nothing to go on from")
        return output

    def read(self, name: str) -> bytes:
        data = self.find(name)
        if data is None:
            raise Transient("STORAGE_UNAVAILABLE", detail=f"{name} is not there")
        return data

    def find(self, name: str) -> bytes | None:
        """What was kept under this name, if anything was. All of it is in memory then, which is why it is bounded."""
        most = max(FILE_MAX_BYTES, settings.UPLOAD_MAX_BYTES)
        with _storage("reading", name):
            try:
                with default_storage.open(name) as file:
                    data = bytes(file.read(most + 1))
            except FileNotFoundError:
                return None
        if len(data) > most:
            raise Transient("STORAGE_UNAVAILABLE", detail=f"{name} is larger than anything that was stored")
        return data

    def save(self, name: str, data: bytes) -> str:
        """Store a file under a name that no other attempt uses; returns its key."""
        key = f"{self.upload.pk}/{self.step}/{self.fence}/{name}"
        with _storage("writing", key):
            return default_storage.save(key, ContentFile(data))

    def keep(self, name: str, data: bytes) -> bytes:
        """Store a file under a name that all attempts use: the first one stays, and is returned."""
        with _storage("writing", name):
            kept = pictures().put_if_absent(name, data)
        return data if kept else self.read(name)

    def drop(self, name: str) -> None:
        with _storage("deleting", name):
            default_storage.delete(name)


@contextmanager
def _storage(doing: str, name: str) -> Iterator[None]:
    """A storage that is away is waited for."""
    try:
        yield
    except OSError as error:
        detail = f"{type(error).__name__} {doing} {name}: {error}"
        raise Deferred("STORAGE_UNAVAILABLE", detail=detail) from error
