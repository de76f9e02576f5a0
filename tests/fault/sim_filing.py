"""A fleet whose edges write what they hold as files, and whose clocks go wrong and right.

Everything of ``FleetWorld`` happens to it, and besides: each hour that is over becomes a
file, which the centre notes and reads; what is old leaves some edges for these files;
hosts are an hour off, and a centre that is put back may wake up with another clock.
"""

import asyncio
import random
from collections import Counter
from pathlib import Path
from typing import Final

from meterline.wire import SEQ_MAX
from meterline_sidecar.clock import HOUR_MS
from meterline_sidecar.fleet.edge import Edge
from meterline_sidecar.fleet.raw_events import ANYTHING, Untold
from meterline_sidecar.ledger.edge_events import Wanted
from meterline_sidecar.store.edge.events import EventRow
from tests.fault.fleet_oracle import left_there_of, raw_events_of
from tests.fault.sim_fleet import FleetWorld
from tests.fault.sim_hosts import Host

OFF_MS: Final = (0, HOUR_MS, -HOUR_MS)
FILES: Final = 0.8
"""How often an edge writes files."""
LEAVES: Final = 0.5
"""How often what is old leaves the ledger of such an edge."""
RETENTION: Final = '[retention]\nevents = "31 days"\n'
ASKED_AGAIN: Final = 20
NEWS_S: Final = 90.0  # what edges said before that is no news, see `_why`


def _any(_event: EventRow) -> bool:
    return True


EVERYTHING: Final = Wanted(0, SEQ_MAX, _any)


class FilingWorld(FleetWorld):
    """Edges and a centre that share an archive."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.files_chance = random.Random(f"{seed} files")
        self._leaving_chance = random.Random(f"{seed} leaving")
        self.archive = folder / "archive"
        self.archive.mkdir()
        self._table = f'[archive]\nurl = "{self.archive}"\n'
        self.put_back: set[str] = set()
        """Edges whose files, or workers, are not those of one life."""
        super().__init__(seed, folder)
        for host in self.hosts:
            if self.files_chance.random() < 0.3:
                self._set_clock(host)

    def _files(self) -> dict[str, str]:
        files = super()._files()
        return files | {"meterline.toml": files["meterline.toml"] + self._table}

    def _add_edge(self, name: str, kind: str) -> None:
        writes = self.files_chance.random() < FILES
        table = self._table if writes else ""
        if writes and self._leaving_chance.random() < LEAVES:
            table += RETENTION
        super()._add_edge(name, kind + table)

    def _there(self) -> set[str]:
        return super()._there() | left_there_of(self.hosts, self.archive)

    def _set_clock(self, host: Host) -> None:
        host.clock.wrong_ms = self.files_chance.choice(OFF_MS)
        self.note(f"  {host.name}: its clock is {host.clock.wrong_ms} ms off now")

    async def _restore_centre(self) -> None:
        await super()._restore_centre()
        self._set_clock(self.centre)

    async def _kill_centre(self) -> None:
        await super()._kill_centre()
        if self.files_chance.random() < 0.3:
            self._set_clock(self.centre)

    async def _restore_edge(self) -> None:
        self.put_back |= {edge.name for edge in self.edges if edge.backup is not None}
        await super()._restore_edge()

    async def settle(self) -> None:
        """Set the clock of the centre right, and let everything come to rest."""
        self.centre.clock.wrong_ms = 0
        await super().settle()

    async def _bill_alone(self) -> None:
        for edge in self.edges:  # of an hour that is not over
            edge.workers[0].record(3, now_ms=edge.clock.now_ms())
        await asyncio.sleep(NEWS_S)
        await self._until_at_rest()
        await self._look_at_raw_events()
        # What was recorded by a clock that is ahead counts at the centre once it is time.
        self._loop.skip(2 * HOUR_MS // 1_000)
        await self._until_at_rest()
        await super()._bill_alone()

    async def _look_at_raw_events(self) -> None:
        """See that the centre lists each event that an edge keeps, in files or not."""
        untold: list[Untold] = []
        for _ in range(ASKED_AGAIN):
            life = self.centre.life
            assert life is not None
            assert life.parts is not None
            assert life.parts.edges is not None
            edges = [
                edge
                for edge in life.parts.edges.all()
                if edge.rolls_up and not edge.is_retired
            ]
            untold = await self._list(edges)
            if not untold:
                return
            await asyncio.sleep(5)
        raise AssertionError(f"not told: {untold}")

    async def _list(self, edges: list[Edge]) -> list[Untold]:
        life = self.centre.life
        assert life is not None
        assert life.parts is not None
        found: dict[str, Counter[str]] = {e.row.name: Counter() for e in edges}
        after: int | None = 0
        untold: list[Untold] = []
        while after is not None:
            page = await life.parts.raw_events.page(
                edges, EVERYTHING, ANYTHING, after=after, limit=100
            )
            for name, one in page.events:
                found[name][str(one.event.route)] += 1
            after = page.next_after
            untold += page.untold
        hosts = {edge.name: edge for edge in self.edges}
        for name, listed in found.items():
            (database,) = hosts[name].events()
            there = raw_events_of(database, self.archive)
            if untold or listed == there:
                continue
            assert not there - listed, f"{name}: not listed: {there - listed}"
            assert name in self.put_back, f"{name}: listed too: {listed - there}"
        return untold
