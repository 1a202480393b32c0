#!/bin/sh
# test-progress-simple.sh BASE_URL [picture]: sends a picture, and prints how far its job is until it has ended.
# It asks without a token: the server needs OPEN_DIALECTS=messages.
set -eu
base=${1:?say where Darkroom is, like http://127.0.0.1:8000} picture=${2:-}
small=iVBORw0KGgoAAAANSUhEUgAAAEAAAAAwCAIAAAAuKetIAAAARklEQVR42u3PgQkAIAwEsS/o/htbtygUctwCqaRP3uZvVgcAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAw1wfR8EImJhxbmwAAAABJRU5ErkJggg==

ask() { curl --silent --show-error --fail-with-body --retry 5 "$@"; }
field() { grep -o "\"$1\":[^,}]*" | head -n 1 | cut -d : -f 2- | tr -d '"'; }
send() {
  if [ -n "$picture" ]; then ask --form "image=@$picture" "$base/api/uploads"
  else echo "$small" | base64 -d | ask --form "image=@-;filename=small.png" "$base/api/uploads"; fi
}

answer=$(send) || { echo "$answer" >&2; exit 1; }
job=$(echo "$answer" | field jobId)

shown=0
while :; do
  answer=$(ask "$base/jobs/$job/status")
  state=$(echo "$answer" | field state)
  echo "$(echo "$answer" | field percent)% $state $(echo "$answer" | field step)"
  messages=$(echo "$answer" | sed 's/"errors":.*//' | grep -o '"msg":"[^"]*"' | cut -d '"' -f 4)
  echo "$messages" | tail -n "+$((shown + 1))" | sed 's/^/  /'
  shown=$(echo "$messages" | wc -l)
  case $state in completed) exit 0 ;; failed) exit 1 ;; esac
  sleep 1
done
