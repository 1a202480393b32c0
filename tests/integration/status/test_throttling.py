"""Too often is answered with 429, and how long to wait; whoever is in front of us cannot be made up."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
import time_machine
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.core.cache import cache
from django.test import Client, RequestFactory

from status import throttling
from status.throttling import Limit, address_of
from tests.support.api import Api
from tests.support.required import cannot

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _nobody_has_come_yet(settings: LazySettings) -> Iterator[None]:
    """And no window ends while a test runs."""
    settings.TRUSTED_PROXIES = 1
    cache.clear()
    throttling.Polls._counts.clear()
    with time_machine.travel("2026-11-22T12:00:30Z", tick=False):
        yield


def refused(response: Any) -> bool:
    """Whether it is a 429, which then has all that it needs."""
    if response.status_code != 429:
        return False
    error = response.json()["error"]
    assert (error["code"], error["retryable"]) == ("RATE_LIMITED", True)
    assert 1 <= int(response["Retry-After"]) <= 60
    return True


def test_uploads_of_one_session(api: Api, settings: LazySettings) -> None:
    settings.UPLOADS_PER_MINUTE = 2
    assert [refused(api.send()) for _ in range(4)] == [False, False, True, True]
    assert not refused(Api().send())


def test_uploads_of_one_address_whatever_its_tokens(api: Api, settings: LazySettings) -> None:
    settings.UPLOADS_PER_MINUTE_PER_ADDRESS = 3
    sent = [Api().send(), api.send(), api.send(token=None), api.send(token="made up"), Api().send()]
    assert [refused(response) for response in sent] == [False, False, False, True, True]


def test_a_refused_picture_leaves_nothing_behind(api: Api, settings: LazySettings) -> None:
    from tests.support.api import stored_files

    settings.UPLOADS_PER_MINUTE = 0
    assert refused(api.send())
    assert stored_files() == []


def test_the_next_minute_is_another_one(api: Api, settings: LazySettings) -> None:
    settings.UPLOADS_PER_MINUTE = 1
    assert [refused(api.send()) for _ in range(2)] == [False, True]
    with time_machine.travel("2026-11-22T12:01:00Z", tick=False):
        assert not refused(api.send())


def test_sessions_of_one_address(api: Api, settings: LazySettings) -> None:
    settings.UPLOADS_PER_MINUTE_PER_ADDRESS = 2
    assert [refused(api.post("/api/sessions", token=None)) for _ in range(3)] == [False, False, True]


def test_polls_of_one_address_and_only_of_that(api: Api, settings: LazySettings) -> None:
    upload = api.accepted()
    settings.POLLS_PER_MINUTE_PER_ADDRESS = 2
    path = f"/api/status/{upload.pk}"
    assert [refused(api.get(path)) for _ in range(3)] == [False, False, True]
    assert refused(api.get(f"{path}/events"))
    assert not refused(Client(REMOTE_ADDR="192.0.2.7").get(path, headers={"X-Session-Token": api.token}))


def address(proxies: int, settings: LazySettings, **told: str) -> str:
    settings.TRUSTED_PROXIES = proxies
    return address_of(RequestFactory().get("/", **told))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("proxies", "forwarded", "expected"),
    [
        (0, "203.0.113.5", "10.0.0.1"),
        (1, "203.0.113.5", "203.0.113.5"),
        (1, "1.1.1.1, 203.0.113.5", "203.0.113.5"),
        (2, "1.1.1.1, 203.0.113.5, 10.0.0.2", "203.0.113.5"),
        (2, "203.0.113.5", "10.0.0.1"),
        (1, "", "10.0.0.1"),
        (1, "no address", "unknown"),
        (1, "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        (1, "2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        (1, "::ffff:203.0.113.5", "203.0.113.5"),
    ],
)
def test_an_address_is_what_a_trusted_proxy_has_seen(
    settings: LazySettings, proxies: int, forwarded: str, expected: str
) -> None:
    assert address(proxies, settings, HTTP_X_FORWARDED_FOR=forwarded, REMOTE_ADDR="10.0.0.1") == expected


def test_a_spoofed_address_helps_nobody(api: Api, settings: LazySettings) -> None:
    settings.UPLOADS_PER_MINUTE_PER_ADDRESS = 1
    addresses = [f"198.51.100.{number}, 203.0.113.5" for number in range(3)]
    answers = [api.post("/api/sessions", token=None, **{"X-Forwarded-For": told}) for told in addresses]
    assert [refused(answer) for answer in answers] == [False, True, True]


@pytest.mark.parametrize("shared", ["locmemcache://", "redis://127.0.0.1:6379/9"])
def test_none_is_lost_when_many_count_at_once(settings: LazySettings, shared: str) -> None:
    import environ
    import redis

    if shared.startswith("redis"):
        try:
            redis.Redis(port=6379).ping()
        except redis.ConnectionError:
            cannot("There is no Redis here.")
    settings.CACHES = {"default": environ.Env.cache_url_config(shared)}
    limit, start = Limit("test", uuid4().hex, 50), threading.Barrier(8)

    def count(_: int) -> int:
        start.wait()
        return sum(limit.exceeded() for _ in range(20))

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(count, range(8))) == 8 * 20 - 50


def test_without_its_cache_it_lets_everybody_in(api: Api, settings: LazySettings) -> None:
    import socket

    settings.UPLOADS_PER_MINUTE = 1
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        location = f"redis://127.0.0.1:{nobody.getsockname()[1]}/0"
        settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": location}}
        assert [refused(api.send()) for _ in range(2)] == [False, False]


def logs_in(client: Client, name: str, password: str = "wrong", **headers: str) -> Any:  # noqa: S107 - made up
    return client.post("/admin/login/", {"username": name, "password": password}, headers=headers)


def test_passwords_are_not_guessed_from_one_address(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttling, "LOGINS_PER_WINDOW", 3)
    assert [logs_in(client, f"user{number}").status_code for number in range(4)] == [200, 200, 200, 429]
    response = logs_in(client, "another")
    assert 1 <= int(response["Retry-After"]) <= throttling.LOGIN_WINDOW
    assert "<h1>" in response.content.decode()


def test_nor_of_one_account_from_many(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    User.objects.create_superuser("ada", password="right horse battery")
    monkeypatch.setattr(throttling, "LOGINS_PER_WINDOW", 3)
    tried = [logs_in(client, "ada", **{"X-Forwarded-For": f"192.0.2.{number}"}).status_code for number in range(4)]
    assert tried == [200, 200, 200, 429]
    assert logs_in(client, "ada", "right horse battery", **{"X-Forwarded-For": "192.0.2.9"}).status_code == 429
    with time_machine.travel("2026-11-22T12:15:00Z", tick=False):
        assert logs_in(client, "ada", "right horse battery").status_code == 302
