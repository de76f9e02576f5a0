#!/bin/sh
# Sends events to Meterline, one JSON object a line on standard input:
#   METERLINE_TOKEN=mtl_... ./send_events.sh < events.ndjson
# The token is one of `meterline token create NAME --scope ingest`.
# Each is counted once, so whatever has no answer is sent again.
set -eu
url="${METERLINE_URL:-http://127.0.0.1:8270}/v1/events"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
split -l 100 -a 6 - "$folder/batch."

for batch in "$folder"/batch.*; do
  [ -e "$batch" ] || continue
  { echo "["; paste -sd, "$batch"; echo "]"; } > "$folder/body"
  # Also 429 and 503 are tried again, after the time that Retry-After says.
  status=$(curl --silent --show-error --output "$folder/answer" --write-out '%{http_code}' \
    --retry 100 --retry-all-errors --retry-max-time 3600 --max-time 60 \
    --header "Content-Type: application/json" \
    --header "Authorization: ${METERLINE_TOKEN:+Bearer $METERLINE_TOKEN}" \
    --data-binary "@$folder/body" "$url")
  if [ "$status" != 200 ] || ! grep -q '"conflict":0,"refused":0' "$folder/answer"; then
    cat "$folder/answer" >&2
    exit 1
  fi
done
