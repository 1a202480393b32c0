"""Picture formats: what a file is, how large, and what its decoder needs, found before anything is decoded.

A format is one file here and one line in `detect.FORMATS`.
"""

from uploads.formats.detect import FORMATS, MAX_MEMORY, Inspected, detect, inspect, open_picture, orientation_of
from uploads.formats.jpeg import JPEG, is_damaged
from uploads.formats.outline import Chromaticities, Cicp, Colour, Format, Header, Outline, refuse_damage

__all__ = [
    "FORMATS",
    "JPEG",
    "MAX_MEMORY",
    "Chromaticities",
    "Cicp",
    "Colour",
    "Format",
    "Header",
    "Inspected",
    "Outline",
    "detect",
    "inspect",
    "is_damaged",
    "open_picture",
    "orientation_of",
    "refuse_damage",
]
