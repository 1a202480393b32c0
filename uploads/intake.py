"""From a file and a session to an accepted upload: first the file is safe, then the row says so."""

from __future__ import annotations

import errno
import hashlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any, BinaryIO, NamedTuple, cast
from uuid import UUID

from django.conf import settings
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import UploadedFile
from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.utils import timezone
from uuid_utils.compat import uuid7

from uploads import budget, estimates, formats
from uploads.errors import CodedError, NotAllowed, Rejected
from uploads.models import Event, Session, Step, Upload
from uploads.stages import StepName
from uploads.storage import pictures

logger = logging.getLogger(__name__)

NO_SPACE = {errno.ENOSPC, errno.EDQUOT}
CHECKED = "checked.png"
"""What the original of a job is called that was given the checked copy of another job."""
NO_USE = {"UNSUPPORTED_TYPE", "IMAGE_TOO_LARGE", "MEMORY_EXCEEDED", "UNREADABLE_IMAGE"}
"""What the check of a picture ends with that no other look would change."""
ARRIVED = "Your picture has arrived."
HERE = "Your picture is here already, and gets another look."


class Received(NamedTuple):
    upload: Upload
    token: str | None
    """Of the session that was opened here, if one was."""
    replayed: bool
    """The same picture had come with the same idempotency key before."""


def receive(
    file: UploadedFile[Any],
    session: Session | None,
    *,
    prompt_version: str = "",
    source: str = "",
    idempotency_key: str | None = None,
    webhook_url: str = "",
) -> Received:
    """Accept a picture. Without a session one is opened.

    Raises `Rejected`: FILE_TOO_LARGE, UNSUPPORTED_TYPE, IMAGE_TOO_LARGE, MEMORY_EXCEEDED, UNREADABLE_IMAGE,
    IDEMPOTENCY_MISMATCH, QUEUE_FULL or STORAGE_FULL; or `NotAllowed`: BUDGET_EXHAUSTED, STORAGE_UNAVAILABLE.
    Then nothing is left behind; but when the database is lost in the end, nobody knows, and the file stays.
    """
    if not file.size:
        raise Rejected("UNSUPPORTED_TYPE", "This file is empty.")
    if file.size > settings.UPLOAD_MAX_BYTES:
        raise Rejected("FILE_TOO_LARGE", too_large())
    header = formats.inspect(
        cast("BinaryIO", file), max_pixels=settings.UPLOAD_MAX_PIXELS, max_memory=settings.DECODE_MEMORY_BYTES
    )
    upload = Upload(
        id=uuid7(),
        original_name=_clean_name(file.name),
        content_type=header.content_type,
        byte_size=file.size,
        width=header.width,
        height=header.height,
        sha256=_sha256(file),
        source=source,
        idempotency_key=idempotency_key,
        prompt_version=prompt_version or settings.PROMPT_VERSION,
        webhook_url=webhook_url,
        max_attempts=settings.STEP_MAX_ATTEMPTS,
    )
    if session and idempotency_key and (earlier := _earlier(session.pk, upload)):
        return Received(earlier, None, replayed=True)
    _refuse_when_full(file.size)
    name = f"{upload.id}/original.{header.extension}"
    return _accepted(upload, session, lambda: _saved(file, name), ARRIVED)


def again(first: Upload, *, prompt_version: str, idempotency_key: str | None = None) -> Received:
    """Accept a job of the picture of `first`, of the same session, that is neither sent nor checked again.

    It has a copy of its own of the checked picture, so neither job's end loses anything of the other; the original,
    as long as the first job has not checked it. `source` and `webhook_url` are those of the first job.

    Raises `NotAllowed`: EXPIRED when the first job's files are gone, BUDGET_EXHAUSTED, STORAGE_UNAVAILABLE; or
    `Rejected`: IDEMPOTENCY_MISMATCH, QUEUE_FULL, STORAGE_FULL, and what the check of the picture has ended with.
    """
    first = Upload.objects.get(pk=first.pk)
    same = ("session_id", "original_name", "content_type", "byte_size", "width", "height", "sha256", "source")
    upload = Upload(
        id=uuid7(),
        idempotency_key=idempotency_key,
        prompt_version=prompt_version,
        webhook_url=first.webhook_url,
        max_attempts=settings.STEP_MAX_ATTEMPTS,
        **{column: getattr(first, column) for column in same},
    )
    if idempotency_key and (earlier := _earlier(first.session_id, upload, same_look=True)):
        return Received(earlier, None, replayed=True)
    if first.has_expired(timezone.now()):
        raise NotAllowed("EXPIRED", status=409)
    if first.failed_step == StepName.VALIDATE and first.error_code in NO_USE:
        raise Rejected(first.error_code, first.error_message)
    _refuse_when_full(0)
    check = Step.objects.filter(upload=first, name=StepName.VALIDATE).first()
    checked = check and check.output.get("work")
    picture = checked or str(first.original.name)
    name = f"{upload.id}/{CHECKED if checked else PurePosixPath(picture).name}"
    return _accepted(upload, first.session, lambda: _copied(picture, name), HERE, same_look=True)


def is_checked(upload: Upload) -> bool:
    """Whether its picture is the checked copy of another job."""
    return PurePosixPath(str(upload.original.name)).name == CHECKED


def _accepted(
    upload: Upload, session: Session | None, store: Callable[[], str], message: str, *, same_look: bool = False
) -> Received:
    key = upload.idempotency_key
    with _stored(store) as upload.original.name:
        try:
            token = _accept(upload, session, message)
        except IntegrityError:
            # The same key, at the same time: whoever was first has the job.
            if not (session and key and (earlier := _earlier(session.pk, upload, same_look=same_look))):
                raise
            _discard(str(upload.original.name))
            return Received(earlier, None, replayed=True)
    upload.refresh_from_db()
    return Received(upload, token, replayed=False)


def _refuse_when_full(size: int) -> None:
    """Before anything is written. Not exact under a rush: the limits leave room for that."""
    if Upload.objects.waiting()[: settings.QUEUE_MAX_PENDING].count() >= settings.QUEUE_MAX_PENDING:
        raise Rejected("QUEUE_FULL")
    budget.refuse_when_spent()
    has_room = getattr(default_storage, "has_room", None)  # a bucket has no end
    if has_room and not has_room(size):
        raise Rejected("STORAGE_FULL")


def too_large() -> str:
    return f"This file is too large: at most {settings.UPLOAD_MAX_BYTES / 1024 / 1024:g} MiB are accepted."


def _earlier(session_id: UUID, upload: Upload, *, same_look: bool = False) -> Upload | None:
    earlier = Upload.objects.filter(session=session_id, idempotency_key=upload.idempotency_key).first()
    if earlier and earlier.sha256 != upload.sha256:
        raise Rejected("IDEMPOTENCY_MISMATCH")
    if earlier and same_look and earlier.prompt_version != upload.prompt_version:
        raise Rejected("IDEMPOTENCY_MISMATCH", "This Idempotency-Key was used before for another look.")
    return earlier


def _accept(upload: Upload, session: Session | None, message: str) -> str | None:
    with transaction.atomic():
        budget.admit()
        token = None
        if session is None:
            session, token = Session.objects.open()
        upload.session = session
        upload.deadline_at = Now() + settings.JOB_DEADLINE
        now = timezone.now()
        upload.estimated_completion_at = estimates.completion_at(upload, None, now, due=now)
        upload.event_count = 1
        upload.save(force_insert=True)
        Event.objects.create(upload=upload, seq=1, type="job.accepted", level="info", message=message)
    return token


def _saved(file: UploadedFile[Any], name: str) -> str:
    file.seek(0)
    return default_storage.save(name, file)


def _copied(picture: str, name: str) -> str:
    try:
        return pictures().copy(picture, name)
    except FileNotFoundError as error:
        raise NotAllowed("EXPIRED", status=409) from error


@contextmanager
def _stored(store: Callable[[], str]) -> Iterator[str]:
    """The file, whose name `store` returns, is in the storage, and stays there if the block succeeds."""
    try:
        stored = store()
    except OSError as error:
        if error.errno in NO_SPACE:
            raise Rejected("STORAGE_FULL") from error
        logger.warning("No picture can be stored: %s", error)
        raise NotAllowed("STORAGE_UNAVAILABLE") from error
    try:
        yield stored
    except (CodedError, IntegrityError):
        # Nothing else: of a COMMIT that was not answered nobody knows what came of it, and a row without its file
        # is worse than a file without its row. Retention collects that.
        _discard(stored)
        raise


def _discard(name: str) -> None:
    """Of a picture that was not accepted; retention collects what is left."""
    try:
        default_storage.delete(name)
    except OSError as error:
        logger.warning("%s is left behind: %s", name, error)


def _sha256(file: UploadedFile[Any]) -> str:
    digest = hashlib.sha256()
    for chunk in file.chunks():
        digest.update(chunk)
    return digest.hexdigest()


def _clean_name(name: str | None) -> str:
    """As the sender called it, for people to recognise; it names no file here."""
    return "".join(letter for letter in name or "" if letter.isprintable())[-255:]
