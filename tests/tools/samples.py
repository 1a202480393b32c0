"""The samples of the looks, `static/img/look-*.webp`: `python -m tests.tools.samples`.

The sample photo (`manage.py sample`) in each look, by the local generator; the same bytes at every call.
"""

from io import BytesIO

from django.conf import settings
from PIL import Image

from workflows import images, sample
from workflows.generators import PROMPT_VERSIONS
from workflows.generators.local import LocalGenerator

PAINTED = (1200, 800)
"""Pixels in which it is painted: strokes are as wide as in a picture that fills a screen."""
SHOWN = (384, 256)
"""More than twice the size of a tile of the first page, for screens with dense pixels."""
QUALITY = 58


def samples() -> dict[str, bytes]:
    """WebP by prompt version."""
    photo = sample.picture().resize(PAINTED, Image.Resampling.LANCZOS)
    work, generator = images.encode_work(photo), LocalGenerator()
    return {version: _small(generator.generate(work, version, lambda _: None)) for version in PROMPT_VERSIONS}


def _small(painting: bytes) -> bytes:
    out = BytesIO()
    with Image.open(BytesIO(painting)) as image:
        image.convert("RGB").resize(SHOWN, Image.Resampling.LANCZOS).save(out, "WEBP", quality=QUALITY, method=6)
    return out.getvalue()


if __name__ == "__main__":
    for version, data in samples().items():
        file = settings.BASE_DIR / "static" / "img" / f"look-{version}.webp"
        file.write_bytes(data)
        print(f"{file}: {len(data):,} bytes")
