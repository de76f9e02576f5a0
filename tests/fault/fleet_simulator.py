"""Random schedules of faults for edges and their centre, each repeatable from its seed.

    make simulate SEEDS=1000
    make simulate SEED=42                 # one again, with its whole schedule

Real is all of a sidecar, as the daemon joins it: ingest, rolling up, forwarding, the
door, counting, closing, and SQLite with its file. Simulated are time, the wire between
hosts, the spools of workers, and the deaths of processes: everything is one thread.
"""

import asyncio
import logging
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

from tests.fault.fleet_oracle import bills_at, usage_at, usage_of
from tests.fault.oracle import verify_ledger
from tests.fault.sim_filing import FilingWorld
from tests.fault.sim_fleet import FleetWorld
from tests.fault.sim_time import MEMORY, Inline, SimLoop, ignore_the_dead
from tests.integration.ledger.archiving import verified_with

World = TypeVar("World", bound=FleetWorld)


class FleetOutcome(NamedTuple):
    """What a schedule came to."""

    schedule: list[str]
    events: int
    lost: int


def simulate_fleet(seed: int) -> FleetOutcome:
    """Run one schedule and check the law.

    Raises:
        AssertionError: the law was broken; the text ends with the schedule.
    """
    return played(lambda folder: FleetWorld(seed, folder), FleetWorld.run, name=seed)


def simulate_filing(seed: int) -> FleetOutcome:
    """Likewise, with an archive that edges and centre share, and clocks that go wrong.

    Raises:
        AssertionError: the law was broken; the text ends with the schedule.
    """
    return played(
        lambda folder: FilingWorld(seed, folder),
        FilingWorld.run,
        name=seed,
        check=_check_with_files,
    )


def played(
    made: Callable[[Path], World],
    play: Callable[[World], Awaitable[None]],
    *,
    name: object,
    check: "Callable[[World], int] | None" = None,
) -> FleetOutcome:
    """Let something happen to a world, in simulated time, and check the law.

    Args:
        made: makes the world, in a folder.
        play: leaves it at rest.
        name: what a failure is called.
        check: compares what is there with what was recorded.
    """
    found: list[World] = []

    async def run(folder: Path) -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(Inline(1))
        loop.set_exception_handler(ignore_the_dead)
        world = made(folder)
        found.append(world)
        with world.patched():
            try:
                await play(world)
            finally:
                await world.close()

    logging.disable(logging.CRITICAL)
    try:
        with tempfile.TemporaryDirectory(prefix="meterline-sim-", dir=MEMORY) as folder:
            with asyncio.Runner(loop_factory=SimLoop) as runner:
                runner.run(run(Path(folder)))
            (world,) = found
            n_events = (check or _check)(world)
    except Exception as error:
        schedule = "\n".join(found[0].log if found else ())
        raise AssertionError(f"SEED={name}: {error!r}\n{schedule}") from error
    finally:
        logging.disable(logging.NOTSET)
    return FleetOutcome(world.log, n_events, len(world.lost))


def _check(world: FleetWorld) -> int:
    """Compare the centre with what was recorded; return how many events count."""
    kept = {
        str(one.route): one
        for worker in world.workers
        for one in worker.recorded
        if one.route not in world.lost
    }
    (database,) = world.centre.events()
    usage, ids = usage_at(database)
    doubled = [one for one, n in ids.items() if n > 1]
    assert not doubled, f"counted twice: {doubled[:10]}"
    missing, more = kept.keys() - ids.keys(), ids.keys() - kept.keys()
    assert not missing, f"missing: {sorted(missing)[:10]}"
    assert not more, f"invented: {sorted(more)[:10]}"
    wanted = usage_of(kept.values())
    wrong = {
        key: (usage.get(key), wanted.get(key))
        for key in usage.keys() | wanted.keys()
        if usage.get(key) != wanted.get(key)
    }
    assert not wrong, f"(what is there, what the events come to): {wrong}"
    (alone,) = world.alone.events()
    bills = bills_at(database), bills_at(alone)
    assert bills[0] == bills[1], f"not the invoices of one host: {bills}"
    for path in (database, *world.edges[0].events()):
        report = verify_ledger(path)
        assert report.is_sound, report.findings
    return len(kept)


def _check_with_files(world: FilingWorld) -> int:
    """Likewise, and read each file as ``meterline verify`` does."""
    for host in world.hosts:
        for path in host.events():
            report = asyncio.run(verified_with(path, world.archive))
            assert report.is_sound, f"{host.name}: {report.findings}"
    return _check(world)
