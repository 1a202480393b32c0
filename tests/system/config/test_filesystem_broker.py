"""The embedded broker between real processes: producers, consumers that are killed, Celery workers."""

import multiprocessing
import os
import random
import signal
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
from kombu import Queue

from config.broker import Channel
from tests.support.filesystem_broker import (
    QUEUE,
    TRANSPORT,
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


PATIENCE = 240
"""Seconds for what should take a few; the machine may be busy, and each message is written to the disk."""


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


@contextmanager
def worker(folder: Path, log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    command = f"-m celery -A {__name__} worker -c 2 -l info --without-gossip --without-mingle"
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
