#!/usr/bin/env bash
# Two month ends in half a minute, with a clock of our own: README.md tells the story.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# Of a clone in which `make demo` was run, where nothing else is installed.
command -v meterline > /dev/null || PATH="$here/../../.venv/bin:$PATH"
for needed in meterline curl; do
  command -v "$needed" > /dev/null || { echo "walk.sh needs $needed" >&2; exit 2; }
done
unset "${!METERLINE_@}" # which would lead to a sidecar that is no rehearsal
work=$(mktemp -d)
cp "$here/meterline.toml" "$here/pricing.toml" "$work"
cd "$work"

say() { printf '\n== %s\n' "$*"; }

clock() { # TIME: the sidecar believes it is so late
  echo "$1" > clock.new && mv clock.new clock
}

use() { # SUBJECT CALLS TIME ID
  curl --silent --show-error --fail --output /dev/null --unix-socket http.sock \
    --header 'Content-Type: application/json' \
    --data "{\"id\": \"$4\", \"time\": \"$3\", \"subject\": \"$1\", \"quantities\": {\"calls\": $2}}" \
    http://localhost/v1/events
}

until_said() { # TEXT COMMAND...: wait until a command prints it
  local text=$1
  shift
  until "$@" 2> /dev/null | grep --quiet -- "$text"; do
    kill -0 "$sidecar" 2> /dev/null || { cat sidecar.log >&2; exit 1; }
    sleep 0.1
  done
}

until_final() { # CUSTOMER PERIOD
  until_said '"status": "final"' meterline invoice "$1" --period "$2" --json
}

clock 2026-11-02T08:00:00Z
meterline run --clock clock 2> sidecar.log &
sidecar=$!
trap 'kill $sidecar 2> /dev/null; wait $sidecar 2> /dev/null || true; rm -rf "$work"' EXIT
until_said ready meterline status

say "November: both use something"
use acme_key 3000 2026-11-02T07:30:00Z a-1
use hayashi_key 1500 2026-11-02T07:45:00Z h-1

say "1 December, 00:30 in Berlin: the month is over, and waits for its grace"
clock 2026-11-30T23:30:00Z
until_said acme meterline close --list grace
meterline close --list grace
meterline close --skip-grace --dry-run

say "2 December: Berlin's November is final by itself, Tokyo's waits for 72 hours"
clock 2026-12-02T01:00:00Z
until_final acme 2026-11
meterline invoice acme --period 2026-11
meterline close --list grace

say "5 December: 500 calls of November come late, and there was an outage"
clock 2026-12-05T09:00:00Z
until_final hayashi 2026-11
use acme_key 500 2026-11-30T20:00:00Z a-2
until_said 'since then' meterline explain acme calls --period 2026-11
meterline explain acme calls --period 2026-11
meterline credit acme 4 --reason "the outage of 4 December"

say "2 January: December is final, with what came late and what was granted"
clock 2027-01-02T09:00:00Z
until_final acme 2026-12
meterline invoice acme --period 2026-12
meterline credit acme

say "The books can be proved"
meterline verify
