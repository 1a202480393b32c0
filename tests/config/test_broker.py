import logging
import multiprocessing
import os
import random
import resource
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil
import pytest
from celery import Celery
from kombu import Connection, Queue
from kombu.exceptions import OperationalError
from kombu.message import Message

from config import broker
from config.broker import Channel

pytestmark = pytest.mark.any_database

QUEUE = "work"
PATIENCE = 240
"""Seconds for what should take a few; the machine may be busy, and each message is written to the disk."""
TRANSPORT = "config.broker:Transport"
processes = multiprocessing.get_context("fork")

# The worker of the last tests runs this application.
app = Celery("broker_tests", broker="filesystem://", set_as_current=False, fixups=[])
app.conf.update(
    broker_transport=TRANSPORT,
    broker_transport_options={"folder": os.environ.get("BROKER_TEST_FOLDER", os.devnull)},
    task_default_queue=QUEUE,
    task_ignore_result=True,
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    worker_enable_remote_control=False,
    worker_soft_shutdown_timeout=0.5,
)


@app.task
def note(record: str, text: str) -> None:
    add_line(Path(record), text)


@app.task
def hold(record: str, release: str) -> None:
    add_line(Path(record), "holding")
    wait_for(Path(release).exists)
    add_line(Path(record), "released")


def add_line(record: Path, line: object) -> None:
    with record.open("ab", buffering=0) as file:
        file.write(f"{line}\n".encode())


def lines(record: Path) -> list[str]:
    return record.read_text().splitlines() if record.exists() else []


def wait_for(condition: Callable[[], Any]) -> None:
    give_up = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def wait_for_lines(record: Path, count: int) -> None:
    wait_for(lambda: len(lines(record)) >= count)


def connect(folder: Path) -> Connection:
    options = {"folder": str(folder), "polling_interval": 0.01}
    return Connection("filesystem://", transport=TRANSPORT, transport_options=options)


def open_channel(connection: Connection) -> Channel:
    channel = connection.default_channel
    assert isinstance(channel, Channel)
    return channel


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "broker"


@pytest.fixture
def channel(folder: Path) -> Iterator[Channel]:
    with connect(folder) as connection:
        yield open_channel(connection)


def put(folder: Path, *bodies: object, queue: str = QUEUE) -> None:
    with connect(folder) as connection:
        producer = connection.Producer()
        for body in bodies:
            producer.publish(body, routing_key=queue)


def take_all(channel: Channel, queue: str = QUEUE) -> list[Any]:
    return [message.decode() for message in iter(lambda: channel.basic_get(queue, no_ack=True), None)]


def received(channel: Channel, count: int) -> list[Message]:
    """The next messages, not acknowledged."""
    messages = [channel.basic_get(QUEUE) for _ in range(count)]
    return [message for message in messages if message]


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def start(target: Callable[..., None], *args: Any) -> BaseProcess:
    process = processes.Process(target=target, args=args, daemon=True)
    process.start()
    return process


def consume(folder: Path, record: Path, all_sent: Path) -> None:
    """Note what comes, until everything was sent and nothing comes any more."""
    with connect(folder) as connection:

        def receive(body: int, message: Any) -> None:
            add_line(record, body)
            message.ack()

        with connection.Consumer([Queue(QUEUE)], callbacks=[receive]):
            while True:
                last_look = all_sent.exists()
                try:
                    connection.drain_events(timeout=0.05)
                except TimeoutError:
                    if last_look:
                        return


def start_publishers(folder: Path, messages: int) -> list[BaseProcess]:
    return [start(put, folder, *range(first, messages, 3)) for first in range(3)]


def join(crew: list[BaseProcess]) -> None:
    for process in crew:
        process.join(PATIENCE)
    assert [process.exitcode for process in crew] == [0] * len(crew)


def test_every_message_arrives_once_between_many_processes(folder: Path, tmp_path: Path) -> None:
    record, all_sent = tmp_path / "received", tmp_path / "all_sent"
    consumers = [start(consume, folder, record, all_sent) for _ in range(3)]
    join(start_publishers(folder, 3000))
    all_sent.touch()
    join(consumers)
    assert sorted(map(int, lines(record))) == list(range(3000))
    assert files(folder) == []


def test_a_killed_consumer_costs_at_most_the_message_that_it_held(folder: Path, tmp_path: Path) -> None:
    record, all_sent = tmp_path / "received", tmp_path / "all_sent"
    chance = random.Random(7)
    consumers = [start(consume, folder, record, all_sent) for _ in range(3)]
    publishers = start_publishers(folder, 1000)
    for killed in range(12):
        wait_for_lines(record, 60 * killed)
        victim = consumers.pop(chance.randrange(3))
        victim.kill()
        victim.join()
        consumers.append(start(consume, folder, record, all_sent))
    join(publishers)
    all_sent.touch()
    join(consumers)
    arrived = lines(record)
    assert len(set(arrived)) == len(arrived) >= 1000 - 12
    assert len(files(folder)) <= 12


def test_messages_come_in_the_order_in_which_they_were_put(folder: Path, channel: Channel) -> None:
    for first in (0, 50):
        join([start(put, folder, *range(first, first + 50))])
    assert take_all(channel) == list(range(100))


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


def test_concurrent_binders_lose_no_binding(folder: Path, channel: Channel) -> None:
    together = processes.Barrier(4)
    binders = [start(bind, folder, number, together) for number in range(4)]
    seen = 0
    while any(binder.is_alive() for binder in binders):
        bindings = len(channel.get_table("exchange"))
        assert bindings >= seen
        seen = bindings
    join(binders)
    assert {row.queue for row in channel.get_table("exchange")} == {f"{n}-{i}" for n in range(4) for i in range(25)}


def bind(folder: Path, number: int, together: Any) -> None:
    with connect(folder) as connection:
        channel = open_channel(connection)
        channel.exchange_declare("exchange")
        together.wait()
        for i in range(25):
            channel.queue_bind(f"{number}-{i}", "exchange", "key")


def test_a_published_message_reaches_every_queue_bound_by_another_process(folder: Path, channel: Channel) -> None:
    together = processes.Barrier(1)
    join([start(bind, folder, number, together) for number in range(2)])
    with connect(folder) as connection:
        connection.Producer().publish("news", exchange="exchange", routing_key="key")
    assert take_all(channel, "0-7") == take_all(channel, "1-24") == ["news"]


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


@contextmanager
def worker(folder: Path, log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    command = "-m celery -A tests.config.test_broker worker -c 2 -l info --without-gossip --without-mingle"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *command.split()],
            env=os.environ | environment | {"BROKER_TEST_FOLDER": str(folder)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_celery_worker_runs_tasks_and_shuts_down_warm(folder: Path, channel: Channel, tmp_path: Path) -> None:
    record, release, log = tmp_path / "record", tmp_path / "release", tmp_path / "log"
    texts = [str(number) for number in range(20)]
    with connect(folder) as connection, worker(folder, log) as process:
        for text in texts:
            app.send_task(note.name, (str(record), text), connection=connection)
        wait_for_lines(record, len(texts))
        assert sorted(lines(record)) == sorted(texts)
        app.send_task(hold.name, (str(record), str(release)), connection=connection)
        wait_for(lambda: "holding" in lines(record))
        process.send_signal(signal.SIGTERM)
        wait_for(lambda: "Warm shutdown" in log.read_text())
        release.touch()
        assert process.wait(PATIENCE) == 0
    assert lines(record)[-1] == "released"
    assert channel._size(QUEUE) == 0
    assert "Traceback" not in log.read_text()


def test_a_celery_worker_that_must_stop_hands_back_what_it_has_not_finished(
    folder: Path, channel: Channel, tmp_path: Path
) -> None:
    record, release, log = tmp_path / "record", tmp_path / "release", tmp_path / "log"
    with connect(folder) as connection, worker(folder, log, REMAP_SIGTERM="SIGQUIT") as process:
        app.send_task(hold.name, (str(record), str(release)), connection=connection)
        wait_for(lambda: "holding" in lines(record))
        assert channel._size(QUEUE) == 0
        process.send_signal(signal.SIGTERM)
        wait_for(lambda: channel._size(QUEUE))
    (message,) = received(channel, 2)
    assert message.headers["task"] == hold.name


def test_a_celery_worker_outlives_the_death_of_its_idle_children(folder: Path, tmp_path: Path) -> None:
    record, log = tmp_path / "record", tmp_path / "log"
    with connect(folder) as connection, worker(folder, log) as process:
        for number in range(3):
            app.send_task(note.name, (str(record), f"task {number}"), connection=connection)
            wait_for_lines(record, number + 1)
            children = psutil.Process(process.pid).children()
            for child in children:
                child.kill()
            psutil.wait_procs(children)
    assert lines(record) == ["task 0", "task 1", "task 2"]
