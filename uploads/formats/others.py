"""What else people send, by its first bytes, so that a refusal can name it."""

import re

EXPORT = "Please export it as JPEG, and send that."

OTHERS = (
    (rb"\xff\x0a|\0\0\0\x0cJXL ", f"This is a JPEG XL picture. {EXPORT}"),
    (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", f"This is a JPEG 2000 picture. {EXPORT}"),
    (rb"II[*U]\0|MM\0\*|IIRO|FUJIFILMCCD-RAW|.{4}ftypcrx ", f"This is a TIFF or a camera’s raw picture. {EXPORT}"),
    (rb"BM.{4}\0{4}", f"This is a BMP picture. {EXPORT}"),
    (rb"8BPS", f"This is a Photoshop file. {EXPORT}"),
    (rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?<svg", f"This is an SVG drawing. {EXPORT}"),
    (rb"%PDF-", f"This is a PDF document. {EXPORT}"),
    (rb".{4}ftyp(qt|iso|mp4|M4V|3g|avc|MSNV)|\x1aE\xdf\xa3|RIFF.{4}AVI ", "This is a film, and not a picture."),
)
"""Patterns of a file's start, and the sentence that refuses such a file."""


def refusal(start: bytes) -> str:
    """The sentence for a file that begins like this; empty where it is not known what it is."""
    return next((sentence for pattern, sentence in OTHERS if re.match(pattern, start, re.DOTALL)), "")
