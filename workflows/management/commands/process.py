"""Whole jobs in a terminal, through the same record and the same runner as everywhere else."""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from django.core.files import File
from django.core.files.uploadedfile import UploadedFile
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connection
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from uploads.errors import CodedError
from uploads.intake import receive
from uploads.models import Session, Upload
from workflows import runner
from workflows.generators import PROMPT_VERSIONS

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".avif", ".heic", ".heif"}
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
        return json.dumps(told, ensure_ascii=False)


class Command(BaseCommand):
    help = (
        "Develop pictures here and now. On a terminal it shows bars; elsewhere it prints one JSON object for each "
        "picture. Exit status: 0 all done, 1 some failed, 2 the command makes no sense."
    )
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("paths", nargs="+", type=Path, metavar="PICTURE", help="pictures, or folders of them")
        parser.add_argument("-o", "--output", type=Path, help="a file for one picture, a folder for several")
        parser.add_argument("--prompt", choices=PROMPT_VERSIONS, default="", help="the look")

    def handle(self, *args: Any, paths: list[Path], output: Path | None, prompt: str, **options: Any) -> None:
        pictures = list(_pictures(paths))
        _check(paths, pictures, output)
        # What happens is shown by the bars, and what went wrong by a sentence for each picture.
        logging.getLogger("workflows").setLevel(logging.ERROR)
        console = Console(stderr=True)
        failed = 0
        with _bars(console) as bars:
            for picture in pictures:
                done = _process(picture, _target(picture, output, len(pictures)), prompt, bars)
                failed += bool(done.code)
                self._tell(done, console)
        if failed:
            sys.exit(1)

    def _tell(self, done: Done, console: Console) -> None:
        if not console.is_terminal:
            self.stdout.write(done.as_json())
        elif done.code:
            console.print(f"{done.file}: {done.message}", style="red", markup=False, highlight=False)
        else:
            console.print(f"{done.file} → {done.output}", markup=False, highlight=False)


def _pictures(paths: list[Path]) -> Iterator[Path]:
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        inside = sorted(found for found in path.rglob("*") if found.suffix.lower() in SUFFIXES and found.is_file())
        yield from (found for found in inside if not found.stem.endswith(MARK))


def _check(paths: list[Path], pictures: list[Path], output: Path | None) -> None:
    """Before anything is begun: a mistake in the last word should not be told after an hour."""
    if missing := [path for path in paths if not path.exists()]:
        raise CommandError(f"There is no {missing[0]}.", returncode=2)
    if not pictures:
        raise CommandError("There are no pictures in it.", returncode=2)
    one_file = output is not None and output.suffix and not output.is_dir()
    if one_file and len(pictures) > 1:
        raise CommandError(f"{len(pictures)} pictures do not fit into one file: give a folder.", returncode=2)
    if one_file and output and output.suffix.lower() not in FORMATS:
        raise CommandError(f"The output ends in one of: {', '.join(FORMATS)}.", returncode=2)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM uploads_upload LIMIT 1")
    except DatabaseError as error:
        raise CommandError("The database is not ready: run `python manage.py migrate`.", returncode=2) from error


def _target(picture: Path, output: Path | None, count: int) -> Path:
    """Without a suffix the result's own is added."""
    if output is None:
        return picture.with_name(picture.stem + MARK)
    if count == 1 and output.suffix and not output.is_dir():
        return output
    return output / (picture.stem + MARK)


@contextmanager
def _bars(console: Console) -> Iterator[Progress]:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        yield bars


def _process(picture: Path, target: Path, prompt: str, bars: Progress) -> Done:
    began = time.monotonic()
    done = Done(picture, 0)
    try:
        upload = _received(picture, prompt)
        done.job = str(upload.pk)
        with _shown(upload, picture.name, bars):
            _develop(upload)
        done.output = _saved(upload, target)
    except CodedError as error:
        done.code, done.message = error.code, error.message
    except OSError as error:
        done.code, done.message = "INTERNAL", f"{error.strerror or error}: {error.filename or picture}"
    done.seconds = time.monotonic() - began
    return done


def _received(picture: Path, prompt: str) -> Upload:
    with picture.open("rb") as file:
        session, _ = Session.objects.open()
        sent: UploadedFile[Any] = UploadedFile(file, picture.name, size=picture.stat().st_size)
        return receive(sent, session, prompt_version=prompt, source="terminal").upload


def _develop(upload: Upload) -> None:
    """Workers may be about, and take a step before we do: then theirs is waited for."""
    try:
        while upload.step:
            if not runner.run(upload.step, str(upload.pk), "terminal"):
                time.sleep(0.2)
            upload.refresh_from_db()
    except KeyboardInterrupt:
        upload.cancel()
        raise
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


def _saved(upload: Upload, target: Path) -> Path:
    full = upload.result.full
    own = Path(str(full.name)).suffix
    if target.suffix not in FORMATS:
        target = target.with_name(target.name + own)
    with full.open("rb") as file:
        data = _as(file, own, target.suffix.lower())
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.part")
    aside.write_bytes(data)
    aside.rename(target)
    return target


def _as(file: File[Any], own: str, wanted: str) -> bytes:
    """The result as it is, or encoded anew when another kind of file was asked for."""
    if FORMATS[own] == FORMATS[wanted]:
        return bytes(file.read())
    out = BytesIO()
    with Image.open(file) as image:
        image.save(out, FORMATS[wanted], quality=92)
    return out.getvalue()
