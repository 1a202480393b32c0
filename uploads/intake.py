"""From a file and a session to an accepted upload: first the file is safe, then the row says so."""

from __future__ import annotations

import errno
import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple, cast

from django.conf import settings
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import UploadedFile
from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.utils import timezone
from uuid_utils.compat import uuid7

from uploads import budget, estimates, formats
from uploads.errors import CodedError, NotAllowed, Rejected
from uploads.models import Event, Session, Upload

logger = logging.getLogger(__name__)

NO_SPACE = {errno.ENOSPC, errno.EDQUOT}


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
    if session and idempotency_key and (earlier := _earlier(session, upload)):
        return Received(earlier, None, replayed=True)
    _refuse_when_full(file.size)
    with _stored(file, f"{upload.id}/original.{header.extension}") as upload.original.name:
        try:
            token = _accept(upload, session)
        except IntegrityError:
            # The same key, at the same time: whoever was first has the job.
            if not (session and idempotency_key and (earlier := _earlier(session, upload))):
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


def _earlier(session: Session, upload: Upload) -> Upload | None:
    earlier = Upload.objects.filter(session=session, idempotency_key=upload.idempotency_key).first()
    if earlier and earlier.sha256 != upload.sha256:
        raise Rejected("IDEMPOTENCY_MISMATCH")
    return earlier


def _accept(upload: Upload, session: Session | None) -> str | None:
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
        Event.objects.create(
            upload=upload, seq=1, type="job.accepted", level="info", message="Your picture has arrived."
        )
    return token


@contextmanager
def _stored(file: UploadedFile[Any], name: str) -> Iterator[str]:
    """The file is in the storage, and stays there if the block succeeds."""
    file.seek(0)
    try:
        stored = default_storage.save(name, file)
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
