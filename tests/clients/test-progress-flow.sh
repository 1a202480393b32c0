#!/bin/sh
# test-progress-flow.sh BASE_URL [picture]: sends a picture, follows its events as those of a build, and opens the preview.
# It asks without a token: the server needs OPEN_DIALECTS=builds.
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
build=$(echo "$answer" | field jobId)

last=0 before=0
while :; do
  answer=$(ask "$base/api/builds/$build/status")
  status=$(echo "$answer" | field status) progress=$(echo "$answer" | field progress) url=$(echo "$answer" | field previewUrl)
  # After the status: once that says that all is over, the last event is there too.
  events=$(ask "$base/api/builds/$build/events?lastEventId=$last")
  echo "$events" | grep -o '"id":[0-9]*,"type":"[^"]*"' | sed 's/"id":\([0-9]*\),"type":"\(.*\)"/  \1 \2/'
  last=$(echo "$events" | grep -o '"lastEventId":[0-9]*' | tail -n 1 | cut -d : -f 2)
  echo "$progress% $status"
  [ "$progress" -ge "$before" ] || { echo "It went back from $before%." >&2; exit 1; }
  before=$progress
  case $status in completed) break ;; failed | unknown) exit 1 ;; esac
  sleep 1
done
echo "The preview has $(ask "$url" | wc -c) bytes: $url"
