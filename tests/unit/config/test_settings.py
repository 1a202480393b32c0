"""What the environment makes of the settings that Celery and its brokers work by."""

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

PUBLISH_SECONDS = 2
"""Limit of the seconds that a publish to a broken broker adds to an upload."""

Read = Callable[..., dict[str, Any]]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Read:
    """The settings of a process with these variables in its environment."""

    def read(**environment: str) -> dict[str, Any]:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return runpy.run_path(str(settings.BASE_DIR / "config" / "settings.py"))

    return read


@pytest.mark.parametrize(
    ("written", "meant"),
    [("", settings.BASE_DIR / "var"), (" ", settings.BASE_DIR / "var"), ("~/d", Path.home() / "d")],
)
def test_an_empty_data_dir_is_the_usual_one_and_a_tilde_is_the_home(read: Read, written: str, meant: Path) -> None:
    assert read(DATA_DIR=written)["DATA_DIR"] == meant


def test_the_grace_of_a_stopping_worker_is_what_was_set(read: Read) -> None:
    assert read(SHUTDOWN_GRACE_SECONDS="7")["CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT"] == 7


@pytest.mark.parametrize("broker", ["", "amqp://guest@127.0.0.1//", "redis://127.0.0.1/1"])
def test_a_message_whose_worker_dies_is_not_delivered_again(read: Read, broker: str) -> None:
    """A picture that kills its worker would kill one after the other; the lease brings the job back."""
    found = read(**{"CELERY_BROKER_URL": broker} if broker else {})
    assert found["CELERY_TASK_REJECT_ON_WORKER_LOST"] is False


@pytest.mark.parametrize(
    ("broker", "waits"),
    [
        ("redis://127.0.0.1/1", ["socket_connect_timeout", "socket_timeout"]),
        # For the confirmation, and for two goodbyes.
        ("amqp://guest@127.0.0.1//", ["read_timeout"] * 3),
        ("amqp://guest@127.0.0.1//", ["write_timeout"] * 3),
    ],
)
def test_no_broker_is_waited_for_longer_than_two_seconds(read: Read, broker: str, waits: list[str]) -> None:
    found = read(CELERY_BROKER_URL=broker)
    assert found["CELERY_BROKER_CONNECTION_TIMEOUT"] <= PUBLISH_SECONDS
    assert sum(found["CELERY_BROKER_TRANSPORT_OPTIONS"][wait] for wait in waits) <= PUBLISH_SECONDS


def test_redis_does_not_deliver_again_what_is_still_worked_on(read: Read) -> None:
    found = read(CELERY_BROKER_URL="redis://127.0.0.1/1", STEP_TIMEOUT_SECONDS="3000")
    assert found["CELERY_BROKER_TRANSPORT_OPTIONS"]["visibility_timeout"] > 2 * found["CELERY_TASK_TIME_LIMIT"]


def test_rabbitmq_confirms_and_replicates(read: Read) -> None:
    found = read(CELERY_BROKER_URL="amqp://guest:guest@127.0.0.1//")
    assert found["CELERY_BROKER_TRANSPORT_OPTIONS"]["confirm_publish"] is True
    assert all(queue.queue_arguments == {"x-queue-type": "quorum"} for queue in found["CELERY_TASK_QUEUES"])


def test_without_a_word_no_origin_and_no_dialect_is_open(read: Read) -> None:
    found = read()
    assert (found["CORS_ORIGINS"], found["OPEN_DIALECTS"]) == ([], frozenset())


@pytest.mark.parametrize(
    ("written", "origins"),
    [
        ("", []),
        ("*", ["*"]),
        ("http://localhost:5173", ["http://localhost:5173"]),
        (
            " https://shop.example, https://a.b.example:8443 http://[::1]:3000,",
            ["https://shop.example", "https://a.b.example:8443", "http://[::1]:3000"],
        ),
        ("capacitor://localhost,chrome-extension://abcdef", ["capacitor://localhost", "chrome-extension://abcdef"]),
    ],
)
def test_origins_are_a_list_or_all(read: Read, written: str, origins: list[str]) -> None:
    assert read(CORS_ORIGINS=written)["CORS_ORIGINS"] == origins


@pytest.mark.parametrize(
    "origin",
    [
        "shop.example",
        "https://shop.example/",
        "https://shop.example/app",
        "https://Shop.example",
        "https://shop.example:443",
        "http://localhost:80",
        "https://*.shop.example",
        "https://ada@shop.example",
        "https://läden.example",
        "https://shop.example:0",
        "null",
        "https://",
    ],
)
def test_what_no_browser_sends_as_an_origin_is_refused_in_words(read: Read, origin: str) -> None:
    with pytest.raises(ImproperlyConfigured) as refused:
        read(CORS_ORIGINS=f"http://localhost:5173,{origin}")
    assert str(refused.value).startswith(f"CORS_ORIGINS has {origin}; it may be * alone, or a list of origins")


def test_all_origins_are_not_one_of_a_list(read: Read) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"^CORS_ORIGINS has \*;"):
        read(CORS_ORIGINS="*,https://shop.example")


@pytest.mark.parametrize("written", ["messages", "builds", "messages,builds", " builds, messages "])
def test_dialects_are_open_by_name(read: Read, written: str) -> None:
    assert read(OPEN_DIALECTS=written)["OPEN_DIALECTS"] == set(written.replace(",", " ").split())


@pytest.mark.parametrize("name", ["projects", "native", "Messages", "*", "all"])
def test_a_dialect_that_cannot_be_open_is_refused_in_words(read: Read, name: str) -> None:
    with pytest.raises(ImproperlyConfigured) as refused:
        read(OPEN_DIALECTS=f"messages,{name}")
    assert str(refused.value) == f"OPEN_DIALECTS has {name}; it may have messages and builds."
