"""The embedded broker, spoken to through kombu."""

from pathlib import Path
from typing import Any

from kombu import Connection
from kombu.message import Message

from config.broker import Channel

QUEUE = "work"
TRANSPORT = "config.broker:Transport"


def connect(folder: Path) -> Connection:
    options = {"folder": str(folder), "polling_interval": 0.01}
    return Connection("filesystem://", transport=TRANSPORT, transport_options=options)


def open_channel(connection: Connection) -> Channel:
    channel = connection.default_channel
    assert isinstance(channel, Channel)
    return channel


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
