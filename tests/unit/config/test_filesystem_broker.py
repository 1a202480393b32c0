"""The embedded broker within one process."""

import logging
import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kombu import Queue
from kombu.exceptions import OperationalError
from kombu.message import Message

from config import broker
from config.broker import Channel
from tests.support.filesystem_broker import (
    QUEUE,
    connect,
    files,
    open_channel,
    put,
    received,
    take_all,
)

pytestmark = pytest.mark.any_database


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "broker"


@pytest.fixture
def channel(folder: Path) -> Iterator[Channel]:
    with connect(folder) as connection:
        yield open_channel(connection)


def test_a_backlog_is_not_listed_again_for_each_message(
    folder: Path, channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    listings, listdir = [], os.listdir

    def counted(path: Path) -> list[str]:
        listings.append(path)
        return listdir(path)

    put(folder, *range(100))
    monkeypatch.setattr(os, "listdir", counted)
    assert len(take_all(channel)) == 100
    assert len(listings) <= 2


@pytest.mark.parametrize(
    "content", [b"", b"\xff\x00garbage", b'{"body": "cut o', b"[1]", b'{"properties": {}}', b"[" * 100_000]
)
def test_a_file_that_is_no_message_is_dropped_with_a_log_line(
    folder: Path, channel: Channel, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    put(folder, "before")
    (message,) = files(folder)
    (message.parent / "0-first").write_bytes(content)
    (message.parent / f"{message.name}-second").write_bytes(content)
    put(folder, "after")
    assert take_all(channel) == ["before", "after"]
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2
    assert files(folder) == []


def test_a_message_is_seen_once_it_is_whole_and_by_one_consumer(
    folder: Path, channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not on the disk yet can still break off, or be lost."""
    sync, seen = os.fsync, list[str]()

    def look_first(descriptor: int) -> None:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            seen.extend(path.name for path in folder.glob("queue.*/*"))
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", look_first)
        put(folder, "a message")
    assert seen == []
    assert [message.decode() for message in received(channel, 2)] == ["a message"]


def test_a_failed_write_leaves_nothing_and_may_be_tried_again(folder: Path, channel: Channel) -> None:
    put(folder, "small")
    before = files(folder)
    with file_size_limit(1000), pytest.raises(OperationalError), connect(folder) as connection:
        connection.Producer().publish("x" * 100_000, routing_key=QUEUE, retry=True, retry_policy={"max_retries": 1})
    assert files(folder) == before
    put(folder, "x" * 100_000)
    assert take_all(channel) == ["small", "x" * 100_000]


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_the_folder_may_vanish_at_any_time(folder: Path, channel: Channel, tmp_path: Path) -> None:
    put(folder, 1)
    folder.rename(tmp_path / "gone")
    assert take_all(channel) == []
    put(folder, 2)
    assert take_all(channel) == [2]


def test_what_was_not_acknowledged_goes_back_on_close(folder: Path, channel: Channel) -> None:
    put(folder, "done", "open", "refused", "dropped")
    with connect(folder) as connection:
        done, _, refused, dropped = received(open_channel(connection), 4)
        done.ack()
        refused.reject(requeue=True)
        dropped.reject()
        assert channel._size(QUEUE) == 1
    assert sorted(take_all(channel)) == ["open", "refused"]


def test_a_consumer_gets_no_more_than_its_prefetch_count(folder: Path) -> None:
    put(folder, 1, 2)
    messages: list[Message] = []
    with connect(folder) as connection:
        consumer = connection.Consumer([Queue(QUEUE)], prefetch_count=1)
        consumer.register_callback(lambda _, message: messages.append(message))
        with consumer:
            connection.drain_events(timeout=5)
            with pytest.raises(TimeoutError):
                connection.drain_events(timeout=0.05)
            messages[0].ack()
            connection.drain_events(timeout=5)
    assert [message.decode() for message in messages] == [1, 2]


def test_size_and_purge_count_the_messages_of_one_queue(folder: Path, channel: Channel) -> None:
    assert channel._size(QUEUE) == channel.queue_purge(QUEUE) == 0
    put(folder, 1, 2, 3)
    put(folder, 4, queue="other")
    assert channel.queue_declare(QUEUE).message_count == 3
    assert channel.queue_purge(QUEUE) == 3
    assert take_all(channel) == []
    assert take_all(channel, "other") == [4]


def test_any_queue_name_has_a_folder_of_its_own_inside_the_brokers(folder: Path, channel: Channel) -> None:
    names = ["a", "a.b", "a/b", "a%2Fb", "../a", ".", "..", "/", "~", "ünï €", "a b\n", "\0"]
    for name in names:
        put(folder, name, queue=name)
    assert len(files(folder.parent)) == len(files(folder)) == len(names)
    assert [take_all(channel, name) for name in names] == [[name] for name in names]


def test_folders_are_for_their_owner_only(folder: Path, channel: Channel) -> None:
    put(folder, 1)
    channel.exchange_declare("exchange")
    channel.queue_bind(QUEUE, "exchange", "key")
    modes = [stat.S_IMODE(path.stat().st_mode) for path in [folder, *folder.iterdir()]]
    assert modes == [0o700] * 4


def test_two_brokers_in_one_process_share_no_bindings(folder: Path, tmp_path: Path) -> None:
    for root in (folder, tmp_path / "other"):
        with connect(root) as connection:
            channel = open_channel(connection)
            channel.exchange_declare("exchange")
            channel.queue_bind(QUEUE, "exchange", "key")
            assert [row.queue for row in channel.get_table("exchange")] == [QUEUE]


def test_deleting_a_queue_takes_its_messages_and_its_binding_only(folder: Path, channel: Channel) -> None:
    channel.exchange_declare("exchange")
    for queue in ("stays", "goes"):
        channel.queue_bind(queue, "exchange", "key")
        put(folder, 1, queue=queue)
    channel.queue_delete("goes")
    assert [row.queue for row in channel.get_table("exchange")] == ["stays"]
    assert (channel._size("stays"), channel._size("goes")) == (1, 0)


def test_connecting_removes_what_dead_processes_left(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(folder, 1)
    claimed = folder / "aside" / "claimed"
    claimed.touch()
    os.utime(claimed, (0, 0))  # it waited long, and was claimed just now
    put(folder, 2)
    assert claimed.exists()
    monkeypatch.setattr(broker, "LEFTOVER_AGE", -1)
    put(folder, 3)
    assert not claimed.exists()
    assert len(files(folder)) == 3
