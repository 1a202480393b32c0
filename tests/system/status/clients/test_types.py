"""The hook's types are in its JSDoc: a page in TypeScript, checked as strictly as can be, takes it as it is."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.installation import PATIENCE
from tests.support.required import cannot

pytestmark = pytest.mark.any_database

SCRIPTS = Path(__file__).parents[4] / "static/js"
PACKAGE = "typescript@5"
PAGE = """
import { useStatus } from "./js/use-status.js";
import { uploadStatus } from "./js/upload-status.js";

const watch = useStatus("job", { token: "token", whileHidden: 30_000 });
const percent: number = watch.progress;
if (watch.progress === 100) console.log(percent, watch.resultId?.length, watch.job?.urls.page);
if (watch.isComplete || watch.error?.kind === "offline") console.log(watch.error?.message);
const end: () => void = watch.subscribe(({ stage, status }) => console.log(stage?.length, status === "failed"));
useStatus("job", { base: "https://darkroom.example" }).stop();
uploadStatus(document.body, { jobId: "job", words: { pending: "Moment", NOT_FOUND: "Weg" } }).stop();
// @ts-expect-error a time is no string
useStatus("job", { whileHidden: "30 s" });
// @ts-expect-error no such field
console.log(watch.percent, end);
"""


def test_the_types_are_those_that_the_hook_keeps(tmp_path: Path) -> None:
    npm = shutil.which("npm") or cannot("This needs npm, which is not installed.")
    (tmp_path / "package.json").write_text('{"private": true, "type": "module"}')
    install = [npm, "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", PACKAGE]
    done = subprocess.run(install, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    if done.returncode:
        cannot(f"npm could not install {PACKAGE}: {done.stderr}")
    shutil.copytree(SCRIPTS, tmp_path / "js")
    (tmp_path / "page.ts").write_text(PAGE)
    how = ["--noEmit", "--allowJs", "--checkJs", "--strict", "--target", "es2022", "--moduleResolution", "bundler"]
    command = ["node_modules/.bin/tsc", *how, "--module", "esnext", "page.ts"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout
