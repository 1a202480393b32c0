"""Hostile pictures, made here; and what Darkroom must answer to each.

python -m tests.support.corpus     tries each in a process of its own, and tells its time and peak memory
"""

import struct
import zipfile
import zlib
from collections.abc import Callable
from functools import cache, partial
from io import BytesIO
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageCms

from tests.support import floods, pictures
from tests.support.pictures import chunk, encoded, landscape, quarters

MARKER = b"FOREIGN-BYTES-3f9a"
SCRIPT = b"<script>" + MARKER + b"</script>"
GOOD = "completed"
PNG_HEAD = b"\x89PNG\r\n\x1a\n"


class Hostile(NamedTuple):
    make: Callable[[], bytes]
    outcome: str
    """`completed`, or the code of the refusal; of several, any will do."""


def _png(*chunks: bytes) -> bytes:
    return PNG_HEAD + b"".join(chunks) + chunk(b"IEND", b"")


def _ihdr(width: int, height: int, depth: int = 8, colour: int = 2) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))


def _png_bomb(width: int, height: int) -> bytes:
    """All of its pixels, in as few bytes as deflate can."""
    rows = zlib.compressobj(9)
    row = bytes(1 + width // 8 + (width % 8 > 0))
    body = b"".join(rows.compress(row) for _ in range(height)) + rows.flush()
    return _png(_ihdr(width, height, 1, 0), chunk(b"IDAT", body))


def _with_chunks(*more: bytes) -> bytes:
    data = encoded(quarters(), "PNG")
    return data[:33] + b"".join(more) + data[33:]


def _jpeg_with(marker: int, body: bytes) -> bytes:
    data = encoded(quarters(), "JPEG")
    segments = [body[at : at + 65533] for at in range(0, len(body), 65533)]
    return (
        data[:2] + b"".join(b"\xff" + bytes([marker]) + struct.pack(">H", len(s) + 2) + s for s in segments) + data[2:]
    )


def _jpeg_that_claims(width: int, height: int) -> bytes:
    data = encoded(quarters(), "JPEG")
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def _extents_that_claim(kind: str, width: int, height: int) -> bytes:
    data = encoded(quarters(), kind)
    at = data.index(b"ispe") + 8
    return data[:at] + struct.pack(">II", width, height) + data[at + 8 :]


def _zip() -> bytes:
    out = BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("payload.html", SCRIPT)
    return out.getvalue()


def _gif_of_frames(count: int) -> bytes:
    frame = b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    return pictures.gif_that_claims(1, 1)[:-1] + frame * (count - 1) + b";"


def _exif(size: int) -> bytes:
    exif = Image.Exif()
    exif[0x010E] = MARKER.decode() + "x" * size
    return exif.tobytes()


def _profile(size: int) -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes() + MARKER + bytes(size)


def _noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 255, (height, width, 3), np.uint8))


TOO_LARGE, BROKEN, UNSUPPORTED = "IMAGE_TOO_LARGE", "UNREADABLE_IMAGE", "UNSUPPORTED_TYPE"
KINDS = ("JPEG", "PNG", "WEBP", "GIF", "AVIF", "HEIC")


@cache
def _plain(kind: str) -> bytes:
    return encoded(landscape(), kind)


def _half(kind: str) -> bytes:
    return _plain(kind)[: len(_plain(kind)) // 2]


FILES: dict[str, tuple[Callable[[], bytes], str]] = {
    # Bombs
    "png of 20000 by 20000 in 50 kB": (lambda: _png_bomb(20_000, 20_000), TOO_LARGE),
    "png of 7000 by 7000 in 7 kB": (lambda: _png_bomb(7_000, 7_000), GOOD),
    "png, 65535 wide": (lambda: _png_bomb(65_535, 700), GOOD),
    "png that claims two billion": (lambda: pictures.png_that_claims(2**31 - 1, 2**31 - 1), TOO_LARGE),
    "jpeg that claims 65535 by 65535": (lambda: _jpeg_that_claims(65_535, 65_535), TOO_LARGE),
    "jpeg that claims 65535 by 1": (lambda: _jpeg_that_claims(65_535, 1), f"{GOOD} {BROKEN}"),
    "webp that claims 16383 by 16383": (
        lambda: pictures.webp_that_claims(16_383, 16_383, _plain("WEBP")),
        TOO_LARGE,
    ),
    "gif that claims 65535 by 65535": (lambda: pictures.gif_that_claims(65_535, 65_535), TOO_LARGE),
    "avif that claims 60000 by 60000": (lambda: _extents_that_claim("AVIF", 60_000, 60_000), TOO_LARGE),
    "heic that claims 60000 by 60000": (lambda: _extents_that_claim("HEIC", 60_000, 60_000), TOO_LARGE),
    "gif of 10000 frames": (lambda: _gif_of_frames(10_000), GOOD),
    "gif of 100 frames of 480 by 320": (
        lambda: _gif_of_frames(1)[:-1] + _plain("GIF")[13:-1] * 100,
        f"{GOOD} {TOO_LARGE} {BROKEN}",
    ),
    "png with 30 MB of text in 30 kB": (
        lambda: _with_chunks(chunk(b"zTXt", b"note\0\0" + zlib.compress(bytes(30_000_000)))),
        f"{GOOD} {BROKEN}",
    ),
    "png with a colour profile of 30 MB in 30 kB": (
        lambda: _with_chunks(chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(30_000_000)))),
        f"{GOOD} {BROKEN}",
    ),
    "noise that does not compress": (lambda: encoded(_noise(2_000, 1_500), "PNG"), GOOD),
    # Broken off, and nothing at all
    **{f"half of a {kind.lower()}": (partial(_half, kind), BROKEN) for kind in KINDS},
    "png of 0 by 0": (lambda: _png(_ihdr(0, 0), chunk(b"IDAT", zlib.compress(b""))), BROKEN),
    "png of 5 by 0": (lambda: _png(_ihdr(5, 0), chunk(b"IDAT", zlib.compress(b""))), BROKEN),
    "jpeg of 0 by 0": (lambda: _jpeg_that_claims(0, 0), BROKEN),
    "gif of 0 by 0": (lambda: pictures.gif_that_claims(0, 0), BROKEN),
    "only a signature": (lambda: PNG_HEAD, BROKEN),
    # Two kinds at once
    "jpeg and html": (lambda: _jpeg_with(0xFE, SCRIPT) + SCRIPT, GOOD),
    "jpeg and zip": (lambda: _plain("JPEG") + _zip(), GOOD),
    "png and html": (lambda: _with_chunks(chunk(b"tEXt", b"note\0" + SCRIPT)) + SCRIPT, GOOD),
    "gif and javascript": (
        lambda: b"GIF89a" + _plain("GIF")[6:-1] + b"!\xfe" + bytes([len(SCRIPT)]) + SCRIPT + b"\0;" + SCRIPT,
        GOOD,
    ),
    "webp and zip": (lambda: _plain("WEBP") + _zip(), GOOD),
    "html that ends in a jpeg": (lambda: SCRIPT + _plain("JPEG"), UNSUPPORTED),
    # Much beside the pixels
    "jpeg with a comment of 5 MB": (lambda: _jpeg_with(0xFE, MARKER * 300_000), f"{GOOD} {BROKEN}"),
    "jpeg with 60 kB of exif": (lambda: encoded(quarters(), "JPEG", exif=_exif(60_000)), GOOD),
    "jpeg with 1 MB of colour profile": (
        lambda: encoded(quarters(), "JPEG", icc_profile=_profile(1_000_000)),
        GOOD,
    ),
    "jpeg with 60 kB of xmp": (lambda: _jpeg_with(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + MARKER * 3_000), GOOD),
    "png with 1 MB of exif": (lambda: encoded(quarters(), "PNG", exif=_exif(1_000_000)), GOOD),
    "webp with 1 MB of everything": (
        lambda: encoded(
            quarters(), "WEBP", exif=_exif(1_000_000), icc_profile=_profile(1_000_000), xmp=MARKER * 50_000
        ),
        GOOD,
    ),
    **{name: (make, BROKEN) for name, make in floods.FLOODS.items()},
    **{name: (make, GOOD) for name, make in floods.HARMLESS.items()},
    "jpeg of 90 scans": (lambda: floods.jpeg_of_scans(90), GOOD),
    "gif with zeros between its blocks": (lambda: floods.gif(bytes(100_000)), GOOD),
    # Seldom, and right
    "16 bits of grey": (pictures.sixteen_bit_grey, GOOD),
    "cmyk": (lambda: encoded(quarters().convert("CMYK"), "JPEG"), GOOD),
    # Not ours
    "svg": (lambda: b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", UNSUPPORTED),
    "pdf": (lambda: b"%PDF-1.7\n1 0 obj\n", UNSUPPORTED),
    "tiff": (lambda: encoded(quarters(), "TIFF"), UNSUPPORTED),
    "bmp": (lambda: encoded(quarters(), "BMP"), UNSUPPORTED),
    "zip": (_zip, UNSUPPORTED),
    "mp4": (lambda: b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom", UNSUPPORTED),
    "nothing": (lambda: b"", UNSUPPORTED),
    "zeros": (lambda: bytes(1_000_000), UNSUPPORTED),
}
CORPUS = {name: Hostile(*each) for name, each in FILES.items()}

TRY = """
import sys, time
from io import BytesIO
from uploads.errors import Rejected
from workflows import images
data = open(sys.argv[1], "rb").read()
began = time.monotonic()
try:
    images.decode(BytesIO(data), max_pixels=50_000_000, max_side=2048)
    outcome = "completed"
except Rejected as error:
    outcome = error.code
seconds = time.monotonic() - began
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(outcome, f"{seconds:.2f}", peak // 1024, sep="\\t")
"""


def main() -> None:
    import subprocess
    import sys
    import tempfile

    print("outcome\tseconds\tpeak MiB\tfile")
    with tempfile.NamedTemporaryFile() as file:
        for name, hostile in CORPUS.items():
            file.seek(0)
            file.truncate()
            file.write(hostile.make())
            file.flush()
            tried = subprocess.run(
                [sys.executable, "-W", "ignore", "-c", TRY, file.name], capture_output=True, text=True
            )
            print(tried.stdout.strip() or f"died: {tried.returncode} {tried.stderr[-200:]}", name, sep="\t", flush=True)


if __name__ == "__main__":
    main()
