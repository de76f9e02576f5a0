"""What metering adds to a request of a real server, in one process: on, off, and on again.

Two servers never cost the same: where their memory lies makes a tenth of it. Here one
uvicorn (uvloop, httptools) answers 200 requests by a bare FastAPI app, 200 by one with a
middleware that only awaits the app, and 200 metered, again and again, while wrk asks with
16 connections and the sidecar runs next to it.

    python -m benchmarks.peers.switched [--rounds 5] [--seconds 6]

Printed are medians of the CPU time that a request takes more than in the turn of the bare
app before, in the thread that serves; and, of another server that meters all requests,
what the thread that ships them takes for each.
"""

import argparse
import os
import statistics
import sys
from typing import Any, Final

from benchmarks.harness import heading
from benchmarks.peers.measured import WARM_UP_S, ask, surroundings
from benchmarks.peers.place import Served, make_environment, variables
from benchmarks.peers.switching import APPS, MEASURED, TURN

APP: Final = "benchmarks.peers.switching:app"
PURE: Final = "METERLINE_PURE"
WAYS: Final = {"compiled": "", "in Python": "1"}
SETTLING: Final = 5  # turns of each, of which nothing is counted


def main() -> None:
    """Measure both ways in turn, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=6, help="of load, in a round")
    options = parser.parse_args()
    make_environment()
    heading(__doc__)
    rounds: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    for _ in range(options.rounds):
        for way, is_pure in WAYS.items():
            os.environ[PURE] = is_pure
            figures = _figures(_measured("bare,empty,metered", options.seconds))
            shipping_us = _shipping_us(_measured("metered", options.seconds))
            rounds[way].append([*figures, shipping_us])
    names = ("bare app", "empty middleware", "metered", "shipping")
    sys.stdout.write(f"{'CPU us a request':28}{''.join(f'{n:>24}' for n in names)}\n")
    for way, found in rounds.items():
        columns = "".join(
            f"{_range(column):>24}" for column in zip(*found, strict=True)
        )
        sys.stdout.write(f"{way:28}{columns}\n")
    sys.stdout.write("goal, metered and shipping together: 5\n")


def _measured(apps: str, seconds: int) -> dict[str, Any]:
    os.environ[APPS] = apps
    with surroundings("meterline", keeps=False) as (folder, at, _):
        server = Served(APP, folder, variables("meterline", folder, at.url))
        server.start()
        try:
            ask(server.port, seconds=WARM_UP_S)
            ask(server.port, seconds=seconds)
            found: dict[str, Any] = server.get_json(MEASURED)
        finally:
            server.kill()
    return found


def _figures(found: dict[str, Any]) -> list[float]:
    turns: dict[str, list[float]] = found["turns"]
    n_turns = min(map(len, turns.values()))
    kept = {name: turns[name][SETTLING:n_turns] for name in turns}
    more = {
        name: statistics.median(
            one - other for one, other in zip(kept[name], kept["bare"], strict=True)
        )
        for name in kept
    }
    return [statistics.median(kept["bare"]), more["empty"], more["metered"]]


def _shipping_us(found: dict[str, Any]) -> float:
    return float(found["shipping_s"] * 1e6 / (len(found["turns"]["metered"]) * TURN))


def _range(column: tuple[float, ...]) -> str:
    middle = statistics.median(column)
    return f"{middle:.1f} ({min(column):.1f} to {max(column):.1f})"


if __name__ == "__main__":
    main()
