"""Words and facts from anywhere, made fit to be stored and told: PostgreSQL takes no null character, and nobody
wants a megabyte in an event, or to count seconds of a day."""

import json
from datetime import timedelta
from typing import Any

MAX_BYTES = 4096


def storable(text: str) -> str:
    """At most `MAX_BYTES` in UTF-8; what is longer is cut, with a mark."""
    encoded = _clean(text).encode()
    if len(encoded) <= MAX_BYTES:
        return encoded.decode()
    return encoded[: MAX_BYTES - len("…".encode())].decode(errors="ignore") + "…"


def storable_data(data: dict[str, Any]) -> dict[str, Any]:
    """As many of the entries, in their order, as `MAX_BYTES` of JSON hold; `cut` marks that there were more.

    Raises ValueError for what JSON has no word for.
    """
    kept: dict[str, Any] = {}
    room = MAX_BYTES - 64  # for the mark and the step
    for key, value in _clean_data(data).items():
        room -= len(json.dumps({key: value}, allow_nan=False, ensure_ascii=False).encode())
        if room < 0:
            return kept | {"cut": True}
        kept[key] = value
    return kept


def in_words(wait: timedelta) -> str:
    """At least a second; rounded, as one says it."""
    seconds = max(1, round(wait.total_seconds()))
    if seconds < 120:
        return f"{seconds} s"
    return f"{round(seconds / 60)} minutes" if seconds < 7200 else f"{round(seconds / 3600)} hours"


def _clean(text: str) -> str:
    """Without null characters and halves of surrogate pairs."""
    return text.encode(errors="replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


def _clean_data(value: Any) -> Any:
    match value:
        case str():
            return _clean(value)
        case dict():
            return {_clean_data(key): _clean_data(each) for key, each in value.items()}
        case list() | tuple():
            return [_clean_data(each) for each in value]
    return value
