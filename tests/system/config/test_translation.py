"""GNU gettext finds every sentence of pages and admin."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.config.catalogue import ROOMS, ROOT, messages
from tests.support.required import cannot

pytestmark = pytest.mark.django_db


def test_makemessages_finds_every_sentence(tmp_path: Path) -> None:
    if not shutil.which("xgettext"):
        cannot("This needs xgettext, which is not installed.")
    for name in (*ROOMS, "templates", "manage.py"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    command = [sys.executable, "manage.py", "makemessages", "--locale", "eo", "--verbosity", "0"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    catalogue = (tmp_path / "templates/locale/eo/LC_MESSAGES/django.po").read_text()
    lines = re.sub(r'"\n"', "", catalogue)
    found = {json.loads(f'"{words}"') for words in re.findall(r'^msgid "(.+)"$', lines, re.MULTILINE)}
    assert found == {message.singular for message in messages()}
