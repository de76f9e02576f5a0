"""The wire between an edge and its centre ends behind each frame of a session.

It is cut, or carries nothing any more and tells nobody, in either direction; the time is
simulated, so that nobody waits for what a peer waits for.
"""

import asyncio
from pathlib import Path
from typing import Final

import pytest

from tests.fault.fleet_simulator import played
from tests.fault.host import IS_SOAK, rounds
from tests.fault.sim_fleet import KINDS, USAGE, FleetWorld
from tests.fault.sim_wire import Wire

FRAMES: Final = 9  # of a short session: the greeting, and some of what follows
LONG_S: Final = 60.0  # for whoever waits for a peer that says nothing


class FrameWorld(FleetWorld):
    """One edge; of each connection somebody says where it ends."""

    def __init__(self, folder: Path, kind: str) -> None:
        super().__init__(1, folder, kinds=[kind])
        self.next_wires: list[Wire] = []
        self.used: list[Wire] = []

    def wire(self) -> Wire:
        """Return the next connection, which may end behind a frame."""
        wire = self.next_wires.pop() if self.next_wires else super().wire()
        self.used.append(wire)
        return wire

    async def end_behind(
        self, frames: tuple[int | None, int | None], *, stalls: bool
    ) -> None:
        """Have the next session end behind a frame, while events come."""
        self.note(f"{frames}, {'stalls' if stalls else 'cut'}")
        is_slow = IS_SOAK or frames[0] == 2
        wire = Wire(self.wires_chance, frames=frames, stalls=stalls, is_slow=is_slow)
        self.next_wires.append(wire)
        self.used[-1].cut()
        (edge,) = self.edges
        for worker in edge.workers:
            worker.record(3, now_ms=edge.clock.now_ms())
        while not (wire.is_cut or wire.is_stalled):
            for worker in edge.workers:  # so that there is always a next frame
                worker.record(1, now_ms=edge.clock.now_ms())
            await asyncio.sleep(1)
        # A new connection is made, however the last one ended.
        async with asyncio.timeout(LONG_S):
            while self.used[-1] is wire:
                await asyncio.sleep(0.5)


@pytest.mark.parametrize("kind", KINDS if IS_SOAK else ["", USAGE])
def test_a_wire_that_ends_behind_any_frame_counts_each_event_once(kind: str) -> None:
    async def play(world: FrameWorld) -> None:
        world.is_calm = True
        await world.start_all()
        while not world.used:
            await asyncio.sleep(0.5)
        for stalls in (False, True):
            for k in range(1, rounds(FRAMES, soak=40) + 1):
                await world.end_behind((k, None), stalls=stalls)
                await world.end_behind((None, k), stalls=stalls)
        await world.settle()

    outcome = played(
        lambda folder: FrameWorld(folder, kind), play, name=kind or "events"
    )

    assert outcome.events > 0
    assert outcome.lost == 0
