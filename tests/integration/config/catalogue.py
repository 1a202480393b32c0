"""The sentences that are there to be translated, found as `makemessages` finds them, and a language made of them."""

import ast
import re
import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from django.utils.translation.template import templatize

ROOT = Path(__file__).parents[3]
ROOMS = ("config", "status", "uploads", "workflows")
MARKS = {"_", "gettext", "gettext_lazy", "gettext_noop", "ngettext", "ngettext_lazy"}
OPEN, CLOSE = "⟦", "⟧"


class Message(NamedTuple):
    singular: str
    plural: str = ""


@cache
def messages() -> set[Message]:
    return {message for file in sources() for message in _messages_of(file)}


def sources() -> list[Path]:
    code = [file for room in ROOMS for file in (ROOT / room).rglob("*.py") if "migrations" not in file.parts]
    return sorted([*code, *(ROOT / "templates").rglob("*.html")])


def _messages_of(file: Path) -> Iterator[Message]:
    text = file.read_text()
    if file.suffix == ".py":
        yield from _in_code(ast.parse(text))
        return
    # What Django makes of a template for xgettext: calls, among what it has blotted out.
    word = r"u?(?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")"
    for first, second in re.findall(rf"\b(?:_|gettext|ngettext)\(({word})(?:,\s*({word}))?", templatize(text)):
        yield Message(ast.literal_eval(first), ast.literal_eval(second) if second else "")


def _in_code(tree: ast.AST) -> Iterator[Message]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in MARKS:
            words = [each.value for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
            if words:
                yield Message(*words[: 2 if node.func.id.startswith("n") else 1])


def compile_pseudo(folder: Path, language: str) -> None:
    """Each sentence in brackets, as the file that `compilemessages` makes (gettext's MO format, little-endian)."""
    entries = {"": "Content-Type: text/plain; charset=UTF-8\nPlural-Forms: nplurals=2; plural=(n != 1);\n"}
    for singular, plural in messages():
        key = f"{singular}\0{plural}" if plural else singular
        entries[key] = "\0".join(f"{OPEN}{form}{CLOSE}" for form in key.split("\0"))
    pairs = sorted((key.encode(), said.encode()) for key, said in entries.items())
    at, tables, strings = 28 + 16 * len(pairs), b"", b""
    for text in [key for key, _ in pairs] + [said for _, said in pairs]:
        tables += struct.pack("<II", len(text), at + len(strings))
        strings += text + b"\0"
    head = struct.pack("<7I", 0x950412DE, 0, len(pairs), 28, 28 + 8 * len(pairs), 0, 0)
    target = folder / language / "LC_MESSAGES"
    target.mkdir(parents=True)
    (target / "django.mo").write_bytes(head + tables + strings)
