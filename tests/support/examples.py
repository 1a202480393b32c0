"""How much hypothesis tries: all that a test asks for, or, with `--hypothesis-profile quick`, a fifth of it."""

import hypothesis

USUAL = 100
"""What hypothesis tries when nothing else is asked for, and what the profiles are measured by."""


def examples(count: int) -> int:
    return max(1, count * hypothesis.settings().max_examples // USUAL)
