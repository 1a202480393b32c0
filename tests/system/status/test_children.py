"""A worker's children have queues of their own: what is in them is sent before the child ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.installation import PATIENCE, wait_for
from tests.support.posthog import PostHog

pytestmark = pytest.mark.any_database


def test_a_child_sends_what_it_has_before_it_ends(hog: PostHog, tmp_path: Path) -> None:
    environment = os.environ | {
        "DATA_DIR": str(tmp_path),
        "DATABASE_URL": f"sqlite:///{tmp_path / 'db.sqlite3'}",
        "POSTHOG_API_KEY": "phc_test",
        "POSTHOG_HOST": hog.url,
    }
    run = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
    subprocess.run(run, env=environment, check=True)
    send = "import sys; from tests.system.status.analytics_app import tell; tell.delay(*sys.argv[1:])"
    session, done = str(uuid4()), tmp_path / "done"
    subprocess.run([sys.executable, "-c", send, session, str(done)], env=environment, check=True)
    worker = [
        "-m",
        "celery",
        "--app",
        "tests.system.status.analytics_app",
        "worker",
        "--queues",
        "images",
        "--concurrency",
        "1",
    ]
    quiet = ["--without-gossip", "--without-mingle", "--loglevel", "ERROR"]
    with subprocess.Popen([sys.executable, *worker, *quiet], env=environment) as process:
        try:
            wait_for(done.exists)
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=PATIENCE)
        finally:
            process.kill()
    assert [event["distinct_id"] for event in hog.events] == [session]
