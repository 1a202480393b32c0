"""Every sentence that the pages' scripts show is there to be translated, and there is one for every error."""

import re

import pytest
from django.conf import settings
from django.template.loader import render_to_string

from uploads.errors import REASONS

GROUPS = "stage|state|detail|queue|time|attempt|kind|error|next|step|sending|list|log"
KEY = re.compile(r'data-word="([\w.]+)">([^<]+)<')
SCRIPTS = sorted((settings.BASE_DIR / "static/js").glob("*.js"))
NEVER_SEEN = {"INVALID_PARAMETER", "NOT_ACCEPTABLE", "NOT_FINISHED", "EXPIRED"}
"""What the pages' own requests are not answered with, or show as a state of the page."""
FAILURES = {
    "UNREADABLE_IMAGE",
    "IMAGE_TOO_LARGE",
    "MEMORY_EXCEEDED",
    "UNSUPPORTED_TYPE",
    "CONTENT_BLOCKED",
    "BUDGET_EXHAUSTED",
    "RATE_LIMITED",
    "DEADLINE_EXCEEDED",
    "STEP_TIMEOUT",
    "WORKER_LOST",
    "STORAGE_UNAVAILABLE",
    "INTERNAL",
    *(code for code in REASONS if code.startswith("GENERATOR_")),
}
"""What a job can end with, besides that somebody stopped it."""


@pytest.fixture
def words() -> dict[str, str]:
    return dict(KEY.findall(render_to_string("words.html")))


@pytest.mark.parametrize("code", sorted(REASONS.keys() - NEVER_SEEN))
def test_each_error_has_a_sentence_of_its_own(words: dict[str, str], code: str) -> None:
    said = words[f"error.{code}"]
    assert [key for key, sentence in words.items() if sentence == said and key.startswith("error.")] == [
        f"error.{code}"
    ]


@pytest.mark.parametrize("code", sorted(FAILURES))
def test_each_failure_says_what_to_do_next(words: dict[str, str], code: str) -> None:
    assert code in REASONS
    assert words[f"next.{code}"].endswith(".")


def test_every_word_that_a_script_asks_for_is_there(words: dict[str, str]) -> None:
    asked = {key for script in SCRIPTS for key in re.findall(rf"'((?:{GROUPS})\.\w+)'", script.read_text())}
    assert len(asked) > 20
    assert asked <= words.keys()


def test_what_is_said_can_be_translated() -> None:
    source = (settings.BASE_DIR / "templates/words.html").read_text()
    sentences = re.findall(r'data-word="[\w.]+">(.*)</p>', source)
    assert len(sentences) > 60
    assert all(re.fullmatch(r'\{% translate ".+" %\}', sentence) for sentence in sentences)
