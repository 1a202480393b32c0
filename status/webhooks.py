"""What a webhook says, who may be sent one, and how it is signed: Standard Webhooks (standardwebhooks.com)."""

from __future__ import annotations

import base64
import json
import re
import socket
from copy import copy
from datetime import UTC, datetime
from ipaddress import IPv6Address, ip_address
from typing import Any
from urllib.parse import SplitResult, urlsplit
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.crypto import salted_hmac
from standardwebhooks import Webhook

from status.addresses import is_public
from status.projections import preview_url, status_document, timestamp
from uploads.models import Event, Upload
from uploads.stages import Stage, Status

TYPES = ("job.stage_changed", "job.completed", "job.failed")
TEST = "webhook.test"
MAX_BODY_BYTES = 20_000
MAX_URL, MAX_HOST = 2000, 253
LONG_MESSAGE = 1000


def all_types() -> list[str]:
    return list(TYPES)


def secret(kind: str, name: str) -> str:
    """The secret of this endpoint or session: the same each time, and another under another SECRET_KEY."""
    key = salted_hmac(f"status.webhooks.{kind}", name, algorithm="sha256").digest()
    return "whsec_" + base64.b64encode(key).decode()


def session_secret(session_id: UUID) -> str:
    """Of all `webhookUrl`s of one session."""
    return secret("session", str(session_id))


def message_id(event: Event) -> str:
    """The same on every try, and for every receiver."""
    return f"evt_{event.upload_id.hex}_{event.seq}"


def body(kind: str, event: Event, upload: Upload) -> str:
    """`upload` with its result, if there is one: as it is by now, but for a failure that it has left behind."""
    if kind == "job.failed" and upload.event_count > event.seq:
        upload = _as_it_failed(upload, event)
    result = getattr(upload, "result", None)
    upload.result_id, upload.queue_position = result and result.pk, None
    document = status_document(upload, timezone.now())
    document["eventCount"] = event.seq
    if upload.status == Status.COMPLETED:
        document["previewUrl"] = None if upload.has_expired(timezone.now()) else preview_url(result)
    text = _message(kind, event.created_at, document)
    if len(text.encode()) > MAX_BODY_BYTES:
        # Only the sentence can be long: a step's own words, of letters that JSON escapes.
        document["errorMessage"] = document["error"]["message"] = upload.error_message[:LONG_MESSAGE] + "…"
        text = _message(kind, event.created_at, document)
    return text


def _as_it_failed(upload: Upload, event: Event) -> Upload:
    """The row says it no more: the job is tried again."""
    failed, facts = copy(upload), event.data
    failed.stage, failed.status = Stage.FAILED.value, Status.FAILED.value
    failed.progress = facts.get("progress", upload.progress)
    failed.run, failed.attempt = facts.get("run", upload.run), facts.get("attempt", upload.attempt)
    failed.error_code, failed.error_message = facts["code"], event.message
    failed.failed_step = facts.get("step") or ""
    failed.completed_at = failed.updated_at = event.created_at
    failed.estimated_completion_at = None
    return failed


def test_body() -> str:
    return _message(TEST, timezone.now(), {"message": "This is a test. A receiver that reads this is set up right."})


def _message(kind: str, at: datetime, data: dict[str, Any]) -> str:
    message = {"type": kind, "timestamp": timestamp(at), "data": data}
    return json.dumps(message, ensure_ascii=False, separators=(",", ":"))


def headers(message: str, text: str, secrets: list[str]) -> dict[str, str]:
    """Of one attempt, which is as old as its timestamp: a receiver refuses what is minutes old."""
    now = datetime.now(UTC)
    return {
        "webhook-id": message,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(Webhook(secret).sign(message, now, text) for secret in secrets),
        "Content-Type": "application/json",
        "User-Agent": "Darkroom-Webhooks/1",
    }


def validate_address(url: str) -> None:
    """Raises ValidationError, with a sentence, for what can never be a receiver.

    By its name alone: what the name stands for is looked at when it is connected to, each time.
    """
    if problem := _problem(url):
        raise ValidationError(problem)


def _problem(url: str) -> str:
    private = settings.WEBHOOK_ALLOW_PRIVATE
    parts = _parsed(url)
    if parts is None:
        return "This is not a URL."
    host = (parts.hostname or "").removesuffix(".")
    if parts.scheme not in ({"https", "http"} if private else {"https"}) or not host:
        return "A webhook's URL begins with https:// and names a host."
    if parts.username is not None or parts.password is not None:
        return "A webhook's URL may not hold a user name or a password."
    if not private and not _may_be_public(host):
        return "A webhook's URL must name a host on the public internet."
    if host != parts.hostname:
        return "A webhook's URL names its host as the certificate does, without a dot at its end."
    return ""


def _parsed(url: str) -> SplitResult | None:
    if len(url) > MAX_URL or not (url.isascii() and url.isprintable()) or " " in url or "\\" in url:
        return None
    try:
        parts = urlsplit(url)
        is_whole = parts.port != 0 and _is_host(parts)
    except ValueError:
        return None
    return parts if is_whole else None


def _is_host(parts: SplitResult) -> bool:
    """Also when there is none. Raises ValueError for some that are not."""
    host = parts.hostname or ""
    if "[" in parts.netloc:
        return "%" not in host and bool(IPv6Address(host))
    labels = host.removesuffix(".").split(".")
    return not host or (len(host) <= MAX_HOST and all(_LABEL.fullmatch(label) for label in labels))


def _may_be_public(host: str) -> bool:
    try:
        return is_public(ip_address(host))
    except ValueError:
        pass
    try:
        socket.inet_aton(host)  # 127.1, 0x7f000001, 2130706433: addresses in disguise
    except OSError:
        return "." in host and host.rpartition(".")[2] not in _PRIVATE_DOMAINS
    return False


_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_PRIVATE_DOMAINS = {"localhost", "local", "internal", "lan", "home", "corp", "intranet", "private", "test", "invalid"}
