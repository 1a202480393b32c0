"""Whether those that do part of the work for us let us in: one picture from the model, one file through the storage."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

from django.conf import settings
from django.core.files.storage import default_storage
from django.core.management.base import BaseCommand, CommandError
from PIL import Image, ImageDraw
from uuid_utils.compat import uuid7

from uploads.errors import Rejected
from uploads.ledger import Outcome
from uploads.storage import pictures
from workflows import images
from workflows.generators.provider import Answer

WORTH_KNOWING = {
    Outcome.REFUSED: "Look at GEMINI_API_KEY and GEMINI_MODEL, and whether the key's project may use that model.",
    Outcome.BUSY: "The quota of the key is used up for now: jobs would wait.",
    Outcome.UNREACHABLE: "Nobody answers there: look at the network, a proxy, and GEMINI_BASE_URL.",
    Outcome.LOST: "The connection broke, or no answer came in time: jobs would try again.",
    Outcome.FAILED: "A failure on the other side, or a request that this model does not take: jobs would try again.",
    Outcome.BLOCKED: "The sample was declined, which it should not be: look at the prompt.",
    Outcome.NO_PICTURE: "It answered without a picture: is GEMINI_MODEL one that draws?",
}
BUCKET = {
    "NoSuchBucket": "There is no such bucket at this address: look at S3_BUCKET and S3_ENDPOINT_URL.",
    "AccessDenied": "The key may not do that; it needs to read, write, list and delete in this bucket.",
    "InvalidAccessKeyId": "The storage does not know S3_ACCESS_KEY_ID.",
    "SignatureDoesNotMatch": "S3_SECRET_ACCESS_KEY is not the one that belongs to S3_ACCESS_KEY_ID.",
    "NotImplemented": "This storage cannot write only if a name is free (If-None-Match), which Darkroom needs.",
    "EndpointConnectionError": "Nobody answers there: look at S3_ENDPOINT_URL and the network.",
    "ConnectTimeoutError": "Nobody answers there: look at S3_ENDPOINT_URL and the network.",
    "NoCredentialsError": "Set S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY.",
}


class Command(BaseCommand):
    help = (
        "Send a made sample to Gemini, if there is a key, and a small file through the storage; print what each "
        "answered, its cost and its time. Gemini's part costs money, and does not appear in the ledger. "
        "Exit status: 0 all well, 1 not."
    )
    requires_system_checks = ()
    requires_migrations_checks = False

    def handle(self, *args: Any, **options: Any) -> None:
        well = [self._check_gemini(), self._check_storage()]
        if not all(well):
            raise CommandError("Not all is well.", returncode=1)

    def _check_gemini(self) -> bool:
        if not settings.GEMINI_API_KEY:
            self.stdout.write("Gemini: there is no GEMINI_API_KEY; pictures are drawn here, for nothing.")
            return True
        from workflows.generators.gemini import GeminiProvider  # noqa: PLC0415 - a client that may not be needed

        provider = GeminiProvider()
        where = settings.GEMINI_BASE_URL or "Google"
        self.stdout.write(f"Gemini: {provider.model} at {where}, prompt {settings.PROMPT_VERSION} …")
        began = time.monotonic()
        answer = provider.ask(_sample(), settings.PROMPT_VERSION, settings.STEP_TIMEOUT.total_seconds())
        well, words = _judged(answer)
        cost = "unknown" if answer.cost_usd is None else f"${answer.cost_usd}"
        tokens = ", ".join(f"{count} {kind}" for kind, count in answer.tokens.items()) or "not told"
        self.stdout.write(f"  {words}")
        self.stdout.write(f"  {time.monotonic() - began:.1f} s, cost {cost}, tokens: {tokens}")
        if settings.GENERATOR != "gemini":
            self.stdout.write("  It is not used: GENERATOR is not gemini.")
        return well

    def _check_storage(self) -> bool:
        where = settings.S3_ENDPOINT_URL or "Amazon"
        place = f"bucket {settings.S3_BUCKET} at {where}" if settings.S3_BUCKET else f"folder {settings.MEDIA_ROOT}"
        self.stdout.write(f"Storage: {place} …")
        # As of an upload that never was: retention collects what a check leaves behind.
        folder = str(uuid7())
        try:
            self._check_file(folder, f"{folder}/check.png", _sample())
        except OSError as error:
            hint = next((hint for code, hint in BUCKET.items() if code in str(error)), "")
            self.stdout.write(f"  {error}\n  {hint}".rstrip())
            return False
        return True

    def _check_file(self, folder: str, name: str, data: bytes) -> None:
        with self._timed("write"):
            pictures().put_if_absent(name, data)
        with self._timed("write the same name again, which is refused"):
            again = pictures().put_if_absent(name, b"another")
            _expect(not again, "a second file took the place of the first: the storage ignores If-None-Match")
        with self._timed("read"), default_storage.open(name) as file:
            _expect(file.read() == data, "what was read is not what was written")
        if settings.S3_BUCKET:
            self._check_links(name, data)
        with self._timed("list"):
            _expect(folder in pictures().folders(), "the file is not listed")
        with self._timed("delete"):
            pictures().delete_folder(folder)

    def _check_links(self, name: str, data: bytes) -> None:
        link = default_storage.url(name)
        with self._timed("read through a signed link"):
            _expect(_fetched(link) == data, "the link shows something else")
        with self._timed("read without a signature, which is refused"):
            public = _fetched(link.partition("?")[0]) == data
            _expect(not public, "the file can be read without a signature: the bucket is public, and must not be")

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.stdout.write(f"  {what}: {1000 * (time.monotonic() - began):.0f} ms")


def _sample() -> bytes:
    """A house on a hill in the evening: nothing that anybody could mind."""
    image = Image.new("RGB", (640, 480), (250, 190, 120))
    draw = ImageDraw.Draw(image)
    draw.ellipse((420, 60, 520, 160), (255, 240, 180))
    draw.polygon([(0, 480), (0, 330), (320, 240), (640, 350), (640, 480)], (70, 110, 60))
    draw.rectangle((230, 200, 370, 300), (150, 60, 50))
    draw.polygon([(210, 200), (300, 120), (390, 200)], (60, 40, 40))
    return images.encode_work(image)


def _judged(answer: Answer) -> tuple[bool, str]:
    if answer.picture is None:
        told = f"{answer.error_kind}: {answer.reason}".rstrip(": ")
        return False, f"No picture ({answer.outcome}). It says: {told}\n  {WORTH_KNOWING[answer.outcome]}"
    try:
        drawn = images.decode(
            BytesIO(answer.picture), max_pixels=settings.UPLOAD_MAX_PIXELS, max_side=settings.WORK_MAX_SIDE
        )
    except Rejected as error:
        return False, f"A picture came that cannot be used: {error.message}"
    return True, f"A picture of {drawn.width} × {drawn.height} came, {len(answer.picture) // 1024} KiB."


def _expect(condition: bool, otherwise: str) -> None:
    if not condition:
        raise OSError(otherwise)


def _fetched(link: str) -> bytes | None:
    """None when it is refused."""
    try:
        with urllib.request.urlopen(link, timeout=30) as response:  # noqa: S310 - the storage's own
            return bytes(response.read())
    except urllib.error.HTTPError as error:
        error.close()
        return None
