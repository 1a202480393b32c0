"""Bodies of requests, read from memory: limits and places. With real senders: tests/system/config/test_bodies.py."""

import errno
from io import BytesIO

import pytest

from config import bodies
from config.bodies import PLACES, Body

LIMIT = 1000


def test_a_body_in_chunks_ends_at_the_limit() -> None:
    short, long = Body(BytesIO(bytes(LIMIT - 1)), None, LIMIT), Body(BytesIO(bytes(5 * LIMIT)), None, LIMIT)
    assert len(short.read(LIMIT)) == LIMIT - 1
    with pytest.raises(OSError, match="too long") as refused:
        long.read(LIMIT)
    assert refused.value.errno == errno.EFBIG
    for body in (short, long):
        body.finish()


def test_one_body_too_many_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "STANDSTILL", 0)
    taken = [Body(BytesIO(b"a body"), 6, LIMIT) for _ in range(PLACES)]
    for body in taken:
        assert body.read(1) == b"a"
    with pytest.raises(BlockingIOError):
        Body(BytesIO(b"a body"), 6, LIMIT).read(1)
    taken.pop().finish()
    after = Body(BytesIO(b"a body"), 6, LIMIT)
    assert after.read() == b"a body"
    for body in (*taken, after):
        body.finish()
