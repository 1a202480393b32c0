#!/bin/sh
# Makes sure that there is a Chromium for the tests in this folder.
set -eu

say() {
    echo "tests: $*"
}

for name in ${CHROMIUM:-chromium chromium-browser google-chrome}; do
    if command -v "$name" >/dev/null 2>&1; then
        say "the browser is $(command -v "$name")"
        exit 0
    fi
done
if [ -n "${CHROMIUM:-}" ]; then
    say "CHROMIUM names $CHROMIUM, which cannot be run." >&2
    exit 1
fi

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    say "there is no Chromium yet; installing the package chromium with apt-get"
    if apt-get update && apt-get install -y --no-install-recommends chromium; then
        exit 0
    fi
    say "apt-get could not install it"
fi

playwright="$(dirname "$0")/../../../.venv/bin/playwright"
if [ -x "$playwright" ]; then
    say "installing Playwright's own Chromium"
    if "$playwright" install --with-deps chromium || "$playwright" install chromium; then
        exit 0
    fi
    say "Playwright could not install it"
fi

say "no Chromium could be installed. Install one yourself (Debian: apt-get install chromium), or name one in CHROMIUM." >&2
exit 1
