"""What the README tells people to write runs as it stands there."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.support import pictures
from tests.support.installation import PATIENCE, Installation, installation
from tests.support.ports import free_port
from tests.support.readme import block
from tests.support.required import cannot
from tests.system.status.clients.test_clients import HERE
from tests.system.workflows.test_first_use import environment

pytestmark = pytest.mark.any_database

ROOT = Path(__file__).parents[4]
PACKAGES = ["react@19", "react-dom@19", "jsdom@26", "sucrase@3"]


@pytest.fixture(scope="module")
def darkroom(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installation(tmp_path_factory.mktemp("installation"), SWEEP_SECONDS="1", WEBHOOK_ALLOW_PRIVATE="1") as running:
        yield running


def commands(section: str) -> list[str]:
    """The indented blocks of a section of the README, less the answers that it shows."""
    text = (ROOT / "README.md").read_text().split(f"\n## {section}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"(?:^    .*\n)+", text, re.MULTILINE)
    return [textwrap.dedent(block) for block in blocks if not block.startswith("    {")]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder that has what a clone has after `make .venv/ready`."""
    for name, place in (("manage.py", ROOT / "manage.py"), (".venv", Path(sys.prefix))):
        (tmp_path / name).symlink_to(place)
    return tmp_path


def pasted(script: str, darkroom: Installation) -> dict[str, Any]:
    """How to run what a person pastes into bash, with the port of this installation for the one of the README."""
    shutil.which("curl") or cannot("This needs curl, which is not installed.")
    words = ["bash", "-euo", "pipefail", "-c", script.replace("http://127.0.0.1:8000", darkroom.url)]
    return {"args": words, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}


def test_the_walk_through_can_be_pasted_as_it_stands(darkroom: Installation, clone: Path) -> None:
    *_, terminal = commands("Start")
    done = subprocess.run(
        **pasted("\n".join([terminal, *commands("With curl")]), darkroom),
        env=environment(clone),
        cwd=clone,
        timeout=2 * PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    for said in (
        '"status": "completed"',
        '"status":"pending"',
        '"isTerminal":',
        '"lastEventId":',
        '"previewUrl":"http',
    ):
        assert said in done.stdout
    with Image.open(clone / "holiday.webp") as drawn, Image.open(clone / "preview.webp") as preview:
        assert drawn.format == "WEBP"
        assert preview.width / preview.height == pytest.approx(drawn.width / drawn.height, abs=0.01)


def test_the_receiver_hears_of_a_job_when_it_is_started_as_it_stands_there(darkroom: Installation, clone: Path) -> None:
    [script] = [block for block in commands("Webhooks") if block.startswith("ANSWER=")]
    (clone / "receiver.py").write_text(block("# receiver.py"))
    (clone / "holiday.jpg").write_bytes(pictures.encoded(pictures.landscape(400, 300), "JPEG"))
    script = script.replace("9000", str(free_port()))
    with subprocess.Popen(**pasted(script, darkroom), cwd=clone, start_new_session=True) as process:
        try:
            assert process.stdout
            heard = []
            for line in process.stdout:
                heard.append(line.split()[0])
                if heard[-1] == "job.completed":
                    break
        finally:
            os.killpg(process.pid, signal.SIGKILL)
    assert set(heard) == {"job.stage_changed", "job.completed"}


def test_the_example_for_react_uses_the_hook_as_it_is(darkroom: Installation, tmp_path: Path) -> None:
    node = shutil.which("node") or cannot("This needs Node (node), which is not installed.")
    npm = shutil.which("npm") or cannot("This needs npm, which is not installed.")
    (tmp_path / "package.json").write_text('{"private": true, "type": "module"}')
    install = [npm, "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", *PACKAGES]
    done = subprocess.run(install, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    if done.returncode:
        cannot(f"npm could not install {', '.join(PACKAGES)}: {done.stderr}")
    shutil.copy(HERE / "readme.mjs", tmp_path)
    job = darkroom.send(pictures.encoded(pictures.landscape(1600, 1200), "JPEG")).json["jobId"]
    files = {"README": str(ROOT / "README.md"), "HOOK": (ROOT / "static/js/use-status.js").as_uri()}
    page = [node, "readme.mjs", darkroom.url, darkroom.token, job]
    done = subprocess.run(page, cwd=tmp_path, env=os.environ | files, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    percents = [line["percent"] for line in lines]
    assert percents == sorted(percents)
    assert lines[-1] == {"percent": 100, "label": "complete"}


ONE_JOB = """
import json, sys
from config.celery import app
import django
django.setup()
from django.test import Client
from workflows.pipeline import PIPELINE

app.loader.import_default_modules()
client = Client(SERVER_NAME="127.0.0.1")
with open(sys.argv[1], "rb") as picture:
    job = client.post("/api/uploads", {"image": picture}).json()
for step in PIPELINE.values():
    app.tasks[step.task].apply(args=(job["jobId"],))
paths = {name: job["urls"][name] for name in ("status", "events", "progress", "job")}
paths |= {"messages": f"/jobs/{job['jobId']}/status", "builds": f"/api/builds/{job['jobId']}/events"}
headers = {"X-Session-Token": job["sessionToken"]}
print(json.dumps({name: client.get(path, headers=headers).json() for name, path in paths.items()}))
"""


def test_a_fifth_step_is_added_as_it_stands_there(tmp_path: Path) -> None:
    git = shutil.which("git") or cannot("This needs git, which is not installed.")
    for name in ("config", "status", "static", "templates", "uploads", "workflows"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "manage.py", tmp_path)
    picture = tmp_path / "holiday.jpg"
    picture.write_bytes(pictures.encoded(pictures.landscape(400, 300), "JPEG"))
    data = tmp_path / "data"
    data.mkdir()
    environment = os.environ | {"DATA_DIR": str(data), "DATABASE_URL": f"sqlite:///{data / 'own.sqlite3'}"}

    def run(*command: str, said: str | None = None) -> str:
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, input=said, capture_output=True, text=True, timeout=PATIENCE
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run(git, "apply", "-p0", said=block("--- uploads/stages.py"))
    run(sys.executable, "manage.py", "makemigrations", "uploads", "--name", "framing")
    run(sys.executable, "manage.py", "migrate", "--no-input")
    told: dict[str, Any] = json.loads(run(sys.executable, "-c", ONE_JOB, str(picture)).splitlines()[-1])
    five = ["validate", "generate", "frame", "store", "watermark"]
    assert (told["status"]["status"], told["status"]["progress"]) == ("completed", 100)
    steps = told["progress"]["data"]["steps"]
    assert [(step["name"], step["status"]) for step in steps] == [(name, "completed") for name in five]
    assert [step["name"] for step in told["job"]["steps"]] == five
    size = told["job"]["result"]["width"], told["job"]["result"]["height"]
    assert size == (400 + 80, 300 + 80)
    events = [(event["type"], event["message"]) for event in told["events"]["events"]]
    framing = [("step.started", "Framing the picture"), ("log", "A white frame suits it.")]
    begun = events.index(framing[0])
    assert events[begun : begun + 3] == [*framing, ("step.completed", "The picture is framed.")]
    assert [message["msg"] for message in told["messages"]["messages"]] == [message for _, message in events]
    assert [event["id"] for event in told["builds"]["events"]] == list(range(1, len(events) + 1))
