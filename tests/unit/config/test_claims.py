"""What a `make up` has to itself, and the sentence that it ends with when it cannot have it."""

import errno
import fcntl
import os
import socket
from pathlib import Path

import pytest

from config.claims import Refused, claim_folder, claim_port
from tests.support.ports import free_port

pytestmark = pytest.mark.any_database


def listening(*options: int) -> socket.socket:
    server = socket.socket()
    for option in options:
        server.setsockopt(socket.SOL_SOCKET, option, 1)
    server.bind(("127.0.0.1", 0))
    server.listen()
    return server


def test_a_folder_is_made_and_had_once(tmp_path: Path) -> None:
    lock = claim_folder(tmp_path / "new" / "data", "it is on port 8000")
    try:
        with pytest.raises(Refused, match=r"runs already .*it is on port 8000, process \d+\. Stop it first"):
            claim_folder(tmp_path / "new" / "data", "it is on port 8001")
    finally:
        os.close(lock)
    os.close(claim_folder(tmp_path / "new" / "data", "it is on port 8001"))


@pytest.mark.parametrize("below", ["", "data"])
def test_a_file_is_no_folder(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Refused, match=r"file is a file\. It must be a folder"):
        claim_folder(tmp_path / "file" / below, "")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(Refused, match="nothing can be written there \\(permission denied"):
        claim_folder(tmp_path, "")


def test_where_nobody_can_make_a_folder_it_is_refused() -> None:
    with pytest.raises(Refused, match="nothing can be written there"):
        claim_folder(Path("/proc/darkroom"), "")


def test_a_file_system_without_locks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(
        Refused, match=r"no file can be locked there \(no locks available\)\. Choose a folder on a disk"
    ):
        claim_folder(tmp_path, "")


@pytest.mark.parametrize("options", [(), (socket.SO_REUSEADDR,), (socket.SO_REUSEADDR, socket.SO_REUSEPORT)])
def test_a_port_on_which_another_program_listens_is_refused(options: tuple[int, ...]) -> None:
    with listening(*options) as other:
        port = str(other.getsockname()[1])
        for host in ("127.0.0.1", "0.0.0.0"):  # noqa: S104
            with pytest.raises(Refused, match=f"Port {port} is taken by another program. .*: PORT={int(port) + 1}"):
                claim_port("PORT", port, host)


def test_a_claimed_port_is_had_once_and_can_be_served_from() -> None:
    port = str(free_port())
    with claim_port("PORT", port, "127.0.0.1"):
        with pytest.raises(Refused, match="is taken"):
            claim_port("PORT", port, "127.0.0.1")
        # As granian listens: with SO_REUSEPORT.
        with (
            socket.create_server(("127.0.0.1", int(port)), reuse_port=True) as server,
            socket.create_connection(("127.0.0.1", int(port))),
            server.accept()[0],
        ):
            pass
    # The connection that the server has closed lingers.
    claim_port("PORT", port, "127.0.0.1").close()


@pytest.mark.parametrize("port", ["web", "0", "65536", "-1"])
def test_a_port_is_a_number(port: str) -> None:
    with pytest.raises(Refused, match=f"PORT is {port}; it must be a number from 1 to 65535"):
        claim_port("PORT", port, "127.0.0.1")


@pytest.mark.parametrize("host", ["198.51.100.1", "no such host"])
def test_an_address_of_another_machine_is_refused(host: str) -> None:
    with pytest.raises(Refused, match=f"HOST is {host}, and this machine has no such address"):
        claim_port("PORT", str(free_port()), host)
