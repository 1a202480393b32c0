"""Ports for the servers that tests start.

One that the kernel names is free at that moment only: until the server that it is for listens there, the kernel may
name it to another test, of this run or of one beside it, or give it to a connection that goes out. These lie below the
range it takes them from, and each process has a block of its own.
"""

import socket
from functools import cache
from itertools import cycle, islice
from typing import NamedTuple

FIRST, BLOCKS, SIZE = 20_000, 50, 250


class _Block(NamedTuple):
    claim: socket.socket
    """Held for as long as the process lives, and let go by whatever ends it."""
    ports: "cycle[int]"


def free_port() -> int:
    """The longest unused of this process's."""
    for port in islice(_own_block().ports, SIZE):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError(f"none of {SIZE} ports is free")


@cache
def _own_block() -> _Block:
    for first in range(FIRST, FIRST + BLOCKS * SIZE, SIZE):
        claim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)  # UDP: a claim takes no port from a server
        try:
            claim.bind(("127.0.0.1", first))
        except OSError:
            claim.close()
            continue
        return _Block(claim, cycle(range(first, first + SIZE)))
    raise AssertionError(f"all {BLOCKS} blocks of ports are taken")
