"""How often is too often: uploads and sessions by token and by address, polls generously, logins by account too.

Counted in windows of fixed length, so that up to twice as many may come around the end of one. What is counted in
the cache is atomic, and with a `CACHE_URL` that several processes share it is one count for all of them.
"""

import hashlib
import ipaddress
import logging
import threading
import time
from abc import ABC, abstractmethod
from functools import lru_cache
from typing import Any, NamedTuple

from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest
from rest_framework.exceptions import Throttled
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from uploads.models import hash_token

logger = logging.getLogger(__name__)

MINUTE = 60
LOGIN_WINDOW = 15 * MINUTE
LOGINS_PER_WINDOW = 20


class Limit(NamedTuple):
    scope: str
    who: str
    most: int
    seconds: int = MINUTE
    """The length of its window."""

    def exceeded(self) -> bool:
        """Counts this one, too. A cache that is away counts nothing: better open than closed."""
        key = f"throttle:{self.scope}:{self.who}:{int(time.time()) // self.seconds}"
        try:
            return _count(key, self.seconds) > self.most
        except _cache_errors() as error:
            logger.warning("not throttled, for the cache is away: %s", error)
            return False

    def wait(self) -> float:
        """Seconds to the next window."""
        return self.seconds - time.time() % self.seconds


def _cache_errors() -> tuple[type[Exception], ...]:
    """What a cache that is away raises. Redis's client is only loaded where it is used: it is a sixth of a start."""
    if settings.CACHES["default"]["BACKEND"].endswith("RedisCache"):
        from redis.exceptions import RedisError  # noqa: PLC0415

        return RedisError, OSError
    return (OSError,)


def _count(key: str, seconds: int) -> int:
    try:
        return cache.incr(key)
    except ValueError:  # the first of its window
        cache.add(key, 0, timeout=2 * seconds)
        return cache.incr(key)


def address_of(request: HttpRequest | Request) -> str:
    """The client's address, as the outermost proxy that we trust has seen it; of IPv6 its network of 64 bits.

    Each proxy adds who it was asked by on the right of X-Forwarded-For; what stands further left, anybody can write.
    """
    proxies = settings.TRUSTED_PROXIES
    if proxies and (forwarded := request.headers.get("x-forwarded-for")):
        told = forwarded.split(",")
        if len(told) >= proxies:
            return _network(told[-proxies].strip())
    return _network(request.META.get("REMOTE_ADDR", ""))


@lru_cache(maxsize=4096)
def _network(text: str) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return "unknown"  # all of them share one count
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    mapped = address.ipv4_mapped
    return str(mapped) if mapped else str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))


class _Throttle(BaseThrottle, ABC):
    _wait = 1.0

    @abstractmethod
    def limits(self, request: Request) -> list[Limit]: ...

    def allow_request(self, request: Request, view: Any) -> bool:
        exceeded = [limit for limit in self.limits(request) if limit.exceeded()]
        self._wait = max((limit.wait() for limit in exceeded), default=0)
        return not exceeded

    def wait(self) -> float:
        return self._wait


class Uploads(_Throttle):
    def limits(self, request: Request) -> list[Limit]:
        limits = [Limit("uploads", address_of(request), settings.UPLOADS_PER_MINUTE_PER_ADDRESS)]
        if token := request.headers.get("X-Session-Token"):
            limits.append(Limit("uploads", hash_token(token), settings.UPLOADS_PER_MINUTE))
        return limits


class Sessions(_Throttle):
    def limits(self, request: Request) -> list[Limit]:
        return [Limit("sessions", address_of(request), settings.UPLOADS_PER_MINUTE_PER_ADDRESS)]


class Polls(BaseThrottle):
    """By address, and counted by each process in its own memory: a poll has no time to ask for more."""

    _lock = threading.Lock()
    _minute = 0
    _counts: dict[str, int] = {}  # noqa: RUF012 - shared on purpose

    def allow_request(self, request: HttpRequest | Request, view: Any) -> bool:
        address, minute = address_of(request), int(time.time()) // MINUTE
        with Polls._lock:
            if minute != Polls._minute:
                Polls._minute, Polls._counts = minute, {}
            count = Polls._counts[address] = Polls._counts.get(address, 0) + 1
        return bool(count <= settings.POLLS_PER_MINUTE_PER_ADDRESS)

    def wait(self) -> float:
        return MINUTE - time.time() % MINUTE


_polls = Polls()


def count_poll(request: HttpRequest) -> None:
    """Raises `Throttled` for one too many."""
    if not _polls.allow_request(request, None):
        raise Throttled(_polls.wait())


def login_wait(request: HttpRequest) -> float:
    """Seconds until somebody may try to log in again; 0 when now. Counts this attempt, for its address and account."""
    account = hashlib.sha256(request.POST.get("username", "").casefold().encode()).hexdigest()
    limits = [Limit("logins", who, LOGINS_PER_WINDOW, LOGIN_WINDOW) for who in (address_of(request), account)]
    exceeded = [limit for limit in limits if limit.exceeded()]
    return max((limit.wait() for limit in exceeded), default=0)
