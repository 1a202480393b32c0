"""What README.md tells people to write."""

import re

from django.conf import settings


def block(first_line: str) -> str:
    """The program in README.md that begins with these words."""
    readme = (settings.BASE_DIR / "README.md").read_text()
    found = re.search(rf"^    {re.escape(first_line)}.*\n(?:(?:    .*)?\n)+", readme, re.MULTILINE)
    assert found, f"README.md has no {first_line}"
    return re.sub(r"^    ", "", found[0], flags=re.MULTILINE)
