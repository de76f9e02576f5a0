#!/usr/bin/env bash
# Two edges, one centre, one invoice: README.md tells the story.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# Of a clone in which `make demo` was run, where nothing else is installed.
command -v meterline > /dev/null || PATH="$here/../../.venv/bin:$PATH"
for needed in meterline openssl python; do
  command -v "$needed" > /dev/null || { echo "walk.sh needs $needed" >&2; exit 2; }
done
unset "${!METERLINE_@}" # which would lead to another sidecar
port=${1:-8271}
work=$(mktemp -d)
mkdir "$work/centre" "$work/one" "$work/two"
running=()
trap 'kill "${running[@]}" 2> /dev/null; wait 2> /dev/null || true; rm -rf "$work"' EXIT

say() { printf '\n== %s\n' "$*"; }

run() { # HOST: start its sidecar, and wait until it is ready
  cd "$work/$1"
  meterline run 2> sidecar.log &
  running+=($!)
  until meterline status 2> /dev/null | grep --quiet ready; do
    kill -0 "${running[-1]}" 2> /dev/null || { cat sidecar.log >&2; exit 1; }
    sleep 0.1
  done
}

serve() { # HOST REQUESTS: an app of that host serves so many requests of Acme
  METERLINE_SOCKET="$work/$1/meterline.sock" METERLINE_SPOOL_DIR="$work/$1/spool" \
    python -m meterline_sidecar.demo.worker "acme=$2"
}

say "The centre: a certificate, a token for its edges, and its sidecar"
cd "$work/centre"
sed "s/:8271/:$port/" "$here/centre.toml" > meterline.toml
cp "$here/pricing.toml" .
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 \
  -subj "/CN=centre" -addext "subjectAltName=IP:127.0.0.1,DNS:localhost" \
  -keyout centre.key -out centre.pem 2> /dev/null
meterline token create edges --scope edge 2> /dev/null > "$work/token"
run centre

say "Two edges: the certificate to know the centre by, and the token"
for edge in one two; do
  sed "s/NAME/$edge/; s/:8271/:$port/" "$here/edge.toml" > "$work/$edge/meterline.toml"
  cp "$work/centre/centre.pem" "$work/token" "$work/$edge"
  run "$edge"
done
cd "$work/centre"
meterline edges list

say "Apps on both hosts serve 60,000 requests of Acme each"
serve one 60000 &
serve two 60000
wait $!

say "The centre has all of them, each once, and one invoice"
cd "$work/centre"
until meterline usage --json | grep --quiet 120000; do sleep 0.2; done
# Each edge says every few seconds how it stands.
while meterline edges list --json | grep --quiet --extended-regexp '"behind": ?[1-9]'; do sleep 0.2; done
meterline usage
meterline invoice acme
meterline edges list
