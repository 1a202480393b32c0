"""A contact sheet of every look: `python -m tests.tools.sheet OUT.png [PICTURE …]`.

Without a PICTURE it draws made ones.
"""

import sys
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from tests.support import pictures
from uploads.errors import CodedError
from workflows import images
from workflows.generators import PROMPT_VERSIONS
from workflows.generators.local import LocalGenerator

CELL, GAP, CAPTION = 420, 12, 24


def originals(paths: list[str]) -> dict[str, Image.Image]:
    if not paths:
        return pictures.kinds()
    return {Path(path).stem: opened(Path(path)) for path in paths}


def opened(path: Path) -> Image.Image:
    with path.open("rb") as file:
        return images.decode(file, max_pixels=100_000_000, max_side=2048)


def row(image: Image.Image) -> list[Image.Image]:
    work, generator = images.encode_work(image), LocalGenerator()
    looks = [generator.generate(work, version, lambda _: None) for version in PROMPT_VERSIONS]
    return [image, *(Image.open(BytesIO(look)) for look in looks)]


def fitted(image: Image.Image) -> Image.Image:
    scale = CELL / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.NEAREST)


def sheet(rows: dict[str, list[Image.Image]]) -> Image.Image:
    cells = {name: [fitted(image) for image in pictured] for name, pictured in rows.items()}
    heights = [max(cell.height for cell in row) + CAPTION + GAP for row in cells.values()]
    page = Image.new("RGB", ((1 + len(PROMPT_VERSIONS)) * (CELL + GAP) + GAP, sum(heights) + GAP), (150, 150, 150))
    font, top = ImageFont.load_default(15), GAP
    for (name, pictured), height in zip(cells.items(), heights, strict=True):
        for column, (label, cell) in enumerate(zip((name, *PROMPT_VERSIONS), pictured, strict=True)):
            left = GAP + column * (CELL + GAP)
            ImageDraw.Draw(page).text((left, top), label, "black", font)
            page.paste(cell, (left, top + CAPTION))
        top += height
    return page


if __name__ == "__main__":
    target, *paths = sys.argv[1:]
    try:
        rows = {name: row(image) for name, image in originals(paths).items()}
    except OSError as error:
        sys.exit(f"There is no sheet: {error.filename}: {error.strerror}.")
    except CodedError as error:
        sys.exit(f"There is no sheet: {error.message}")
    sheet(rows).save(target)
    print(f"The sheet is {Path(target).resolve()}: {len(rows)} pictures, each in {len(PROMPT_VERSIONS)} looks.")
