#!/bin/sh
# install.sh FOLDER FILE DONE: install what FILE pins into the virtual environment FOLDER, and remember it in DONE.
#
# DONE is a copy of FILE, so that nothing is installed twice. FOLDER is made if there is none, and made anew if it does
# not fit: it was moved, the Python that it was made with is gone, or PYTHON names another version.
set -eu
folder=$1 file=$2 done=$3

misfit() { # misfit: print why the environment cannot be used; nothing if it can.
  place=$(cd "$folder" && pwd -P)
  if ! grep -qF "$place/bin/python" "$folder/bin/pip" 2>/dev/null; then
    echo "was made in another folder, or not to its end"
  elif ! made=$("$folder/bin/python" -I -c 'import sys, pip; print("%d.%d" % sys.version_info[:2])' 2>/dev/null); then
    echo "was made with a Python that is gone"
  elif [ -n "${PYTHON:-}" ] && [ "$("$PYTHON" -I -c 'import sys; print("%d.%d" % sys.version_info[:2])')" != "$made" ]; then
    echo "was made with Python $made, and PYTHON is another"
  fi
}

why=
if [ -e "$folder" ]; then why=$(misfit); fi
if [ -n "$why" ] || [ ! -e "$folder" ]; then
  python=$(sh "$(dirname "$0")/find-python.sh")
  if [ -n "$why" ]; then
    # Without this file it may still be what is left of one, of which some was removed already.
    if [ ! -e "$folder/pyvenv.cfg" ] && ls -A "$folder" | grep -qvxE 'bin|etc|include|lib|lib64|share|ready(-dev)?'; then
      echo "$folder is no virtual environment: move it away first." >&2
      exit 1
    fi
    echo "$folder $why: making it anew."
    rm -rf "$folder"
  fi
  "$python" -m venv "$folder"
  echo "Darkroom runs on $("$python" -V) ($python)."
fi

cmp -s "$file" "$done" && exit
total=$(grep -c '==' "$file" || true)
echo "Installing what it needs into $folder: $total packages, about a minute the first time."
failed=$folder/failed
rm -f "$failed"
{
  PYTHONUNBUFFERED=1 "$folder/bin/python" -m pip install --disable-pip-version-check --progress-bar off \
    --require-hashes --requirement "$file" || touch "$failed"
} | {
  count=0
  while read -r first second rest; do
    case "$first $second" in
      Collecting* | "Requirement already") count=$((count + 1)) ;;
      "Installing collected") count=$total ;;
      *) continue ;;
    esac
    if [ -t 1 ]; then printf '\r  %s of %s ' "$count" "$total"; fi
  done
  if [ -t 1 ]; then printf '\r                    \r'; fi
}
if [ -e "$failed" ]; then
  rm "$failed"
  echo "They could not be installed; the lines above say why. The same command again goes on from here." >&2
  exit 1
fi
cp "$file" "$done"
