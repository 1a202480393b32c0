"""A person who runs Darkroom: commands on its machine, and an account for the admin."""

import subprocess
import sys
from pathlib import Path

from playwright.sync_api import expect

from tests.support.installation import PATIENCE, Installation
from tests.system.pages.visitor import Visitor

ROOT = Path(__file__).parents[3]
NAME, PASSWORD = "operator", "in the dark, in the red light"


def manage(darkroom: Installation, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`manage.py`, in the environment of this installation's own processes."""
    command = [sys.executable, "manage.py", *words]
    env = darkroom.processes("granian")[0].environ() | environment
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=PATIENCE)


def with_account(darkroom: Installation) -> None:
    """As `make admin` makes one. Once for each installation."""
    words = ["createsuperuser", "--noinput", "--username", NAME, "--email", ""]
    done = manage(darkroom, *words, DJANGO_SUPERUSER_PASSWORD=PASSWORD)
    assert done.returncode == 0 or "already taken" in done.stderr, done.stderr


def log_in(visitor: Visitor) -> None:
    visitor.open("/admin/login/?next=/admin/")
    visitor.page.get_by_label("Username").fill(NAME)
    visitor.page.get_by_label("Password").fill(PASSWORD)
    visitor.page.get_by_role("button", name="Log in").click()
    expect(visitor.page.locator("#user-tools")).to_contain_text(NAME)


def fail(darkroom: Installation, job: str, code: str) -> None:
    """As the runner does it when there is no attempt left."""
    script = (
        "from uploads.models import Upload; from uploads.errors import CodedError;"
        f"Upload.objects.get(pk='{job}').fail(CodedError('{code}'))"
    )
    _run(darkroom, script)


def try_again(darkroom: Installation, job: str, code: str, seconds: int) -> None:
    """As the runner does it when the claimed step may succeed later."""
    script = (
        "from datetime import timedelta; from uploads.models import Upload; from uploads.errors import CodedError;"
        f"upload = Upload.objects.get(pk='{job}');"
        f"upload.try_again(CodedError('{code}'), timedelta(seconds={seconds}), fence=upload.fence)"
    )
    _run(darkroom, script)


def _run(darkroom: Installation, script: str) -> None:
    done = manage(darkroom, "shell", "-c", script)
    assert done.returncode == 0, done.stderr
