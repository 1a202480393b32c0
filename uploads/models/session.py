from __future__ import annotations

import hashlib
import secrets
from typing import ClassVar

from django.db import models
from django.db.models.functions import Now
from uuid_utils.compat import uuid7


class SessionManager(models.Manager["Session"]):
    def open(self) -> tuple[Session, str]:
        """A new session and its token, which is stored nowhere: this is the only time that it is seen."""
        token = secrets.token_urlsafe(32)
        return self.create(token_hash=hash_token(token)), token


def hash_token(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


class Session(models.Model):
    """Whoever holds the token; a browser, mostly."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    token_hash = models.CharField(max_length=64, unique=True, null=True)  # noqa: DJ001 - revoked: NULL is never equal
    created_at = models.DateTimeField(db_default=Now())

    objects: ClassVar[SessionManager] = SessionManager()

    def __str__(self) -> str:
        return str(self.id)

    is_authenticated = True  # what Django REST framework asks of a user

    def revoke(self) -> None:
        """The token opens nothing any more."""
        self.token_hash = None
        self.save(update_fields=["token_hash"])
