from math import inf
from typing import Any

from django.core.management.base import BaseCommand

from uploads.retention import retain


class Command(BaseCommand):
    help = "Remove what is kept no longer; beat does the same every hour."

    def handle(self, *args: Any, **options: Any) -> None:
        gone = retain(seconds=inf)
        if any(gone):
            self.stdout.write(
                f"expired {gone.expired}, rows {gone.rows}, deleted {gone.deleted},"
                f" files without an upload {gone.lost}, void attempts {gone.void}, sessions {gone.sessions}"
            )
