"""The key that signs everything, when none is configured: a file in DATA_DIR."""

import os
import secrets
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile


def read_or_make(file: Path) -> str:
    """Return the key in `file`, writing a new one if there is none; processes that do so at once get the same.

    Raises OSError when the file can neither be read nor made.
    """
    with suppress(FileNotFoundError):
        return file.read_text().strip()
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with NamedTemporaryFile("w", dir=file.parent, prefix=".secret_key-") as aside:  # readable by its owner only
        aside.write(secrets.token_urlsafe(50))
        aside.flush()
        os.fsync(aside.fileno())
        # Unlike a rename, a link never replaces the key of a process that was quicker.
        with suppress(FileExistsError):
            os.link(aside.name, file)
    return file.read_text().strip()
