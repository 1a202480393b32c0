"""Colour of any kind to sRGB, as browsers show it."""

from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

from uploads.formats import Colour


def in_srgb(image: Image.Image, colour: Colour) -> Image.Image:
    """The picture, of mode L, RGB or CMYK, as RGB."""
    if colour.icc:
        try:
            source = ImageCms.ImageCmsProfile(BytesIO(colour.icc))
            return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), image.mode, "RGB").apply(image)
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass  # a broken profile, or one for another kind of picture, is as good as none
    return image.convert("RGB")
