"""Bodies that come slowly, in chunks, cut off, too many at once, or to somebody who does not want them."""

import json
import os
import re
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path

import pytest

from config.bodies import PLACES, STANDSTILL, Body, Places
from tests.support.installation import PATIENCE, wait_for
from tests.support.ports import free_port

pytestmark = pytest.mark.any_database

POST = "POST {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"


@contextmanager
def reader(grace: float, standstill: float = STANDSTILL, released: Path = Path("never")) -> Iterator[int]:
    """The port of a real server with four threads, as `make up` starts it."""
    port = free_port()
    environment = {"GRACE": str(grace), "STANDSTILL": str(standstill), "RELEASED": str(released)}
    granian = [str(Path(sys.executable).parent / "granian"), "--interface", "wsgi", "--port", str(port)]
    command = [*granian, "--blocking-threads", "4", "--no-ws", "tests.system.config.reader:application"]
    with subprocess.Popen(command, env=os.environ | environment) as server:
        try:
            wait_for(lambda: answers(port))
            yield port
        finally:
            server.terminate()
            try:
                server.wait(PATIENCE)
            finally:
                server.kill()


@pytest.fixture(scope="module")
def patient() -> Iterator[int]:
    with reader(grace=PATIENCE * 2) as port:
        yield port


def connected(port: int, *data: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    for piece in data:
        connection.sendall(piece)
    return connection


def answer(connection: socket.socket) -> tuple[int, bytes]:
    """Status and body, once the server has closed the connection or said all that it wanted to."""
    response = bytearray()
    while b"\r\n\r\n" not in response or len(_body(response)) < _length(response):
        piece = connection.recv(65536)
        if not piece:
            break
        response += piece
    return int(response.split(b" ", 2)[1]), _body(response)


def _body(response: bytearray) -> bytes:
    return bytes(response.partition(b"\r\n\r\n")[2])


def _length(response: bytearray) -> int:
    found = re.search(rb"content-length: (\d+)", bytes(response), re.IGNORECASE)
    assert found, response
    return int(found[1])


def answers(port: int) -> bool:
    try:
        with connected(port, b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n") as connection:
            return answer(connection)[0] == 200
    except OSError:
        return False


def begun(port: int, length: int = 1000, path: str = "/") -> socket.socket:
    """Somebody who promises a body and sends a few bytes of it."""
    return connected(port, f"{POST.format(path)}Content-Length: {length}\r\n\r\nabc".encode())


def received(told: tuple[int, bytes]) -> int:
    assert told[0] == 200, told
    return int(json.loads(told[1])["received"])


def test_a_whole_body_is_read(patient: int) -> None:
    with begun(patient, 200_003) as sender:
        sender.sendall(bytes(200_000))
        assert received(answer(sender)) == 200_003


def test_a_body_in_chunks_is_read_to_its_end(patient: int) -> None:
    head = f"{POST.format('/')}Transfer-Encoding: chunked\r\n\r\n".encode()
    chunks = b"".join(b"%x\r\n%s\r\n" % (size, bytes(size)) for size in (1, 70_000, 5))
    with connected(patient, head, chunks, b"0\r\n\r\n") as sender:
        assert received(answer(sender)) == 70_006


def test_who_never_stops_sending_is_told_so_and_not_just_cut_off(patient: int) -> None:
    with begun(patient, 5_000_003, "/unread") as sender:
        sender.sendall(bytes(5_000_000))
        assert received(answer(sender)) == 0


def test_senders_who_stall_never_hold_those_who_only_ask(patient: int) -> None:
    with ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(begun(patient))
        for _ in range(10):
            assert answers(patient)
    wait_for(lambda: accepts(patient))


def accepts(port: int) -> bool:
    with begun(port, 3) as sender:
        return answer(sender)[0] == 200


def test_more_bodies_than_there_are_places_are_refused_and_the_others_go_on(patient: int) -> None:
    with ExitStack() as stack:
        senders = {stack.enter_context(begun(patient, 10)) for _ in range(PLACES + 2)}
        wait_for(lambda: len(select.select(senders, [], [], 0)[0]) == 2)
        refused = set(select.select(senders, [], [], 0)[0])
        assert [answer(sender)[0] for sender in refused] == [503, 503]
        for sender in senders - refused:
            sender.sendall(b"defghij")
            assert received(answer(sender)) == 10


def test_a_storage_that_hangs_never_holds_those_who_only_ask(tmp_path: Path) -> None:
    with reader(PATIENCE * 2, released=tmp_path / "released") as port, ExitStack() as stack:
        senders = {stack.enter_context(begun(port, 3, "/held")) for _ in range(PLACES + 5)}
        wait_for(lambda: len(select.select(senders, [], [], 0)[0]) == 5)
        refused = set(select.select(senders, [], [], 0)[0])
        assert [answer(sender)[0] for sender in refused] == [503] * 5
        for _ in range(10):
            assert answers(port)
        assert not set(select.select(senders - refused, [], [], 0)[0]), "the storage did not hang"
        (tmp_path / "released").touch()
        assert [received(answer(sender)) for sender in senders - refused] == [3] * PLACES
        wait_for(lambda: accepts(port))


def test_of_many_at_once_nobody_is_refused_while_the_others_are_served_quickly() -> None:
    with reader(PATIENCE * 2, standstill=PATIENCE) as port, ExitStack() as stack:
        senders = [stack.enter_context(begun(port, 3, "/handled")) for _ in range(30)]
        assert [received(answer(sender)) for sender in senders] == [3] * 30


def test_who_is_too_slow_is_cut_off_and_takes_no_place_any_more() -> None:
    with reader(grace=0.01) as port, ExitStack() as stack:
        slow = [stack.enter_context(begun(port, 10**9)) for _ in range(PLACES)]
        for sender in slow:
            wait_for(lambda: sends_slowly_until_answered(sender))  # noqa: B023 - called at once
        wait_for(lambda: accepts(port))


def sends_slowly_until_answered(sender: socket.socket) -> bool:
    """Never faster than 20 kB a second, which is below the least pace."""
    time.sleep(0.2)
    try:
        if select.select([sender], [], [], 0)[0]:
            assert answer(sender)[0] == 503
            return True
        sender.sendall(bytes(4000))
    except ConnectionError:
        return True  # it was answered and closed between the two
    return False


def test_who_leaves_before_the_end_has_sent_nothing() -> None:
    """The server's stream then ends as if that were all."""
    body = Body(BytesIO(b"half of a pict"), 30, 1000)
    with pytest.raises(ConnectionResetError):
        body.read()
    body.finish()


def test_reading_gives_just_what_was_asked_for() -> None:
    body = Body(BytesIO(bytes(range(250)) * 1000), 250_000, 300_000)
    assert body.read(3) == b"\0\1\2"
    assert len(body.read(199_997)) == 199_997
    assert len(body.read(200_000)) == 50_000
    assert body.read(1) == b""
    body.finish()


def test_whoever_waits_longest_is_next() -> None:
    places, came = Places(1), list[int]()
    assert places.take(0)

    def wait(number: int) -> None:
        assert places.take(PATIENCE)
        came.append(number)
        places.give_back()

    waiting = []
    for number in range(5):
        waiting.append(threading.Thread(target=wait, args=[number]))
        waiting[-1].start()
        wait_for(lambda: len(places._waiting) == number + 1)  # noqa: B023 - called at once
    assert not places.take(0), "somebody else is before"
    places.give_back()
    for thread in waiting:
        thread.join()
    assert came == list(range(5))


def test_a_place_is_free_again_after_each_body() -> None:
    for _ in range(3 * PLACES):
        body = Body(BytesIO(b"a body"), 6, 1000)
        body.read(1)
        body.finish()
        refused = Body(BytesIO(b"a body"), 6, 1000)
        refused.finish()
