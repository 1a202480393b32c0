"""What the picture steps cost beside the same done by hand with Pillow: `python -m tests.benchmarks.pictures`.

CPU seconds of one core, medians of interleaved rounds; only ratios mean anything.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from io import BytesIO

from PIL import Image, ImageOps

from tests import pictures
from workflows import images
from workflows.generators import PROMPT_VERSIONS
from workflows.generators.local import LocalGenerator

SIDE = 2048
LIMIT = 50_000_000


def by_hand_decode(data: bytes) -> Image.Image:
    opened = Image.open(BytesIO(data))
    opened.draft("RGB", (SIDE, SIDE))
    image = ImageOps.exif_transpose(opened).convert("RGB")
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return image


def by_hand_jpeg(image: Image.Image) -> bytes:
    out = BytesIO()
    image.save(out, "JPEG", quality=92, subsampling=0, optimize=True, progressive=True)
    return out.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    photo = pictures.encoded(pictures.landscape(4608, 3456), "JPEG", quality=90)
    small = pictures.encoded(pictures.landscape(2304, 1728), "JPEG", quality=90)
    decoded = images.decode(BytesIO(photo), max_pixels=LIMIT, max_side=SIDE)
    work = images.encode_work(decoded)
    rivals: dict[str, Callable[[], object]] = {
        "decode 16 MP, by hand": lambda: by_hand_decode(photo),
        "decode 16 MP": lambda: images.decode(BytesIO(photo), max_pixels=LIMIT, max_side=SIDE),
        "decode 4 MP": lambda: images.decode(BytesIO(small), max_pixels=LIMIT, max_side=SIDE),
        "full as JPEG, by hand": lambda: by_hand_jpeg(decoded),
        "full": lambda: images.encode_full(decoded),
        "preview with watermark": lambda: images.encode_preview(decoded, "Darkroom"),
        "thumbnail": lambda: images.encode_thumbnail(decoded),
    }
    for version in PROMPT_VERSIONS:
        rivals[f"generate {version}"] = partial(LocalGenerator().generate, work, version, _unheard)
    took: dict[str, list[float]] = {name: [] for name in rivals}
    for _ in range(rounds):
        for name, work_of in rivals.items():
            began = time.process_time()
            work_of()
            took[name].append(time.process_time() - began)
    medians = {name: statistics.median(times) for name, times in took.items()}
    print(f"\n{'pictures':28} {'CPU s':>8} {'of by hand':>11}")
    for name, median in medians.items():
        hand = {"decode 16 MP": "decode 16 MP, by hand", "full": "full as JPEG, by hand"}.get(name)
        print(f"{name:28} {median:8.3f} {median / medians[hand] if hand else float('nan'):11.2f}")


def _unheard(fraction: float) -> None:
    """Nobody watches a bench."""


if __name__ == "__main__":
    main()
