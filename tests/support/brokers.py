"""A RabbitMQ or a Redis of the test's own: part of a server that runs already, behind a proxy that can break it.

TEST_AMQP_URL and TEST_REDIS_URL name the servers; without them, those of this machine. On CI they must be there.
"""

import fcntl
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import amqp
import pytest
import redis

from tests.support.installation import wait_for
from tests.support.ports import free_port
from tests.support.proxy import Proxy, proxy_to
from tests.support.required import cannot

QUEUES = ("images", "generate", "house", "deliver")


@dataclass
class Broker:
    proxy: Proxy
    url: str
    """Through the proxy."""
    empty: Callable[[], None]
    """Drops every message, past the proxy."""


@contextmanager
def broker(kind: str) -> Iterator[Broker]:
    """`kind` is amqp or redis. Skips, or fails on CI, when there is no such server."""
    with {"amqp": _rabbitmq, "redis": _redis}[kind]() as found:
        yield found


@contextmanager
def _rabbitmq() -> Iterator[Broker]:
    server = urlsplit(os.environ.get("TEST_AMQP_URL", "amqp://guest:guest@127.0.0.1:5672"))
    host, port = _reachable("RabbitMQ", server.hostname, server.port or 5672)
    user, password = server.username or "guest", server.password or "guest"

    def delete_or_purge(delete: bool) -> None:
        connection = amqp.Connection(f"{host}:{port}", userid=user, password=password, virtual_host=vhost)
        with connection:
            for queue in QUEUES:
                with suppress(amqp.exceptions.NotFound):
                    channel = connection.channel()
                    (channel.queue_delete if delete else channel.queue_purge)(queue)

    with _virtual_host(user) as vhost, proxy_to(host, port) as proxy:
        if vhost == "/":
            delete_or_purge(delete=True)
        yield Broker(
            proxy,
            f"amqp://{user}:{password}@127.0.0.1:{proxy.port}/{'' if vhost == '/' else vhost}",
            lambda: delete_or_purge(delete=False),
        )
        delete_or_purge(delete=True)


@contextmanager
def _virtual_host(user: str) -> Iterator[str]:
    """One of the test's own if this machine's rabbitmqctl lets us, else the one that is there."""
    name = f"darkroom-{uuid4().hex}"
    if not _rabbitmqctl("add_vhost", name):
        # Another run of these tests may be at it.
        with (Path(tempfile.gettempdir()) / "darkroom-tests-amqp").open("w") as taken:
            fcntl.flock(taken, fcntl.LOCK_EX)
            yield "/"
        return
    try:
        assert _rabbitmqctl("set_permissions", "-p", name, user, ".*", ".*", ".*")
        yield name
    finally:
        _rabbitmqctl("delete_vhost", name)


def _rabbitmqctl(*arguments: str) -> bool:
    program = shutil.which("rabbitmqctl")
    if not program or "TEST_AMQP_URL" in os.environ:
        return False
    return subprocess.run([program, "-q", *arguments], capture_output=True, timeout=120, check=False).returncode == 0


@contextmanager
def _redis() -> Iterator[Broker]:
    server = urlsplit(os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379"))
    host, port = _reachable("Redis", server.hostname, server.port or 6379)
    with _own_database(host, port) as database, proxy_to(host, port) as proxy:

        def empty() -> None:
            with redis.Redis(host, port, db=database) as client:
                client.delete(*QUEUES, "unacked", "unacked_index")

        yield Broker(proxy, f"redis://127.0.0.1:{proxy.port}/{database}", empty)


@contextmanager
def _own_database(host: str, port: int) -> Iterator[int]:
    """One that is empty; a key in it tells others that it is taken."""
    for database in range(15, 0, -1):
        with redis.Redis(host, port, db=database) as client:
            if client.dbsize() or not client.set("taken-by-a-test", os.getpid(), nx=True, ex=3600):
                continue
            try:
                yield database
            finally:
                client.flushdb()
            return
    pytest.fail(f"no empty database in the Redis at {host}:{port}")


class OwnRedis:
    """A Redis that only a test has, and that forgets everything when it ends."""

    def __init__(self, program: str) -> None:
        port = free_port()
        self._command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._client = redis.Redis(port=port)
        self.url = f"redis://127.0.0.1:{port}/0"
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        wait_for(self._answers)

    def _answers(self) -> bool:
        assert self._process.poll() is None, "this Redis does not run"
        with suppress(redis.ConnectionError):
            return bool(self._client.ping())
        return False

    def crash(self) -> None:
        self._process.kill()
        self._process.wait()
        self._client.close()


@contextmanager
def own_redis() -> Iterator[OwnRedis]:
    program = shutil.which("redis-server")
    if not program:
        cannot("no redis-server on this machine")
    server = OwnRedis(program)
    try:
        yield server
    finally:
        server.crash()


def _reachable(name: str, host: str | None, port: int) -> tuple[str, int]:
    host = host or "127.0.0.1"
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError as error:
        cannot(f"no {name} at {host}:{port}: {error}")
    return host, port
