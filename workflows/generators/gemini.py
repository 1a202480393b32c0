"""Google's Gemini: a picture and a prompt in, a picture out, for money."""

from __future__ import annotations

import os
import re
import time
import warnings
from collections.abc import Iterable, Iterator
from datetime import timedelta
from decimal import ROUND_UP, Decimal
from functools import lru_cache
from typing import Any

import httpx2
from django.conf import settings
from google import genai
from google.genai import errors, types

from uploads.errors import Rejected
from uploads.ledger import Outcome
from workflows.errors import Deferred, Transient
from workflows.generators import prompt
from workflows.generators.provider import Answer

ANSWER_MAX_BYTES = 96 * 1024 * 1024
"""Of JSON, where a picture takes a third more than its bytes. The worker's memory is worth more than one answer."""
OPERATORS = {401, 402, 403, 404}
"""Key, bill, permission, name of the model: no user can mend it, and no other attempt will."""
BLOCKED = {
    *("SAFETY", "IMAGE_SAFETY", "PROHIBITED_CONTENT", "IMAGE_PROHIBITED_CONTENT", "BLOCKLIST", "SPII"),
    *("RECITATION", "IMAGE_RECITATION", "MODEL_ARMOR"),
}
TOKENS_MAX = 10_000_000
"""Of a kind, in one answer: more than any model counts."""
RETRY_AFTER_MAX = timedelta(hours=1)
"""The operator may have raised the quota by then."""
UNSENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
MISCONFIGURED = (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError, httpx2.InvalidURL)

# Of a reason that is newer than the client, it warns in the provider's words, which have no place in a log.
warnings.filterwarnings("ignore", category=UserWarning, module=r"google\.genai\._common")


class GeminiProvider:
    name = "gemini"
    typical_seconds = 15.0

    def __init__(self) -> None:
        self.model: str = settings.GEMINI_MODEL

    def ask(self, picture: bytes, prompt_version: str, seconds: float) -> Answer:
        try:
            response = self._call(picture, prompt(prompt_version), seconds)
        except errors.APIError as error:
            return _refused(error)
        except UNSENT as error:
            return _no_answer(error, Outcome.UNREACHABLE, Decimal(0))
        except MISCONFIGURED as error:
            return _operators(type(error).__name__, str(error))
        except httpx2.RequestError as error:
            return _no_answer(error, Outcome.LOST, None)
        except ValueError as error:
            # No JSON, or not of the shape that the client knows. It may have been paid for; its words may be the
            # whole answer.
            return _no_answer(error, Outcome.LOST, None, "the answer cannot be read")
        return _read(response)

    def _call(self, picture: bytes, text: str, seconds: float) -> types.GenerateContentResponse:
        parts = [types.Part.from_bytes(data=picture, mime_type="image/png"), types.Part.from_text(text=text)]
        return _client(settings.GEMINI_API_KEY, settings.GEMINI_BASE_URL).models.generate_content(
            model=self.model,
            contents=types.Content(role="user", parts=parts),
            config=types.GenerateContentConfig(
                response_modalities=["IMAGE"],
                automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
                http_options=types.HttpOptions(timeout=round(seconds * 1000)),
            ),
        )


@lru_cache(maxsize=1)
def _client(key: str, base_url: str) -> genai.Client:
    options = types.HttpOptions(base_url=base_url or None, httpx_client=_connections())
    return genai.Client(vertexai=False, api_key=key, http_options=options)


@lru_cache(maxsize=1)
def _connections() -> httpx2.Client:
    """One for the process: they are kept open."""
    return httpx2.Client(event_hooks={"request": [_begin], "response": [_bound]})


def disconnect() -> None:
    _connections().close()
    _forget()


def _forget() -> None:
    _client.cache_clear()
    _connections.cache_clear()


# A child must not speak on its parent's connections.
os.register_at_fork(after_in_child=_forget)


def _begin(request: httpx2.Request) -> None:
    request.extensions["until"] = time.monotonic() + request.extensions["timeout"]["read"]


def _bound(response: httpx2.Response) -> None:
    """The client's timeouts are those of a single read: an answer that trickles would never end, nor a huge one."""
    assert isinstance(response.stream, httpx2.SyncByteStream)  # noqa: S101 - it is not an asynchronous client
    response.stream = _Bounded(response.stream, response.request.extensions["until"])


class _Bounded(httpx2.SyncByteStream):
    def __init__(self, stream: httpx2.SyncByteStream, until: float) -> None:
        self._stream = stream
        self._until = until

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        for chunk in self._stream:
            size += len(chunk)
            if size > ANSWER_MAX_BYTES:
                raise httpx2.ReadError("the answer is too large")
            if time.monotonic() > self._until:
                raise httpx2.ReadTimeout("the answer takes too long")
            yield chunk

    def close(self) -> None:
        self._stream.close()


def _refused(error: errors.APIError) -> Answer:
    kind = _kind(f"{error.code} {error.status or ''}")
    reason = _scrubbed(str(error.message or ""))
    if error.code in OPERATORS or _says(error, "API_KEY_INVALID") or error.status == "FAILED_PRECONDITION":
        return _operators(kind, reason)
    if error.code == 429:
        busy = Deferred("GENERATOR_BUSY", detail=f"{kind}: {reason}", wait=_retry_delay(error))
        return Answer(Outcome.BUSY, error=busy, error_kind=kind, reason=reason)
    failed = Transient("GENERATOR_UNAVAILABLE", detail=f"{kind}: {reason}")
    return Answer(Outcome.FAILED, error=failed, error_kind=kind, reason=reason)


def _operators(kind: str, reason: str) -> Answer:
    reason = _scrubbed(reason)
    error = Deferred("GENERATOR_REFUSED", detail=f"{kind}: {reason}")
    return Answer(Outcome.REFUSED, error=error, error_kind=_kind(kind), reason=reason)


def _no_answer(error: Exception, outcome: Outcome, cost: Decimal | None, reason: str = "") -> Answer:
    kind, reason = type(error).__name__, _scrubbed(reason or str(error))
    failed = Transient("GENERATOR_UNAVAILABLE", detail=f"{kind}: {reason}")
    return Answer(outcome, cost, error=failed, error_kind=_kind(kind), reason=reason)


def _kind(text: str) -> str:
    return text.strip()[:64]


def _scrubbed(text: str) -> str:
    """The key has no place in the record, whatever a provider or a proxy may repeat."""
    return text.replace(settings.GEMINI_API_KEY, "…") if settings.GEMINI_API_KEY else text


def _details(error: errors.APIError) -> Iterable[dict[str, Any]]:
    """The typed details that Google's errors carry (google/rpc/error_details.proto)."""
    told = error.details if isinstance(error.details, dict) else {}
    inner = told.get("error", told)
    details = inner.get("details") if isinstance(inner, dict) else None
    return [each for each in details if isinstance(each, dict)] if isinstance(details, list) else []


def _says(error: errors.APIError, reason: str) -> bool:
    return any(detail.get("reason") == reason for detail in _details(error))


def _retry_delay(error: errors.APIError) -> timedelta | None:
    """Of a RetryInfo: seconds, like `34.5s`; at most `RETRY_AFTER_MAX`."""
    for detail in _details(error):
        if str(detail.get("@type", "")).endswith("google.rpc.RetryInfo"):
            found = re.fullmatch(r"(\d{1,9}(?:\.\d+)?)s", str(detail.get("retryDelay", "")))
            return min(timedelta(seconds=float(found[1])), RETRY_AFTER_MAX) if found else None
    return None


def _read(response: types.GenerateContentResponse) -> Answer:
    candidate = response.candidates[0] if response.candidates else None
    parts = (candidate.content.parts if candidate and candidate.content else None) or []
    tokens = _tokens(response.usage_metadata)
    cost = _cost(tokens)
    picture = _picture(parts)
    if picture:
        return Answer(Outcome.PICTURE, cost, picture, tokens=tokens)
    ended = _name(candidate.finish_reason) if candidate else ""
    feedback = response.prompt_feedback
    blocked = _name(feedback.block_reason) if feedback else ""
    words = [feedback.block_reason_message if feedback else "", *(part.text for part in parts)]
    kind = _kind(blocked or ended or "no candidates")
    reason = _scrubbed(" ".join(word for word in words if word))
    if blocked or ended in BLOCKED:
        refusal = Rejected("CONTENT_BLOCKED", detail=f"{kind}: {reason}")
        return Answer(Outcome.BLOCKED, cost, error=refusal, tokens=tokens, error_kind=kind, reason=reason)
    nothing = Transient("GENERATOR_NO_PICTURE", detail=f"{kind}: {reason}")
    return Answer(Outcome.NO_PICTURE, cost, error=nothing, tokens=tokens, error_kind=kind, reason=reason)


def _name(reason: Any) -> str:
    """Of an enum that grows faster than the client."""
    return str(getattr(reason, "value", reason) or "")


def _picture(parts: list[types.Part]) -> bytes | None:
    """The last one: those before it are drafts."""
    drawn = [part.inline_data for part in parts if part.inline_data and not part.thought]
    pictures = [blob.data for blob in drawn if blob.data and (blob.mime_type or "").startswith("image/")]
    return pictures[-1] if pictures else None


def _tokens(usage: types.GenerateContentResponseUsageMetadata | None) -> dict[str, int]:
    """By kind; empty when nothing was counted. What came out and has no kind is taken for a picture, the dearest."""
    if usage is None:
        return {}
    out = usage.candidates_token_count or 0
    by_modality = {_name(each.modality): each.token_count or 0 for each in usage.candidates_tokens_details or []}
    text = min(by_modality.get("TEXT", 0), out)
    counted = {
        "prompt": (usage.prompt_token_count or 0) + (usage.tool_use_prompt_token_count or 0),
        "image": out - text,
        "text": text,
        "thoughts": usage.thoughts_token_count or 0,
    }
    return counted if any(counted.values()) else {}


def _cost(tokens: dict[str, int]) -> Decimal | None:
    """US dollars, rounded up to a millionth; None where nothing was counted, or what cannot be."""
    if not tokens or not all(0 <= count <= TOKENS_MAX for count in tokens.values()):
        return None
    prices = settings.GEMINI_PRICES | {"thoughts": settings.GEMINI_PRICES["text"]}
    cost = sum((prices[kind] * count for kind, count in tokens.items()), Decimal(0)) / 1_000_000
    return cost.quantize(Decimal("0.000001"), ROUND_UP)
