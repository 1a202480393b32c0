#!/bin/sh
# Print the path of the newest Python on the PATH that can run Darkroom, or of the one that PYTHON names.
# With --all, print "VERSION PATH" for each version that can, also of those that only pyenv knows.
#
# A command that is there need not work: a pyenv shim may stand for a version that is not selected, and Debian
# packages what `python -m venv` needs separately. Such a command is passed over, and named if it could be made to work.
set -u
versions="3.14 3.13 3.12 3.11"

# inspect COMMAND: print its version and the standard modules that it lacks; nothing if it does not run.
inspect() {
  "$1" -I -c '
import sys
lacking = []
for name in ("venv", "ensurepip", "ssl", "sqlite3", "zlib", "ctypes"):
    try:
        __import__(name)
    except ImportError:
        lacking.append(name)
print("%d.%d" % sys.version_info[:2], " ".join(lacking))' 2>/dev/null
}

# explain COMMAND VERSION LACKING: say why a Python cannot be used, and what would help.
explain() {
  case " $versions " in
    *" $2 "*) ;;
    *) echo "$1 is Python $2; Darkroom needs 3.11, 3.12, 3.13 or 3.14."; return ;;
  esac
  case $3 in
    *ensurepip* | *venv*) echo "$1 cannot make environments: install python$2-venv (apt-get install python$2-venv)." ;;
    *) echo "$1 was built without $3." ;;
  esac
}

if [ -n "${PYTHON:-}" ] && [ "${1:-}" != --all ]; then
  path=$(command -v "$PYTHON") || path=$PYTHON
  found=$(inspect "$path")
  version=${found%% *}
  if [ -z "$found" ]; then
    echo "PYTHON is $PYTHON, which does not run." >&2
    exit 1
  fi
  case " $versions " in
    *" $version "*) [ "$found" = "$version " ] && echo "$path" && exit ;;
  esac
  explain "$path" "$version" "${found#* }" >&2
  exit 1
fi

where=$PATH
[ "${1:-}" = --all ] && for folder in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/*/bin; do where=$where:$folder; done
unusable= named=
set -f
IFS=:
for version in $(echo "$versions" | tr ' ' ':'); do
  for folder in $where; do
    for path in "$folder/python$version" "$folder/python3"; do
      [ -x "$path" ] || continue
      found=$(inspect "$path")
      if [ "$found" = "$version " ]; then
        if [ "${1:-}" = --all ]; then
          echo "$version $path"
          continue 3
        fi
        [ -z "$unusable" ] || printf '%s' "$unusable" >&2
        echo "$path"
        exit
      fi
      if [ "${found%% *}" = "$version" ] && [ "$named" != "$version" ]; then
        named=$version
        unusable="$unusable$(explain "$path" "$version" "${found#* }")
"
      fi
    done
  done
done
[ "${1:-}" = --all ] && exit
if [ -z "$unusable" ] && path=$(command -v python3) && found=$(inspect "$path") && [ -n "$found" ]; then
  unusable="$path is Python ${found%% *}.
"
fi
printf '%s' "$unusable" >&2
echo "Darkroom needs Python 3.11, 3.12, 3.13 or 3.14 and its venv module (apt-get install python3 python3-venv)." >&2
echo "PYTHON=/path/to/python3 names one that is not on the PATH." >&2
exit 1
