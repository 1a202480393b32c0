"""/healthz and /readyz: what a load balancer, a deployment and whoever is on call ask."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import connection
from django.test import Client

from tests.integration.status.test_outage import database_away
from tests.support.installation import PATIENCE, wait_for
from workflows import health, recovery
from workflows.models import Heartbeat

pytestmark = pytest.mark.django_db(transaction=True)

COMPONENTS = {"database", "migrations", "broker", "storage", "sweeper"}


@pytest.fixture(autouse=True)
def _on_any_machine(settings: LazySettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a storage of its own, and with all the time that a busy machine may take."""
    settings.MEDIA_ROOT = tmp_path / "media"
    monkeypatch.setattr(health, "PATIENCE", PATIENCE)


def readiness() -> tuple[int, set[str]]:
    """The status, and the components that are not ready; asked of a server that has not asked before."""
    response = Client().get("/readyz", headers={"host": "10.1.2.3:8000"})
    body = response.json()
    assert set(body["components"]) == COMPONENTS
    assert body["ready"] is (response.status_code == 200)
    assert ("Retry-After" in response) is (response.status_code == 503)
    return response.status_code, {name for name, state in body["components"].items() if state != "ready"}


def test_everything_is_ready_once_the_sweeper_has_been_seen() -> None:
    assert readiness() == (503, {"sweeper"})
    recovery.sweep()
    assert readiness() == (200, set())


def test_a_sweeper_that_was_last_seen_long_ago_is_missed() -> None:
    recovery.sweep()
    beat = Heartbeat.objects.get()
    beat.seen_at -= health.SWEEPER_MISSED_AFTER
    beat.save()
    assert readiness() == (503, {"sweeper"})


def test_sweepers_all_write_the_same_row() -> None:
    for _ in range(3):
        recovery.sweep()
    assert Heartbeat.objects.count() == 1


def test_a_database_that_is_away_takes_down_what_is_read_from_it(tmp_path: Path) -> None:
    with database_away_for_all_threads(tmp_path):
        status, failing = readiness()
        assert Client().get("/healthz").status_code == 200
    assert status == 503
    assert {"database", "sweeper"} <= failing
    assert not {"broker", "storage"} & failing


@contextmanager
def database_away_for_all_threads(folder: Path) -> Iterator[None]:
    """A connection made by another thread has the same settings, but is not the one that the test has."""
    from django.db import connections

    with database_away(folder):
        before = connections.settings["default"]
        connections.settings["default"] = dict(connection.settings_dict)
        try:
            yield
        finally:
            connections.settings["default"] = before


def test_a_full_disk_is_not_ready(settings: LazySettings) -> None:
    recovery.sweep()
    settings.DISK_RESERVE_BYTES = 10**18
    assert readiness() == (503, {"storage"})


def test_a_broker_that_is_away_is_not_ready(broker: Any) -> None:
    recovery.sweep()
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        broker(f"amqp://guest:guest@127.0.0.1:{nobody.getsockname()[1]}//")
        assert readiness() == (503, {"broker"})


def test_a_component_that_hangs_does_not_hold_the_answer_and_is_not_asked_twice(
    broker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "PATIENCE", 0.5)
    recovery.sweep()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        broker(f"amqp://guest:guest@127.0.0.1:{silent.getsockname()[1]}//", broker_connection_timeout=60)
        for _ in range(2):
            status, failing = readiness()
            assert status == 503
            assert "broker" in failing
        asking = [thread for thread in threading.enumerate() if thread.name == "asking broker"]
        assert len(asking) == 1
        monkeypatch.setattr(health, "PATIENCE", 10_000)
        assert [state.component for state in health.states() if not state.is_ready] == ["broker"], "it waited again"
        silent.accept()[0].close()
    wait_for(lambda: not asking[0].is_alive())


@pytest.fixture
def broker() -> Iterator[Any]:
    """Sets another broker for a while."""
    from celery import current_app

    configuration = current_app.conf
    before = {name: configuration[name] for name in ("broker_url", "broker_transport", "broker_connection_timeout")}

    def use(url: str, **more: Any) -> None:
        configuration.update({"broker_url": url, "broker_write_url": url, "broker_transport": None, **more})
        current_app.set_current()

    yield use
    configuration.update(before | {"broker_write_url": before["broker_url"]})


def test_an_answer_tells_nothing_of_the_inside(tmp_path: Path) -> None:
    with database_away_for_all_threads(tmp_path):
        response = Client().get("/readyz")
    assert str(tmp_path) not in response.content.decode()
    assert "Error" not in response.content.decode()


def test_whoever_asks_in_a_loop_gets_the_same_answer_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("config.health.FRESH_SECONDS", PATIENCE)
    recovery.sweep()
    client = Client()
    assert client.get("/readyz").status_code == 200
    Heartbeat.objects.all().delete()
    assert client.get("/readyz").status_code == 200
    assert readiness() == (503, {"sweeper"})


@pytest.mark.parametrize("address", ["/healthz", "/readyz"])
def test_behind_tls_a_probe_over_plain_http_is_answered(settings: LazySettings, address: str) -> None:
    settings.SECURE_SSL_REDIRECT = True
    response = Client().get(address, headers={"host": "10.1.2.3"})
    assert response.status_code in {200, 503}
    assert Client().post(address).status_code == 405
