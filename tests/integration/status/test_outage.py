"""The database is away: every endpoint says so, and how long to wait. Then it is back, and so are they."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection
from django.db.backends.signals import connection_created

from config.database import _bound, bound_waits
from tests.support.api import Api
from tests.support.proxy import Proxy, proxy_to
from tests.support.routes import ROUTES

pytestmark = pytest.mark.django_db(transaction=True)

ASKING = [route for route in ROUTES if route.path not in {"/api/schema", "/api/looks"}]
"""The others need no database."""


@contextmanager
def database_away(folder: Path) -> Iterator[None]:
    """A connection that can really not be made: no such folder, or nobody behind the port."""
    settings = dict(connection.settings_dict)
    connection.close()
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        if connection.vendor == "sqlite":
            connection.settings_dict["NAME"] = str(folder / "missing" / "darkroom.sqlite3")
        else:
            connection.settings_dict |= {"HOST": "127.0.0.1", "PORT": nobody.getsockname()[1]}
            connection.settings_dict["OPTIONS"] = {}
        try:
            yield
        finally:
            connection.settings_dict |= settings
            connection.close()


@pytest.mark.parametrize(("method", "path"), ASKING, ids=map(" ".join, ASKING))
def test_every_endpoint_says_so_and_recovers(api: Api, tmp_path: Path, method: str, path: str) -> None:
    path = path.format(api.accepted().pk)
    with database_away(tmp_path):
        response = getattr(api, method)(path)
    assert response.status_code == 503
    assert int(response["Retry-After"]) >= 1
    error = response.json()["error"]
    assert (error["code"], error["retryable"]) == ("UNAVAILABLE", True)
    assert "missing" not in response.content.decode()
    assert "127.0.0.1" not in response.content.decode()
    assert getattr(api, method)(path).status_code < 500


@pytest.mark.skipif("sqlite" in settings.DATABASES["default"]["ENGINE"], reason="SQLite is no server that could freeze")
@pytest.mark.parametrize("path", ["/api/status/{}", "/api/jobs/{}"])
def test_a_database_that_takes_what_it_is_sent_and_never_answers_is_given_up(
    api: Api, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    path = path.format(api.accepted().pk)
    monkeypatch.setattr(settings, "DATABASE_PATIENCE", 0.5)
    with slow_road_to_the_database() as road:
        assert api.get(path).status_code == 200
        road.swallow()
        response = api.get(path)
        assert (response.status_code, response.json()["error"]["code"]) == (503, "UNAVAILABLE")
        road.heal()
        assert api.get(path).status_code == 200


@contextmanager
def slow_road_to_the_database() -> Iterator[Proxy]:
    """As web processes and workers connect, and through a proxy."""
    before, own = dict(connection.settings_dict), connection.connection.info
    with proxy_to(own.host, own.port) as road:
        connection.close()
        options = {"host": "127.0.0.1", "port": road.port, "connect_timeout": 2}
        connection.settings_dict |= {"HOST": "", "PORT": "", "OPTIONS": options}
        bound_waits()
        try:
            yield road
        finally:
            connection_created.disconnect(_bound)
            connection.close()
            connection.settings_dict |= before


def test_a_poller_of_builds_can_go_on_from_what_it_is_told(api: Api, tmp_path: Path) -> None:
    path = f"/api/builds/{api.accepted().pk}/events?lastEventId=7"
    with database_away(tmp_path):
        response = api.get(path)
    assert response.status_code == 503
    assert int(response["Retry-After"]) >= 1
    body = response.json()
    assert (body["success"], body["error"]["code"]) == (False, "UNAVAILABLE")
    assert (body["events"], body["lastEventId"]) == ([], 7)
    assert api.get(path).status_code == 200
    with database_away(tmp_path):
        assert api.get(path.replace("=7", "=seven")).status_code == 400


def test_a_picture_is_not_accepted_and_nothing_is_left_behind(api: Api, tmp_path: Path) -> None:
    from tests.support.api import stored_files

    with database_away(tmp_path):
        response = api.send(token=None)
    assert (response.status_code, response.json()["error"]["code"]) == (503, "UNAVAILABLE")
    assert stored_files() == []
    assert api.send().status_code == 202
