"""The addresses of this machine on its networks. Linux only."""

import fcntl
import socket
import struct
from contextlib import suppress

SIOCGIFADDR = 0x8915  # linux/sockios.h
ANY = {"0.0.0.0", "::"}  # noqa: S104 - compared, not bound


def addresses(host: str) -> list[str]:
    """Addresses, as others write them, of a server that listens on `host`: none when only this machine reaches it.
    With several, that of the way to the internet comes first."""
    if host not in ANY:
        local = host == "localhost" or host.startswith("127.") or host == "::1"
        return [] if local else [f"[{host}]" if ":" in host else host]
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        with suppress(OSError):  # there is no way to the internet
            datagrams.connect(("192.0.2.1", 9))  # of a datagram socket: nothing is sent
            found.append(datagrams.getsockname()[0])
        for _, name in socket.if_nameindex():
            with suppress(OSError):  # it has no IPv4 address
                answer = fcntl.ioctl(datagrams, SIOCGIFADDR, struct.pack("256s", name.encode()))
                found.append(socket.inet_ntoa(answer[20:24]))
    return [address for address in dict.fromkeys(found) if not address.startswith("127.")]
