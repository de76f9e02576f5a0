"""Random schedules of faults over the real code, each repeatable from its seed.

    make simulate SEEDS=1000
    make simulate SEED=42                 # one again, with its whole schedule

Real are the spool with its files, the link, the socket, the receiver, ingest, the
chain, aggregation, draining and SQLite with its file. Simulated are the clock, the
deaths of processes, and who gets to run when: everything is one thread. For each seed
a fleet is tried as well, see ``fleet_simulator``.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Final, NamedTuple
from unittest.mock import patch

from tests.fault.fleet_simulator import simulate_filing, simulate_fleet
from tests.fault.oracle import assert_law
from tests.fault.sim_time import MEMORY, Inline, ignore_the_dead
from tests.fault.sim_world import World

MAY_LOSE: Final = ("spool full",)


class Outcome(NamedTuple):
    """What a schedule came to."""

    schedule: list[str]
    events: int
    lost: int


def simulate(seed: int) -> Outcome:
    """Run one schedule and check the law.

    Raises:
        AssertionError: the law was broken; the text ends with the schedule.
    """
    ids = random.Random(seed + 1)

    def token_hex(n_bytes: int) -> str:
        return ids.randbytes(n_bytes).hex()

    with (
        tempfile.TemporaryDirectory(prefix="meterline-sim-", dir=MEMORY) as folder,
        patch("secrets.token_hex", token_hex),
    ):
        world = World(seed, Path(folder))

        async def run() -> None:
            loop = asyncio.get_running_loop()
            loop.set_default_executor(Inline(1))
            loop.set_exception_handler(ignore_the_dead)
            try:
                await world.run()
            finally:
                world.close()

        try:
            asyncio.run(run())
            found = assert_law(
                world.ledger / "meterline.db", world.truths, may_lose=MAY_LOSE
            )
        except Exception as error:
            schedule = "\n".join(world.log)
            raise AssertionError(f"SEED={seed}: {error!r}\n{schedule}") from error
    n_events = sum(len(numbers) for numbers in found.numbers.values())
    return Outcome(world.log, n_events, found.lost.total())


def main() -> int:
    """Run many schedules; return 1 if one of them broke the law."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, help="only this one, and tell all of it")
    options = parser.parse_args()
    if options.seed is not None:
        for one in (simulate, simulate_fleet, simulate_filing):
            outcome = one(options.seed)
            print("\n".join(outcome.schedule))
            print(f"{outcome.events} events, {outcome.lost} lost, as reported")
        return 0
    start_s = time.monotonic()
    failed: list[int] = []
    for seed in range(options.first, options.first + options.seeds):
        for one in (simulate, simulate_fleet, simulate_filing):
            try:
                one(seed)
            except AssertionError as error:
                failed.append(seed)
                print(error, file=sys.stderr)
    took_s = time.monotonic() - start_s
    print(f"{options.seeds} seeds in {took_s:.0f} s; broken by: {failed or 'none'}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
