"""A host to break: what can happen to it, how it goes on, how it comes to rest."""

import random
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from meterline.link import State
from meterline.spool.dead import DeadSpool, spool_directories
from meterline.spool.segment import SEGMENT_BYTES_MIN
from meterline_sidecar.clock import DAY_MS, HOUR_MS
from meterline_sidecar.errors import MeterlineError, RetryLater
from tests.clock import FakeClock
from tests.fault.sim_database import Killed
from tests.fault.sim_parts import (
    App,
    Drainer,
    Life,
    Peer,
    Wire,
    copy_files,
    is_over,
    turns,
)

FAULTS: Final = 120  # steps of a schedule
APPS_MAX: Final = 4
ALL_BYTES: Final = 1 << 20
FLOOD_EVENTS: Final = 3_000  # more than a small spool holds
CLOCK_STEPS_MS: Final = (
    *(HOUR_MS, -HOUR_MS, DAY_MS, 3 * DAY_MS, -3 * DAY_MS),
    *(20 * DAY_MS, -20 * DAY_MS, 40 * DAY_MS),
)


class World:
    """A host whose every process, wire and disk fails as a seed says."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.chance = random.Random(seed)
        self.folder = folder
        self.log: list[str] = []
        self.clock = FakeClock()
        self.apps: list[App] = []
        self.dead_apps: list[App] = []
        self.drainers: list[Drainer] = []
        self.life: Life | None = None
        self._lives = 0
        self._is_full = False
        self._spool_dir = folder / "spool"
        self._front_path = folder / "front"
        self._front = socket.socket(socket.AF_UNIX)
        self._front.bind(str(self._front_path))
        self._front.listen(16)
        self.ledger = self._next_folder()

    def _next_folder(self) -> Path:
        self._lives += 1
        folder = self.folder / f"life{self._lives}"
        folder.mkdir()
        return folder

    async def run(self) -> None:
        """Run the schedule, bring everything to rest, and stop the sidecar."""
        faults: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            (30, self._talk),
            (14, self._record),
            (4, self._start_app),
            (4, self._kill_app),
            (3, self._close_app),
            (7, self._cut),
            (5, self._kill_sidecar),
            (7, self._doom_sidecar),
            (3, self._stop_sidecar),
            (4, self._fill_disk),
            (5, self._step_clock),
            (6, self._aggregate),
            (4, self._drain),
            (4, self._drain_as_app),
            (3, self._checkpoint),
            (1, self._flood),
        ]
        weights = [weight for weight, _ in faults]
        await self._start_sidecar()
        for _ in range(FAULTS):
            (_, fault) = self.chance.choices(faults, weights)[0]
            self._note(fault.__name__.strip("_"))
            if self.life is None and self.chance.random() < 0.4:
                await self._start_sidecar()
            await self._alive(fault())
            await self._clean_up()
        await self._settle()

    def close(self) -> None:
        """Give back what the operating system gave."""
        for app in self.apps:
            app.spool.abandon()
        for peer in self.peers:
            self._hang_up(peer)
        for drainer in self.drainers:
            drainer.dead.close()
        self._front.close()

    @property
    def truths(self) -> list[App]:
        """Every app there ever was."""
        return [*self.dead_apps, *self.apps]

    @property
    def peers(self) -> list[Peer]:
        """Everybody who may be talking to the sidecar."""
        return [*self.apps, *self.drainers]

    def _note(self, what: str) -> None:
        self.log.append(f"{len(self.log):4} {what}")

    # --- the sidecar

    async def _start_sidecar(self) -> None:
        life = self.life = Life(
            self.ledger,
            spool_dir=self._spool_dir,
            clock=self.clock,
            when_dead=self._freeze,
        )
        if self.chance.random() < 0.2:
            life.database.steps_left = self.chance.randint(1, 60)
        self._note("start_sidecar")
        await self._alive(life.start())
        if not life.is_dead:
            life.database.fill_disk(is_full=self._is_full)
        await self._clean_up()

    async def _alive(self, doing: Awaitable[Any]) -> None:
        """Wait for something that may end with the sidecar's death."""
        try:
            await doing
        except Killed:
            pass
        except RetryLater:
            assert self._is_full
        except MeterlineError:
            assert self.life is None or self.life.is_dead

    def _freeze(self) -> None:
        """Keep what the files hold at the moment of death; nobody hears more of it."""
        assert self.life is not None
        self._note("DEAD")
        self.ledger = self._next_folder()
        copy_files(self.life.folder, self.ledger)
        for peer in self.peers:
            if peer.wire is not None:
                peer.wire.cut()

    async def _clean_up(self) -> None:
        life = self.life
        if life is not None and life.is_dead:
            self.life = None
            await life.bury()
        for peer in self.peers:
            if peer.link is not None and (is_over(peer.link) or self.life is None):
                self._hang_up(peer)

    async def _kill_sidecar(self) -> None:
        if self.life is not None:
            self.life.die()

    async def _doom_sidecar(self) -> None:
        if self.life is not None:
            self.life.database.steps_left = self.chance.randint(1, 40)

    async def _stop_sidecar(self) -> None:
        life = self.life
        if life is None:
            return
        try:
            await life.stop()
        except RetryLater:
            life.die()
        else:
            self.life = None  # its folder is the ledger, as it stands

    async def _fill_disk(self) -> None:
        self._is_full = not self._is_full and self.chance.random() < 0.5
        self._note(f"  full: {self._is_full}")
        if self.life is not None:
            self.life.database.fill_disk(is_full=self._is_full)

    async def _step_clock(self) -> None:
        self.clock.time_ms += self.chance.choice(CLOCK_STEPS_MS)

    async def _aggregate(self) -> None:
        if self.life is not None:
            await self.life.aggregator.run()

    async def _drain(self) -> None:
        if self.life is not None:
            await self.life.drain.run()

    async def _checkpoint(self) -> None:
        if self.life is not None:
            await self.life.checkpoint()

    # --- the apps

    async def _start_app(self) -> None:
        if len(self.apps) < APPS_MAX:
            small, large = 2 * SEGMENT_BYTES_MIN, 16 * SEGMENT_BYTES_MIN
            name = f"app{len(self.truths)}"
            bytes_max = self.chance.choice([small, large])
            self.apps.append(App(name, self._spool_dir, bytes_max=bytes_max))

    async def _record(self) -> None:
        for app in self.apps:
            if not app.is_leaving:
                app.record(self.chance.randint(0, 30), time_ms=self.clock.time_ms)

    async def _flood(self) -> None:
        for app in self.apps[:1]:
            if not app.is_leaving:
                app.record(FLOOD_EVENTS, time_ms=self.clock.time_ms)

    async def _talk(self) -> None:
        """Let everybody ship, with wires that carry pieces of any size."""
        sizes = self.chance.choice([(ALL_BYTES,), (1, 3, 50), (200, 5000)])
        for _ in range(self.chance.randint(1, 8)):
            for peer in self.peers:
                self._pump(peer, self.chance.choice(sizes), self.chance.choice(sizes))
            await turns(self.chance.randint(0, 6))

    async def _cut(self) -> None:
        peers = [peer for peer in self.peers if peer.wire is not None]
        if peers:
            self._hang_up(self.chance.choice(peers))

    async def _kill_app(self) -> None:
        if self.apps:
            self._bury_app(self.chance.choice(self.apps))

    async def _close_app(self) -> None:
        if self.apps:
            self.chance.choice(self.apps).close()

    async def _drain_as_app(self) -> None:
        for path in spool_directories(self._spool_dir)[:2]:
            if (dead := DeadSpool.take(path)) is not None:
                self.drainers.append(Drainer(dead))

    def _bury_app(self, app: App) -> None:
        self._hang_up(app)
        if app in self.apps:  # it had not said goodbye just now
            app.spool.abandon()
            self.apps.remove(app)
            self.dead_apps.append(app)

    def _pump(self, peer: Peer, up_bytes: int, down_bytes: int) -> None:
        if isinstance(peer, App):
            peer.spool.maintain(sync_interval_s=None)
        if peer.link is None:
            if self.life is None or self.life.is_dead:
                return
            peer.link = peer.connect(self._front_path)
            peer.wire = Wire(self._front, self.life.socket)
        peer.link.pump(is_last=peer.is_leaving)
        assert peer.wire is not None
        try:
            peer.wire.move(up_bytes, down_bytes)
        except OSError:
            peer.wire.cut()
        peer.link.pump(is_last=peer.is_leaving)

    def _hang_up(self, peer: Peer) -> None:
        link, peer.link = peer.link, None
        wire, peer.wire = peer.wire, None
        if link is None or wire is None:
            return
        wire.cut()
        link.close()
        is_done = link.state is State.DONE
        if isinstance(peer, Drainer):
            self.drainers.remove(peer)
            if is_done:
                peer.dead.delete()
            peer.dead.close()
        elif isinstance(peer, App) and is_done:
            peer.spool.delete()
            self.apps.remove(peer)
            self.dead_apps.append(peer)

    # --- the end

    async def _settle(self) -> None:
        """Let nothing fail any more, until everything is where it belongs."""
        self._note("SETTLE")
        self._is_full = False
        for app in list(self.apps):
            if self.chance.random() < 0.5:
                self._bury_app(app)
            else:
                app.close()
        for _ in range(1000):
            if self.life is None:
                await self._start_sidecar()
                continue
            self.life.database.fill_disk(is_full=False)
            self.life.database.steps_left = None
            for peer in self.peers:
                self._pump(peer, ALL_BYTES, ALL_BYTES)
            await turns(5)
            await self._clean_up()
            if not self.apps and not self.drainers:
                await self.life.drain.run()
                # A hello that a dead app had on its way may take over from the drain,
                # which comes again.
                if not spool_directories(self._spool_dir):
                    break
        assert not spool_directories(self._spool_dir), "a spool was never drained"
        await self._stop_sidecar()
        await turns(10)  # what was cut off notices it
