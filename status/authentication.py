"""X-Session-Token → Session, and what that session may see.

The token is judged first (UNAUTHORIZED), then the id: malformed, unknown, deleted and somebody else's are all
the same NOT_FOUND. One statement decides both (but for a result, which is asked for by its own id).
"""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS
from django.db.models import Case, FilteredRelation, Q, QuerySet, When
from django.db.models.base import ModelState
from django.http import HttpRequest
from rest_framework.request import Request

from status.compiled import CompiledQuery
from uploads.errors import CodedError
from uploads.models import Session, Upload, hash_token

_NEVER_TOLD = {
    "original", "sha256", "idempotency_key", "webhook_url", "error_detail",
    "fence", "lease_until", "hinted_at", "deadline_at", "deleted_at",
}  # fmt: skip
_COLUMNS = [field.attname for field in Upload._meta.concrete_fields if field.name not in _NEVER_TOLD]
_BEFORE = ("job__result__id", "position")
_VERSION, _STAGE = (len(_BEFORE) + _COLUMNS.index(column) for column in ("version", "stage"))
_CANONICAL = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
NOBODY = UUID(int=0)
"""An id that no upload has."""


def session_of(request: Request) -> Session:
    """Raises UNAUTHORIZED when the token is missing or unknown."""
    session = Session.objects.filter(token_hash=_token_hash(request)).first()
    if session is None:
        raise CodedError("UNAUTHORIZED")
    return session


class Found(NamedTuple):
    """The session's own upload: as much of it as a poll asks for mostly, and the way to the rest."""

    etag: str
    stage: str | None
    read: Callable[[], Upload]
    """With its outlook, and what may be told of it."""


def find_upload(request: HttpRequest | Request, upload_id: str) -> Found:
    """Raises UNAUTHORIZED, else NOT_FOUND."""
    row = _find.first(_token_hash(request), canonical_uuid(upload_id) or NOBODY)
    if row is None:
        raise CodedError("UNAUTHORIZED")
    version, stage = row[_VERSION], row[_STAGE]
    if version is None:
        raise CodedError("NOT_FOUND")
    return Found(f'"{version}"', stage, partial(_read, row))


def _read(row: Sequence[Any]) -> Upload:
    result_id, position, *columns = row[:]
    # As `from_db` would, column by column, with a signal before and one after.
    upload = Upload.__new__(Upload)
    upload._state = ModelState()
    upload._state.adding, upload._state.db = False, DEFAULT_DB_ALIAS
    upload.__dict__ |= zip(_COLUMNS, columns, strict=True)
    upload.result_id, upload.queue_position = result_id, position
    return upload


def upload_of(request: Request, upload_id: str, dialect: str = "") -> Upload:
    """The session's own upload. In a dialect of `OPEN_DIALECTS` a request without a token may name any upload; a token
    that is sent is judged all the same. Raises UNAUTHORIZED, else NOT_FOUND."""
    if dialect in settings.OPEN_DIALECTS and not request.headers.get("x-session-token"):
        return _any_upload(upload_id)
    return find_upload(request, upload_id).read()


def _any_upload(upload_id: str) -> Upload:
    known = canonical_uuid(upload_id)
    upload = Upload.objects.filter(pk=known, deleted_at=None).defer(*_NEVER_TOLD).first() if known else None
    if upload is None:
        raise CodedError("NOT_FOUND")
    return upload


def _session_and_upload(token_hash: str, upload_id: UUID) -> QuerySet[Session, tuple[Any, ...]]:
    """One row for the session that the token opens; the upload's columns are NULL when it has no such upload."""
    return (
        Session.objects.filter(token_hash=token_hash)
        .annotate(
            job=FilteredRelation("uploads", condition=Q(uploads__id=upload_id, uploads__deleted_at=None)),
            position=Case(When(job__id__isnull=False, job__stage=None, then=Upload.objects.queue_position("job__id"))),
        )
        .values_list(*_BEFORE, *[f"job__{column}" for column in _COLUMNS])
    )


_find = CompiledQuery(_session_and_upload, "an example", UUID(int=1))


def _token_hash(request: HttpRequest | Request) -> str:
    sent = request.META  # the first look at `headers` makes a mapping of them all
    token = sent.get("HTTP_X_SESSION_TOKEN", "")
    if not token:
        raise CodedError("UNAUTHORIZED")
    return hash_token(token)


def canonical_uuid(text: str) -> UUID | None:
    """None, which nothing has for an id, for what is no id as the API writes them."""
    return UUID(text) if _CANONICAL.fullmatch(text) else None
