"""Signals as a program in the foreground of a terminal has them."""

import signal
from collections.abc import Iterator

import pytest


@pytest.fixture
def in_a_terminal() -> Iterator[None]:
    """SIGINT and SIGHUP have their defaults: a shell's background jobs ignore the one, nohup's the other, and children
    inherit that."""
    interrupt = signal.signal(signal.SIGINT, signal.default_int_handler)
    hangup = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGHUP, hangup)
