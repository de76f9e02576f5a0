# What both walks share: a folder of their own, a clock of their own, a sidecar.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# Of a clone in which `make demo` was run, where nothing else is installed.
command -v meterline > /dev/null || PATH="$here/../../.venv/bin:$PATH"
for needed in meterline curl; do
  command -v "$needed" > /dev/null || { echo "$0 needs $needed" >&2; exit 2; }
done
unset "${!METERLINE_@}" # which would lead to a sidecar that is no rehearsal
work=$(mktemp -d)
cp "$here"/*.toml "$work"
cd "$work"

say() { printf '\n== %s\n' "$*"; }

clock() { # TIME: the sidecar believes it is so late
  echo "$1" > clock.new && mv clock.new clock
}

ask() { # PATH [CURL OPTIONS]: the sidecar's answer
  local path=$1
  shift
  curl --silent --show-error --fail --unix-socket http.sock "$@" "http://localhost$path"
}

use() { # SUBJECT CALLS TIME ID
  ask /v1/events --output /dev/null --header 'Content-Type: application/json' \
    --data "{\"id\": \"$4\", \"time\": \"$3\", \"subject\": \"$1\", \"quantities\": {\"calls\": $2}}"
}

until_said() { # TEXT COMMAND...: wait until a command prints it
  local text=$1
  shift
  # Not piped to grep, which would end the command once it has seen enough.
  until [[ $("$@" 2> /dev/null) == *"$text"* ]]; do
    kill -0 "$sidecar" 2> /dev/null || { cat sidecar.log >&2; exit 1; }
    sleep 0.1
  done
}

until_final() { # CUSTOMER PERIOD
  until_said '"status":"final"' ask "/v1/customers/$1/invoice?period=$2"
}

start() { # [OPTIONS OF meterline run]: run the sidecar until this script ends
  meterline run --clock clock "$@" 2> sidecar.log &
  sidecar=$!
  trap 'kill $sidecar 2> /dev/null; wait $sidecar 2> /dev/null || true; rm -rf "$work"' EXIT
  until_said '"ready":true' ask /status
}
