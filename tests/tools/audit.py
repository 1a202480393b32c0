"""pip-audit on what is pinned, for people and for CI: `python -m tests.tools.audit requirements.txt …`

pip-audit by itself ends with 0 when it could look nothing up. Here that is said loudly; it fails only where
AUDIT=required, for not every machine that builds this reaches an advisory service.
"""

import json
import os
import subprocess
import sys
from typing import Any

EXCUSE = "NOT AUDITED: no advisory service could be reached from here. Run `make audit` where there is one."


def main(files: list[str]) -> int:
    wanted = [word for file in files for word in ("--requirement", file)]
    command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes", "--format", "json", *wanted]
    ended = subprocess.run([*command, "--progress-spinner", "off"], capture_output=True, text=True)
    try:
        dependencies = json.loads(ended.stdout)["dependencies"]
    except ValueError:
        print(ended.stderr[-500:], file=sys.stderr)
        return _not_audited()
    return judge(dependencies)


def judge(dependencies: list[dict[str, Any]]) -> int:
    """The exit code, for what pip-audit found."""
    audited = [each for each in dependencies if "skip_reason" not in each]
    if not audited:
        return _not_audited()
    for each in dependencies:
        for found in each.get("vulns", []):
            print(f"{each['name']} {each.get('version')}: {found['id']}, mended in {found.get('fix_versions')}")
        if reason := each.get("skip_reason"):
            print(f"{each['name']}: not audited: {reason}")
    vulnerable = [each for each in audited if each["vulns"]]
    print(f"{len(audited)} of {len(dependencies)} packages audited, {len(vulnerable)} with known vulnerabilities.")
    return 1 if vulnerable or len(audited) < len(dependencies) else 0


def _not_audited() -> int:
    print(EXCUSE, file=sys.stderr)
    return 1 if os.environ.get("AUDIT") == "required" else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
