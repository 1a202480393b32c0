"""What each picture step costs beside the same done by hand with Pillow: `python -m tests.benchmarks.pictures`.

CPU seconds of one core, and the memory that a whole picture takes at its peak, in processes of their own.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from tests.benchmarks import report
from tests.support import pictures
from workflows import images
from workflows.generators import PROMPT_VERSIONS
from workflows.generators.brushes import Array
from workflows.generators.local import LocalGenerator

SIDE = 2048
LIMIT = 50_000_000
MARK = "Darkroom"
BY_HAND = "by hand"
STROKE = "blurred and displaced"
ENOUGH = 0.3
"""Seconds to measure one thing for, in each round."""
SIZES = {12: (4000, 3000), 24: (6000, 4000), 48: (8000, 6000)}
"""Of what cameras make, by their megapixels."""


def by_hand_decode(data: bytes) -> Image.Image:
    opened = Image.open(BytesIO(data))
    opened.draft("RGB", (SIDE, SIDE))
    image = ImageOps.exif_transpose(opened).convert("RGB")
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return image


def by_hand_full(image: Image.Image) -> bytes:
    out = BytesIO()
    image.save(out, "JPEG", quality=92, subsampling=0, optimize=True, progressive=True)
    return out.getvalue()


def by_hand_preview(image: Image.Image) -> bytes:
    preview = image.copy()
    preview.thumbnail((images.PREVIEW_SIDE, images.PREVIEW_SIDE), Image.Resampling.LANCZOS)
    layer = Image.new("RGBA", (2 * preview.width, 2 * preview.height), (255, 255, 255, 0))
    draw, font = ImageDraw.Draw(layer), ImageFont.load_default(preview.width / 24)
    for y in range(0, layer.height, preview.height // 8):
        for x in range(0, layer.width, preview.width // 4):
            draw.text((x, y), MARK, (255, 255, 255, 100), font)
    turned = layer.rotate(30, Image.Resampling.BICUBIC)
    left, top = preview.width // 2, preview.height // 2
    over = turned.crop((left, top, left + preview.width, top + preview.height))
    out = BytesIO()
    Image.alpha_composite(preview.convert("RGBA"), over).convert("RGB").save(out, "WEBP", quality=82)
    return out.getvalue()


def by_hand_thumbnail(image: Image.Image) -> bytes:
    thumbnail = image.copy()
    thumbnail.thumbnail((images.THUMBNAIL_SIDE, images.THUMBNAIL_SIDE), Image.Resampling.LANCZOS)
    out = BytesIO()
    thumbnail.save(out, "WEBP", quality=80)
    return out.getvalue()


def by_hand_stroke(image: Image.Image) -> list[Array]:
    """Do a little of what a generator's time goes to: how that compares to decoding depends on the processor."""
    planes = [np.asarray(band, np.float32) / 255 for band in image.split()]
    y, x = np.indices((image.height, image.width), np.float32) + 2.5
    blurred = [np.clip(cv2.GaussianBlur(plane, (25, 25), 4), 0.1, 0.9) for plane in planes]
    return [np.asarray(cv2.remap(plane, x, y, cv2.INTER_LINEAR), np.float32) for plane in blurred]


def main() -> None:
    parser = report.options(__doc__)
    chosen = parser.parse_args()
    photo = pictures.encoded(pictures.landscape(4608, 3456), "JPEG", quality=90)
    decoded = images.decode(BytesIO(photo), max_pixels=LIMIT, max_side=SIDE)
    work = images.encode_work(decoded)
    compared: dict[str, dict[str, Callable[[], object]]] = {
        "16 MP in, decoded": {
            BY_HAND: lambda: by_hand_decode(photo),
            "ours": lambda: images.decode(BytesIO(photo), max_pixels=LIMIT, max_side=SIDE),
        },
        "the result in full": {
            BY_HAND: lambda: by_hand_full(decoded),
            "ours": lambda: images.encode_full(decoded),
        },
        "preview with watermark": {
            BY_HAND: lambda: by_hand_preview(decoded),
            "ours": lambda: images.encode_preview(decoded, MARK),
        },
        "thumbnail": {
            BY_HAND: lambda: by_hand_thumbnail(decoded),
            "ours": lambda: images.encode_thumbnail(decoded),
        },
        "the local generator": {
            STROKE: lambda: by_hand_stroke(decoded),
            **{each: partial(LocalGenerator().generate, work, each, _unheard) for each in PROMPT_VERSIONS},
        },
    }
    tables = [
        report.Table(title, "CPU s", next(iter(rivals)), more_is_better=False) for title, rivals in compared.items()
    ]
    for _ in range(chosen.rounds):
        for table, rivals in zip(tables, compared.values(), strict=True):
            for name, work_of in rivals.items():
                table.add(name, _seconds(work_of))
    report.finish([*tables, _memory()], chosen)


def _seconds(work: Callable[[], object]) -> float:
    """Of the quickest of several, where they are quick."""
    taken: list[float] = []
    while sum(taken) < ENOUGH:
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return min(taken)


def _memory() -> report.Table:
    """At the peak of all that is done to a picture, over what a process takes that does nothing."""
    ours = tuple(f"ours, {megapixels} MP" for megapixels in SIZES)
    table = report.Table("memory at its peak, a megapixel", "MiB", "by hand, 12 MP", more_is_better=False, guarded=ours)
    with TemporaryDirectory() as folder:
        for megapixels, size in SIZES.items():
            file = Path(folder) / f"{megapixels}.jpg"
            pictures.landscape(*size).save(file, "JPEG", quality=90)
            for how in (BY_HAND, "ours"):
                peak, idle = (_peak(how, each) for each in (file, None))
                table.add(f"{how}, {megapixels} MP", (peak - idle) / megapixels)
    return table


def _peak(how: str, file: Path | None) -> float:
    arguments = [sys.executable, "-m", "tests.benchmarks.pictures", "--peak", how, str(file or "")]
    return float(subprocess.run(arguments, check=True, capture_output=True, text=True).stdout)


def _say_peak(how: str, file: str) -> None:
    """MiB."""
    if file:
        data = Path(file).read_bytes()
        if how == BY_HAND:
            image = by_hand_decode(data)
            by_hand_full(image), by_hand_preview(image), by_hand_thumbnail(image)
        else:
            image = images.decode(BytesIO(data), max_pixels=LIMIT, max_side=SIDE)
            images.encode_full(image), images.encode_preview(image, MARK), images.encode_thumbnail(image)
    # Not getrusage: there a process inherits the peak of the one that started it.
    print(int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024)


def _unheard(fraction: float) -> None:
    """Nobody watches a bench."""


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peak"]:
        _say_peak(*sys.argv[2:])
    else:
        main()
