"""What draws: a picture and the name of a prompt in, another picture out."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

_PROMPTS = Path(__file__).parent.parent / "prompts"

PROMPT_VERSIONS = tuple(sorted(path.stem for path in _PROMPTS.glob("*.txt")))


def prompt(version: str) -> str:
    """What an image model is told; raises `KeyError` for a version that there is not."""
    if version not in PROMPT_VERSIONS:
        raise KeyError(version)
    return (_PROMPTS / f"{version}.txt").read_text(encoding="utf-8").strip()


class Generator(Protocol):
    model: str
    """What the result says it was drawn by."""

    def generate(self, picture: bytes, prompt_version: str, report: Callable[[float], None]) -> bytes:
        """Draw `picture` (a work file) anew, as an encoded picture.

        `report` is told the fraction done, 0 to 1 and never less than before; what it raises stops the work.
        """
