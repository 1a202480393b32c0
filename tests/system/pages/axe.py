"""What axe-core finds wrong with a page, for those who cannot see it, or use a mouse."""

import shutil
import subprocess
from pathlib import Path

from playwright.sync_api import Page

from tests.support.installation import PATIENCE, wait_for
from tests.support.required import cannot

PACKAGE = "axe-core@4"
LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa"]


def installed(folder: Path) -> str:
    """Its script. Skips the test where there is no npm, and fails it where all must be tested."""
    npm = shutil.which("npm") or cannot("This needs npm, which is not installed.")
    (folder / "package.json").write_text('{"private": true}')
    command = [npm, "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", PACKAGE]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE)
    if done.returncode:
        cannot(f"npm could not install {PACKAGE}: {done.stderr}")
    return (folder / "node_modules/axe-core/axe.min.js").read_text()


def faults(page: Page, script: str) -> list[str]:
    """What breaks WCAG 2.2 AA, each with the first element that does.

    The script comes through the browser's own debugger: the page's policy lets none in, and stays as it is.
    """
    if not page.evaluate("'axe' in window"):
        page.evaluate(script)
    wait_for(lambda: page.evaluate("document.getAnimations().length") == 0)  # colours on their way are no colours
    found = page.evaluate(
        "levels => axe.run(document, { runOnly: { type: 'tag', values: levels }, preload: false })", LEVELS
    )
    assert len(found["passes"]) > 5, "axe has looked at nothing"
    return [
        f"{fault['id']}: {fault['help']}: {len(fault['nodes'])} × {fault['nodes'][0]['html'][:200]}"
        f" ({fault['nodes'][0]['failureSummary'][:300]})"
        for fault in found["violations"]
    ]
