"""Hosts of a test's own: network namespaces, each with an address and with a link to this machine that can be cut.

Needs root and iproute2; where they cannot be had, tests skip and say why.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import psutil
import pytest

OURS = re.compile(r"darkroom(\d+)-(\d+)")


class Host:
    """`gateway` is the address of this machine's end of the link, which the host reaches; the host's is `address`."""

    def __init__(self, number: int) -> None:
        self.namespace = f"darkroom{os.getpid()}-{number}"
        self._link = _link(os.getpid(), number)
        # 198.18.0.0/15 is for tests of networks (RFC 2544); nobody has an address there.
        net = (os.getpid() * 4 + number) % (1 << 15)
        prefix = f"198.{18 + (net >> 14)}.{net >> 6 & 255}"
        self.gateway, self.address = (f"{prefix}.{(net & 63) * 4 + last}" for last in (1, 2))

    @property
    def inside(self) -> list[str]:
        """What to put before a command so that it runs on the host."""
        return ["ip", "netns", "exec", self.namespace]

    def build(self) -> None:
        _ip("netns", "add", self.namespace)
        _ip("link", "add", self._link, "type", "veth", "peer", "name", "eth0", "netns", self.namespace)
        _ip("address", "add", f"{self.gateway}/30", "dev", self._link)
        _ip("link", "set", self._link, "up")
        _ip("-n", self.namespace, "address", "add", f"{self.address}/30", "dev", "eth0")
        _ip("-n", self.namespace, "link", "set", "eth0", "up")
        _ip("-n", self.namespace, "link", "set", "lo", "up")

    def cut_off(self) -> None:
        """Nothing goes in or out, and nobody is told."""
        _ip("link", "set", self._link, "down")

    def let_back(self) -> None:
        _ip("link", "set", self._link, "up")


def _link(pid: int, number: int) -> str:
    """At most 15 letters."""
    return f"dr{pid}-{number}"


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")


@contextmanager
def hosts(count: int) -> Iterator[list[Host]]:
    """Gone at the end, whatever happens; so is what an earlier run that was killed has left."""
    if not shutil.which("ip"):
        pytest.skip("no iproute2 here, which makes hosts of a test's own")
    if os.geteuid():
        pytest.skip("only root may make hosts of a test's own")
    _remove(lambda pid: not psutil.pid_exists(pid))
    with ExitStack() as stack:
        stack.callback(_remove, lambda pid: pid == os.getpid())
        made = [Host(number) for number in range(1, count + 1)]
        try:
            for host in made:
                host.build()
        except OSError as error:
            pytest.skip(f"no hosts of a test's own: {error}")
        yield made


def _remove(whose: Callable[[int], bool]) -> None:
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, timeout=60).stdout
    for pid, number in OURS.findall(listed):
        if whose(int(pid)):
            with suppress(OSError):  # went with its namespace, or was never made
                _ip("link", "delete", _link(int(pid), int(number)))
            _ip("netns", "delete", f"darkroom{pid}-{number}")
