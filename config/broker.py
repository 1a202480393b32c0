"""The embedded broker: kombu's filesystem transport, made atomic and durable.

Below the transport option `folder`, which must lie on one local file system:

    aside/          what is being written or read just now; nobody looks for messages here
    exchanges/      one table of bindings per exchange, and the lock of those who change one
    queue.<name>/   one file per waiting message, named so that sorting gives the order of arrival

A message is seen once it is whole and on the disk, and goes to the one consumer whose rename takes it away.
What a killed consumer held is lost.
"""

import fcntl
import logging
import os
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty
from typing import Any, Self
from urllib.parse import quote
from uuid import uuid4

from kombu import Connection
from kombu.asynchronous import Hub
from kombu.transport import filesystem
from kombu.transport.virtual import BrokerState
from kombu.utils.json import dumps, loads

logger = logging.getLogger(__name__)

Binding = filesystem.exchange_queue_t

# A file is aside for milliseconds. One this old, in seconds, was left by a process that died (or was stopped
# so long that its message counts as lost).
LEFTOVER_AGE = 600

# All that decoding arbitrary bytes as a message was seen to raise.
UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, RecursionError)


class Channel(filesystem.Channel):
    def __init__(self, connection: "Transport", **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)
        self._root = connection.folder
        self._aside = self._root / "aside"
        self._listed: defaultdict[str, deque[str]] = defaultdict(deque)

    @property
    def control_folder(self) -> Path:
        return self._root / "exchanges"

    def get_table(self, exchange: str) -> list[Binding]:  # type: ignore[override]
        try:
            table = loads(self._table_file(exchange).read_bytes())
        except FileNotFoundError:
            return []
        return [Binding(*binding) for binding in table]

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str | None, queue: str) -> None:
        binding = Binding(routing_key, pattern or "", queue)
        with self._changing_table(exchange) as table:
            if binding not in table:
                table.append(binding)

    def _delete(self, queue: str, *args: Any, **_options: Any) -> None:
        self._purge(queue)
        with suppress(OSError):  # a message that has just come in keeps the folder
            self._folder(queue).rmdir()
        exchange, routing_key, pattern, _ = args
        binding = Binding(routing_key, pattern or "", queue)
        with self._changing_table(exchange) as table:
            if binding in table:
                table.remove(binding)

    def _put(self, queue: str, payload: dict[str, Any], **_options: Any) -> None:  # type: ignore[override]
        # Wall-clock time sorts across processes and reboots; 19 digits last until the year 2286.
        self._write(self._folder(queue) / f"{time.time_ns():019}-{uuid4().hex}", payload)

    def _get(self, queue: str) -> dict[str, Any]:  # type: ignore[override]
        for name in self._oldest_first(queue):
            payload = self._claim(self._folder(queue) / name)
            if payload is not None:
                return payload
        raise Empty

    def _size(self, queue: str) -> int:
        return len(self._names(queue))

    def _purge(self, queue: str) -> int:
        purged = 0
        for name in self._names(queue):
            with suppress(FileNotFoundError):  # a consumer was faster
                (self._folder(queue) / name).unlink()
                purged += 1
        return purged

    def _folder(self, queue: str) -> Path:
        return self._root / f"queue.{quote(queue, safe='')}"

    def _names(self, queue: str) -> list[str]:
        try:
            return os.listdir(self._folder(queue))  # noqa: PTH208 -- names sort much faster than paths
        except FileNotFoundError:
            return []

    def _oldest_first(self, queue: str) -> Iterator[str]:
        """The rest of the last listing, then a new one: a backlog is not listed again for each message."""
        listed = self._listed[queue]
        while listed:
            yield listed.popleft()
        listed.extend(sorted(self._names(queue)))
        while listed:
            yield listed.popleft()

    def _claim(self, path: Path) -> dict[str, Any] | None:
        """Take a message away; None when another consumer was faster or the file holds no message."""
        claimed = self._aside / uuid4().hex
        try:
            path.rename(claimed)
            content = claimed.read_bytes()
            claimed.unlink()
        except FileNotFoundError:
            return None
        try:
            payload: dict[str, Any] = loads(content)
            self.Message(payload, channel=self)
        except UNREADABLE:
            logger.exception("Dropped an unreadable message of %d bytes: %r", len(content), str(path))
            return None
        return payload

    def _table_file(self, exchange: str) -> Path:
        return self.control_folder / f"{quote(exchange, safe='')}.exchange"

    @contextmanager
    def _changing_table(self, exchange: str) -> Iterator[list[Binding]]:
        """The exchange's bindings, for one process at a time; what the block makes of them is stored."""
        self._make(self.control_folder)
        with (self.control_folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                table = self.get_table(exchange)
                before = table.copy()
                yield table
                if table != before:
                    self._write(self._table_file(exchange), table)
            finally:
                fcntl.flock(lock, fcntl.LOCK_UN)  # closing is not enough: a child may have inherited the file

    def _write(self, path: Path, content: Any) -> None:
        """Store `content` so that `path` is seen, by readers and after a power cut, whole or not at all."""
        self._make(self._aside)
        self._make(path.parent)
        aside = self._aside / uuid4().hex
        try:
            with aside.open("xb") as file:
                file.write(dumps(content).encode())
                file.flush()
                os.fsync(file.fileno())
            aside.rename(path)
        finally:
            aside.unlink(missing_ok=True)
        _sync_folder(path.parent)

    def _make(self, folder: Path) -> None:
        if not folder.is_dir():
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
            _sync_folder(self._root)


class Transport(filesystem.Transport):
    Channel = Channel
    polling_interval = 0.1  # seconds
    # Celery's pool then has a pipe for each child. Without an event loop all children wait on one lock, and one
    # that is killed while it waits takes the lock with it: the pool would never work again.
    implements = filesystem.Transport.implements.extend(asynchronous=True)
    # A full or failing disk is to kombu what a lost connection is: worth another try.
    connection_errors = (*filesystem.Transport.connection_errors, OSError)

    def __init__(self, client: Connection, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        self.folder = Path((client.transport_options or {})["folder"])
        # Not shared by all connections, as it is upstream: they may have different folders.
        self.state = BrokerState()

    def register_with_event_loop(self, connection: "Transport", loop: Hub) -> None:
        loop.call_repeatedly(self.polling_interval, self._deliver_waiting, connection)

    def _deliver_waiting(self, connection: Any) -> None:
        with suppress(TimeoutError):  # nothing waits, or no consumer wants more
            while True:
                self.drain_events(connection, timeout=0)

    def establish_connection(self) -> Self:
        _remove_leftovers(self.folder / "aside")
        return super().establish_connection()


def _sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_leftovers(aside: Path) -> None:
    for path in aside.glob("*"):
        with suppress(OSError):  # gone by now, or not to be removed: no reason not to connect
            # The change time: a claim does not alter the modification time of a message that waited long.
            if path.stat().st_ctime < time.time() - LEFTOVER_AGE:
                path.unlink()
