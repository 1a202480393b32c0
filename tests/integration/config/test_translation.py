"""Every sentence for people goes through Django's translation: shown in a language in which all of them stand in
brackets, pages and admin have none outside. The record stays in its own."""

import re
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
from django.conf import LazySettings
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.template.loader import render_to_string
from django.test import Client
from django.utils import timezone
from django.utils.dateformat import format as date_format

from tests.integration.config.catalogue import CLOSE, OPEN, compile_pseudo, messages
from tests.support.api import Api
from uploads.errors import REASONS, CodedError

pytestmark = pytest.mark.django_db


@pytest.fixture
def pseudo(settings: LazySettings, tmp_path: Path) -> None:
    compile_pseudo(tmp_path / "locale", "eo")
    settings.LOCALE_PATHS = [tmp_path / "locale"]
    settings.LANGUAGE_CODE = "eo"


@pytest.fixture
def admin() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("operator"))
    return client


class Words(HTMLParser):
    """What people read, see or hear of a page, below the elements whose class or id has one of these names."""

    VOID = frozenset({"meta", "link", "img", "input", "br", "wbr", "hr", "col"})
    UNSEEN = frozenset({"style", "script"})
    SAID = frozenset({"alt", "title", "aria-label", "placeholder"})

    def __init__(self, *within: str) -> None:
        super().__init__()
        self._within = set(within)
        self._open: list[tuple[str, bool]] = []
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        names = {tag, given.get("id") or "", *(given.get("class") or "").split()}
        inside = not self._within or self._inside or bool(names & self._within)
        self.found += [given[name] or "" for name in self.SAID & given.keys() if inside]
        if given.get("name") == "description":
            self.found.append(given["content"] or "")
        if tag not in self.VOID:
            self._open.append((tag, inside))

    @property
    def _inside(self) -> bool:
        return bool(self._open) and self._open[-1][1]

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._inside and self._open[-1][0] not in self.UNSEEN and data.strip():
            self.found.append(data.strip())


def outside(page: str, *within: str) -> set[str]:
    """What has letters that stand in no brackets."""
    words = Words(*within)
    words.feed(page)
    assert len(words.found) > 2
    bare = {re.sub(rf"{OPEN}[^{OPEN}{CLOSE}]*{CLOSE}", "", text) for text in words.found}
    return {text for text in bare if re.search(r"[^\W\d_]", text)}


@pytest.mark.parametrize("path", ["/", "/jobs/01234567-89ab-7def-8123-456789abcdef", "/nothing/here"])
def test_pages_say_nothing_outside_the_translation(pseudo: None, client: Client, path: str) -> None:
    page = client.get(path).content.decode()
    assert '<html lang="eo">' in page
    assert outside(page) <= {"Darkroom"}


@pytest.mark.parametrize("name", ["400", "404", "429", "500", "503"])
def test_error_pages_say_nothing_outside_the_translation(pseudo: None, name: str) -> None:
    assert outside(render_to_string(f"{name}.html")) <= {"Darkroom"}


def shown(admin: Client, path: str) -> str:
    response = admin.get(f"/admin/{path}")
    assert response.status_code == 200
    return response.content.decode()


def bracketed(words: str) -> str:
    return f"{OPEN}{words}{CLOSE}"


def test_the_list_of_uploads_is_translated(pseudo: None, api: Api, admin: Client) -> None:
    api.finished()
    page = shown(admin, "uploads/upload/")
    headings = re.findall(r'<th scope="col" class="column-(\w+)">\s*<div class="text"><span>(.*?)</span>', page)
    assert {name: words for name, words in headings if name != "thumbnail"} == {
        "name": bracketed("picture"),
        "stage_now": bracketed("stage"),
        "bar": bracketed("progress"),
        "tries": bracketed("attempt"),
        "age": bracketed("age"),
    }
    assert f'<td class="field-stage_now">{bracketed("complete")}</td>' in page
    filters = re.findall(r'<a href="\?[^"]+">([^<]+)</a></li>', page.replace("\n", "").replace("  ", ""))
    assert {"", *RECORD} >= {name for name in filters if OPEN not in name and name != ALL}
    assert len(filters) > 15
    for action in ("Retry", "Cancel", "Unlock the full picture", "Delete"):
        assert f">{bracketed(action)}</option>" in page


RECORD = {"validate", "generate", "store", "watermark", "local-ink-1", "STEP_TIMEOUT"}
"""Called in every language as in the record."""
ALL = "Ĉio"
"""Django's own, in Esperanto."""
UNITS = {"s", "min", "h", "UTC"}


def test_the_figures_are_translated(pseudo: None, api: Api, admin: Client) -> None:
    api.finished()
    api.accepted().fail(CodedError("STEP_TIMEOUT"))
    for window in ("1h", "24h", "7d"):
        page = shown(admin, f"figures/?window={window}")
        bare = outside(page, "darkroom-windows", "darkroom-facts", "darkroom-plots") - RECORD
        words = {word for text in bare for word in re.findall(r"[^\W\d_]+", text.replace("STEP_TIMEOUT", ""))}
        now = timezone.now()
        assert words <= UNITS | {date_format(now - timedelta(days=days), "M") for days in range(8)}


def test_no_sentence_is_left_as_it_was_written(pseudo: None, api: Api, admin: Client) -> None:
    upload = api.finished()
    sentences = {singular for singular, _ in messages() if len(singular.split()) > 2 and "%" not in singular}
    assert len(sentences) > 100
    paths = ["uploads/upload/", f"uploads/upload/{upload.pk}/change/", "uploads/providercall/", "uploads/session/"]
    for path in [*paths, "admin/logentry/", "figures/"]:
        words = Words()
        words.feed(shown(admin, path))
        assert not sentences & set(words.found), path
    chosen = {"action": "unlock", "_selected_action": str(upload.pk)}
    asked = admin.post("/admin/uploads/upload/", chosen).content.decode()
    assert bracketed("Unlock the full picture") + "?" in asked
    assert bracketed("This upload:") in asked
    done = admin.post("/admin/uploads/upload/", chosen | {"confirmed": "yes"}, follow=True).content.decode()
    assert f"{OPEN}{bracketed('Unlock the full picture')}: 1 done.{CLOSE}" in done


def test_who_asks_is_answered_in_the_language_and_the_record_stays_in_its_own(
    pseudo: None, api: Api, admin: Client
) -> None:
    upload = api.accepted()
    admin.post("/admin/uploads/upload/", {"action": "cancel", "_selected_action": str(upload.pk), "confirmed": "yes"})
    refused = api.post(f"/api/jobs/{upload.pk}/cancel").json()["error"]["message"]
    assert refused == bracketed(REASONS["ALREADY_FINISHED"].message)
    told = api.get(f"/api/status/{upload.pk}").json()
    assert told["error"]["message"] == told["errorMessage"] == REASONS["CANCELED"].message
    events = api.get(f"/api/status/{upload.pk}/events").json()["events"]
    assert [event["message"] for event in events] == ["Your picture has arrived.", REASONS["CANCELED"].message]
    entry = LogEntry.objects.get()
    assert entry.change_message == "Cancel"
    assert bracketed("Cancel") in shown(admin, f"admin/logentry/{entry.pk}/change/")
