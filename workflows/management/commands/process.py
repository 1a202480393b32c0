"""Whole jobs in a terminal, through the same record and the same runner as everywhere else."""

from __future__ import annotations

import json
import logging
import os
import signal
import stat
import sys
import threading
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TextIO, cast

from django.core.files import File
from django.core.files.uploadedfile import UploadedFile
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connection
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from uploads import own_database
from uploads.errors import CodedError, NotAllowed
from uploads.intake import receive
from uploads.models import Session, Upload
from workflows import runner
from workflows.generators import PROMPT_VERSIONS

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".avif", ".heic", ".heif", ".hif", ".jfif", ".mpo")
FORMATS = {".webp": "WEBP", ".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}
MARK = ".darkroom"
"""Stands in the names that are chosen here, so that a folder's results are not taken for its pictures."""


@dataclass
class Done:
    file: Path
    seconds: float
    output: Path | None = None
    job: str | None = None
    code: str | None = None
    message: str | None = None

    def as_json(self) -> str:
        told: dict[str, Any] = {"file": str(self.file), "status": "failed" if self.code else "completed"}
        told |= {"output": self.output and str(self.output), "jobId": self.job, "seconds": round(self.seconds, 2)}
        if self.code:
            told["error"] = {"code": self.code, "message": self.message}
        return json.dumps(told)


class Interruption:
    """Ctrl-C cancels the job, and that ends the work: an exception could come in the middle of anything, and be taken
    for a fault of it. A second one is such an exception, for those who cannot wait."""

    def __init__(self) -> None:
        self._asked = False
        self._news: SimpleQueue[bool] = SimpleQueue()

    @contextmanager
    def listening(self) -> Iterator[None]:
        before = signal.getsignal(signal.SIGINT)
        if before is not signal.SIG_IGN:  # as a shell has it for what it starts in the background
            signal.signal(signal.SIGINT, self._ask)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def check(self) -> None:
        """Raises `KeyboardInterrupt` when it was asked for."""
        if self._asked:
            raise KeyboardInterrupt

    def _ask(self, *_: Any) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._asked = True
        self._news.put(True)

    @contextmanager
    def cancels(self, upload: Upload) -> Iterator[None]:
        """Also when it was asked for before; raises `KeyboardInterrupt` once the block has come to its end."""

        def wait() -> None:
            try:
                if self._news.get():
                    with suppress(NotAllowed, DatabaseError):
                        Upload(pk=upload.pk).cancel()
            finally:
                connection.close()

        waiter = threading.Thread(target=wait, name="interruption", daemon=True)
        waiter.start()
        try:
            yield
        finally:
            self._news.put(False)
            waiter.join()
            self.check()


class Command(BaseCommand):
    help = (
        "Develop pictures here and now. Bars are shown on a terminal. What has become of each picture is told on "
        "standard output, in words on a terminal and elsewhere as one JSON object a line. Exit status: 0 all done, "
        "1 some failed, 2 the command makes no sense, 130 interrupted."
    )
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("paths", nargs="+", type=Path, metavar="PICTURE", help="pictures, or folders of them")
        parser.add_argument("-o", "--output", type=Path, help="a file for one picture, a folder for several")
        parser.add_argument("-f", "--force", action="store_true", help="replace results that are there already")
        parser.add_argument("--prompt", choices=PROMPT_VERSIONS, default="", help="the look")

    def handle(
        self, *args: Any, paths: list[Path], output: Path | None, force: bool, prompt: str, **options: Any
    ) -> None:
        _check_paths(paths)
        pictures = _pictures(paths)
        _check(paths, pictures, output)
        _check_database()
        targets = _targets(pictures, output)
        _check_targets(pictures, targets)
        failed, interruption = 0, Interruption()
        logger = logging.getLogger("workflows")
        level = logger.level
        # What happens is shown by the bars, and what went wrong by a sentence for each picture.
        logger.setLevel(logging.ERROR)
        try:
            with interruption.listening():
                for picture, target in zip(pictures, targets, strict=True):
                    interruption.check()
                    done = _process(picture, target, prompt, force, interruption)
                    failed += bool(done.code)
                    self._tell(done)
        except KeyboardInterrupt:
            sys.exit(128 + signal.SIGINT)
        except DatabaseError as error:
            raise CommandError(f"The database does not answer: {error}") from error
        finally:
            logger.setLevel(level)
        if failed:
            sys.exit(1)

    def _tell(self, done: Done) -> None:
        out = cast("TextIO", self.stdout)
        try:
            if not out.isatty():
                out.write(done.as_json())
            elif not done.code:
                out.write(_legible(f"{done.file} → {done.output}", sys.stdout))
            if done.code and (out.isatty() or sys.stderr.isatty()):
                self.stderr.write(_legible(f"{done.file}: {done.message}", sys.stderr))
            out.flush()
        except OSError as error:
            _give_up_telling(error)


def _give_up_telling(error: OSError) -> None:
    # Or the interpreter would try once more, at its end.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
        sys.exit(128 + signal.SIGPIPE)
    raise CommandError(f"What has become of the pictures cannot be told: {error.strerror}.") from error


def _legible(text: str, stream: TextIO) -> str:
    """As far as the stream can show it; what is in a name must not move a terminal's cursor."""
    shown = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
    return shown.encode(stream.encoding, "backslashreplace").decode(stream.encoding)


def _check_paths(paths: list[Path]) -> None:
    for path in paths:
        # Path.is_file and its like answer False for every error from Python 3.14 on.
        try:
            mode = path.stat().st_mode
        except (FileNotFoundError, NotADirectoryError) as error:
            raise CommandError(f"There is no {path}.", returncode=2) from error
        except OSError as error:
            raise CommandError(f"{path}: {error.strerror}.", returncode=2) from error
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise CommandError(f"{path} is neither a file nor a folder.", returncode=2)


def _pictures(paths: list[Path]) -> list[Path]:
    """Each once, however often it is named."""
    found: dict[Path, Path] = {}
    for path in paths:
        for picture in [path] if not path.is_dir() else _inside(path):
            found.setdefault(picture.resolve(), picture)
    return list(found.values())


def _inside(folder: Path) -> Iterator[Path]:
    pictures = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    yield from sorted(path for path in pictures if not path.stem.endswith(MARK))


def _check(paths: list[Path], pictures: list[Path], output: Path | None) -> None:
    """Before anything is begun: a mistake in the last word should not be told after an hour."""
    if not pictures:
        folders = " or ".join(str(path) for path in paths)
        raise CommandError(f"There are no pictures in {folders}: no file ends in {', '.join(SUFFIXES)}.", returncode=2)
    one_file = output is not None and _is_file_name(output)
    if one_file and len(pictures) > 1:
        raise CommandError(f"{len(pictures)} pictures do not fit into one file: give a folder.", returncode=2)
    if one_file and output and output.suffix.lower() not in FORMATS:
        raise CommandError(f"The output ends in one of: {', '.join(FORMATS)}.", returncode=2)
    if output and not one_file and output.exists() and not output.is_dir():
        raise CommandError(f"{output} is no folder.", returncode=2)


def _check_database() -> None:
    try:
        own_database.migrate()
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM uploads_upload LIMIT 1")
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror}. Look at DATA_DIR and its owner.") from error
    except DatabaseError as error:
        words = " ".join(str(error).split())
        raise CommandError(f"The database is not ready: run `python manage.py migrate`. ({words})") from error


def _is_file_name(output: Path) -> bool:
    return bool(output.suffix) and not output.is_dir()


def _targets(pictures: list[Path], output: Path | None) -> list[Path]:
    """Where each result goes; no two to the same place. Without a suffix the result's own is added."""
    if output and _is_file_name(output):
        return [output]
    targets: dict[Path, None] = {}
    for picture in pictures:
        folder, number = output or picture.parent, 1
        target = folder / (picture.stem + MARK)
        while target in targets:
            number += 1
            target = folder / f"{picture.stem}-{number}{MARK}"
        targets[target] = None
    return list(targets)


def _check_targets(pictures: list[Path], targets: list[Path]) -> None:
    sent = {picture.resolve() for picture in pictures}
    for target in targets:
        if any(place.resolve() in sent for place in _places(target)):
            raise CommandError(f"{target} is one of the pictures: its result needs another name.", returncode=2)


def _places(target: Path) -> list[Path]:
    """What the file may be called in the end."""
    if target.suffix.lower() in FORMATS:
        return [target]
    return [target.with_name(target.name + suffix) for suffix in FORMATS]


@contextmanager
def _bars() -> Iterator[Progress]:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        yield bars


def _process(picture: Path, target: Path, prompt: str, force: bool, interruption: Interruption) -> Done:
    began = time.monotonic()
    done = Done(picture, 0)
    try:
        _make_room(target, force)
        upload = _received(picture, prompt)
        done.job = str(upload.pk)
        name = _legible(picture.name, sys.stderr)
        with interruption.cancels(upload), _bars() as bars, _shown(upload, name, bars):
            _develop(upload)
        done.output = _saved(upload, target, force)
    except CodedError as error:
        done.code, done.message = error.code, error.message
    except OSError as error:
        done.code, done.message = "INTERNAL", f"{error.strerror or error}: {error.filename or picture}"
    done.seconds = time.monotonic() - began
    return done


def _make_room(target: Path, force: bool) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if not force:
        for place in _places(target):
            _refuse_to_replace(place)


def _refuse_to_replace(place: Path) -> None:
    if os.path.lexists(place):
        raise CodedError("OUTPUT_EXISTS", f"{place} is there already; --force replaces it.")


def _received(picture: Path, prompt: str) -> Upload:
    with picture.open("rb") as file:
        session, _ = Session.objects.open()
        sent: UploadedFile[Any] = UploadedFile(file, picture.name, size=picture.stat().st_size)
        return receive(sent, session, prompt_version=prompt, source="terminal").upload


def _develop(upload: Upload) -> None:
    """Workers may be about, and take a step before we do: then theirs is waited for."""
    while upload.step:
        if not runner.run(upload.step, str(upload.pk), "terminal"):
            time.sleep(0.2)
        upload.refresh_from_db()
    if upload.error_code:
        raise CodedError(upload.error_code, upload.error_message)


@contextmanager
def _shown(upload: Upload, name: str, bars: Progress) -> Iterator[None]:
    """The bar follows the record, as any other poller would."""
    task, done = bars.add_task(name, total=100), threading.Event()

    def follow() -> None:
        try:
            while not done.wait(0.1):
                row = Upload.objects.only("stage", "progress").get(pk=upload.pk)
                bars.update(task, completed=row.progress, description=f"{name}: {row.stage or 'pending'}")
        finally:
            connection.close()

    follower = threading.Thread(target=follow, daemon=True)
    if not bars.disable:
        follower.start()
    try:
        yield
    finally:
        done.set()
        if follower.is_alive():
            follower.join()
        bars.remove_task(task)


def _saved(upload: Upload, target: Path, force: bool) -> Path:
    full = upload.result.full
    own = Path(str(full.name)).suffix
    if target.suffix.lower() not in FORMATS:
        target = target.with_name(target.name + own)
    with full.open("rb") as file:
        data = _as(file, own, target.suffix.lower())
    aside = target.with_name(f".{target.name}.part")
    try:
        aside.write_bytes(data)
        if not force:
            _refuse_to_replace(target)
        aside.rename(target)
    finally:
        aside.unlink(missing_ok=True)
    return target


def _as(file: File[Any], own: str, wanted: str) -> bytes:
    """The result as it is, or encoded anew when another kind of file was asked for."""
    if FORMATS[own] == FORMATS[wanted]:
        return bytes(file.read())
    out = BytesIO()
    with Image.open(file) as image:
        image.save(out, FORMATS[wanted], quality=92)
    return out.getvalue()
