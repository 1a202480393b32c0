from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from workflows import sample


class Command(BaseCommand):
    help = "Write a sample photo: a lake at sunset, drawn here, with the EXIF data that a camera would add."
    requires_system_checks = ()
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE", help="where to write the JPEG, such as holiday.jpg")

    def handle(self, *args: Any, file: Path, **options: Any) -> None:
        if file.suffix.lower() not in {".jpg", ".jpeg"}:
            raise CommandError(f"The sample is a JPEG: give it a name like {file.stem or 'holiday'}.jpg.", returncode=2)
        try:
            photo = sample.jpeg()
            with file.open("xb") as out:
                out.write(photo)
        except FileExistsError as error:
            raise CommandError(f"{file} exists already; it was not replaced.") from error
        except OSError as error:
            raise CommandError(f"{file} cannot be written: {error.strerror}.") from error
        self.stdout.write(f"{file}: {sample.WIDTH} × {sample.HEIGHT} pixels")
