"""Measures all peers: ``python -m benchmarks.peers``, ``make bench-peers``."""

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable
from typing import Final, TypeVar

import meterline
from benchmarks.harness import heading
from benchmarks.peers import page
from benchmarks.peers.measured import (
    Rate,
    delivered,
    in_process_us,
    load_program,
    served,
)
from benchmarks.peers.place import make_environment

T = TypeVar("T")
ALL: Final = tuple(page.PEERS)


def main() -> None:
    """Measure, print, and write the page where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4, help="of load, in a round")
    parser.add_argument("--write", action="store_true", help="docs/benchmarks.md")
    options = parser.parse_args()
    make_environment()
    machine = _machine()  # with the load before there is ours
    figures = page.Figures(
        in_process_us=_in_turn(in_process_us, options.rounds, "in process"),
        served=_in_turn(
            lambda peer: served(peer, seconds=options.seconds),
            options.rounds,
            "under uvicorn",
        ),
        undisturbed=_told(is_killed=False),
        delivered=_told(is_killed=True),
    )
    heading(__doc__)
    sys.stdout.write(page.table(figures) + "\n")
    if options.write:
        page.write(
            figures,
            machine=machine,
            command="make bench-peers",
            load=load_program(),
        )


def _in_turn(measure: Callable[[str], T], rounds: int, what: str) -> dict[str, list[T]]:
    """Measure each in every round, in an order that moves on."""
    found: dict[str, list[T]] = {peer: [] for peer in ALL}
    for i in range(rounds):
        for peer in ALL[i % len(ALL) :] + ALL[: i % len(ALL)]:
            one = measure(peer)
            found[peer].append(one)
            shown = one.requests_per_s if isinstance(one, Rate) else one
            sys.stderr.write(f"{what}, round {i + 1}: {peer} {shown:,.0f}\n")
    return found


def _told(*, is_killed: bool) -> dict[str, int]:
    found: dict[str, int] = {}
    for peer in ALL:
        if peer != page.BARE:
            found[peer] = delivered(peer, is_killed=is_killed)
            what = "after kill -9" if is_killed else "undisturbed"
            sys.stderr.write(f"{what}: {peer} {found[peer]:,}\n")
    return found


def _machine() -> str:
    return (
        f"{time.strftime('%Y-%m-%d')}, {platform.machine()} with {os.cpu_count()} cores,"
        f" Linux {platform.release()}, Python {platform.python_version()}, Meterline"
        f" {meterline.__version__}; load average before it began: {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    main()
