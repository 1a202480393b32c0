"""What one `make up` has to itself: a folder and a port. They are held until the process ends, however it ends."""

import errno
import fcntl
import os
import socket
from pathlib import Path


class Refused(Exception):
    """Says in a sentence what cannot be had, and what to do."""


def claim_folder(folder: Path, address: str) -> int:
    """Make DATA_DIR if need be, and lock it; returns the descriptor of the lock. `address` is told to the next one."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        if isinstance(error, FileExistsError | NotADirectoryError):
            file = next(each for each in (folder, *folder.parents) if each.exists())
            raise Refused(f"DATA_DIR is {folder}, and {file} is a file. It must be a folder.") from error
        said = os.strerror(error.errno or 0).lower()
        raise Refused(
            f"DATA_DIR is {folder}, and nothing can be written there ({said}: {error.filename}). "
            "Choose another one, or give it to the user who runs Darkroom."
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        other = os.read(lock, 1000).decode(errors="replace").strip()
        raise Refused(
            f"Darkroom runs already with DATA_DIR {folder}: {other or 'it is just starting'}. "
            "Stop it first, or choose another DATA_DIR and another PORT."
        ) from error
    except OSError as error:  # a network file system that knows no locks: SQLite would not be safe there either
        raise Refused(
            f"DATA_DIR is {folder}, and no file can be locked there ({os.strerror(error.errno or 0).lower()}). "
            "Choose a folder on a disk of this machine."
        ) from error
    os.ftruncate(lock, 0)
    os.write(lock, f"{address}, process {os.getpid()}\n".encode())
    return lock


def claim_port(name: str, port: str, host: str) -> socket.socket:
    """Bind the port that is written in the setting `name`; the same user's processes may listen on it with
    SO_REUSEPORT, and nobody else."""
    if not (port.isdecimal() and 0 < int(port) < 65536):
        raise Refused(f"{name} is {port}; it must be a number from 1 to 65535.")
    held = None
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0]
        held = socket.socket(family, kind)
        # Connections of an earlier run, which may linger for a minute, are no reason to wait …
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(address)
    except OSError as error:
        if held:
            held.close()
        raise Refused(_trouble(error, name, port, host)) from error
    # … but from here on this socket stands in the way of every other one, except those that granian opens.
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return held


def _trouble(error: OSError, name: str, port: str, host: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} is taken by another program. Stop that, or choose another one: {name}={int(port) + 1}."
    if error.errno == errno.EACCES:
        return f"{name} is {port}, and this user may not use ports below 1024. Choose a larger one."
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return f"HOST is {host}, and this machine has no such address. Try 0.0.0.0, which is all that it has."
    return f"{name} {port} on {host} cannot be used: {error}."
