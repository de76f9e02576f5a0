"""A fleet to break: edges of every kind, their centre, and what can happen to them."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from meterline_sidecar.access.tokens import TokenFile
from meterline_sidecar.clock import HOUR_MS, MINUTE_MS
from meterline_sidecar.errors import MeterlineError
from meterline_sidecar.fleet.edge import Edge
from meterline_sidecar.store.sqlite.driver import SqliteDatabase
from tests.fault.fleet_oracle import edge_id_of, there_of
from tests.fault.sim_database import Killed, SimDatabase
from tests.fault.sim_hosts import Host, SimClock, Worker, living
from tests.fault.sim_time import SimLoop
from tests.fault.sim_wire import Wire
from tests.fleet import CENTRE, EDGE

FAULTS: Final = 50  # steps of a schedule
EDGES_MAX: Final = 4
WORKERS_MAX: Final = 3  # of an edge
DAY_S: Final = 86_400
MONTH_S: Final = 31 * DAY_S
WIRE_S: Final = 5.0  # what was on its way to the centre is there, or nowhere
WRONG_MS: Final = (0, 0, 0, 4 * MINUTE_MS, -HOUR_MS)
"""By what clocks are wrong: further ahead, events are held."""
SETTLE_ROUNDS: Final = 200
LOOK_EVERY_S: Final = 0.5  # less often than in earnest: nobody waits here
SIDECAR: Final = """\
[sidecar]
socket = "meterline.sock"
database = "meterline.db"
spool_dir = "spool"
http = "unix:http.sock"
"""
ACK: Final = 'ack = "centre"\n'
USAGE: Final = 'forward = "usage"\n'
KINDS: Final = ("", ACK, USAGE, USAGE + ACK)
"""What edges are: who sends events, whose apps wait for the centre, who sends usage."""
METERS: Final = """
[[meter]]
name = "api_calls"
aggregation = "count"
where = { kind = "use" }

[[meter]]
name = "n"
aggregation = "sum"
value = "quantities.n"

[[meter]]
name = "ids"
aggregation = "unique"
value = "route"
"""
MORE: Final = """
[[meter]]
name = "more{n}"
aggregation = "max"
value = "quantities.n"
where = {{ route = ["/w{i}/*"] }}
"""
CUSTOMERS: Final = """
[billing]
close = "auto"
grace_hours = 0

[[customer]]
id = "acme"
subjects = ["acct_1", "acct_2"]
plan = "tiered"

[[customer]]
id = "other"
subjects = ["acct_3"]
plan = "tiered"
"""
PRICING: Final = """
[[plan]]
name = "tiered"
version = 1
effective = 2026-01-01
currency = "usd"

[[plan.price]]
meter = "api_calls"
model = "graduated"
tiers = [ { up_to = 20, unit_amount = "0" }, { unit_amount = "0.01" } ]

[[plan.price]]
meter = "n"
model = "per_unit"
unit_amount = "0.001"
"""


class FleetWorld:
    """Edges and a centre whose processes, wires, disks and clocks fail as a seed says.

    Args:
        kinds: of the edges, by the keys in their files; by default the seed says it.
    """

    def __init__(
        self, seed: int, folder: Path, *, kinds: Sequence[str] | None = None
    ) -> None:
        self._seed = seed
        self.chance = random.Random(seed)
        self._ids = random.Random(seed + 1)
        self.wires_chance = random.Random(seed + 2)
        self.log: list[str] = []
        self.is_calm = False
        """Whether wires fail no more."""
        self.lost: set[str] = set()
        """Events that no disk has any more, by what tells them apart."""
        self.gone: list[str] = []
        """Ids of edges whose disks are lost."""
        self.workers: list[Worker] = []
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        self._loop = loop
        self._root = folder
        self._more = ""
        token = TokenFile(folder / "tokens").create("edges", "edge", now_ms=1)
        (folder / "token").write_text(token.text)
        for name in ("centre.pem", "centre.key"):
            (folder / name).write_text("")
        self.centre = Host("centre", folder, self._clock(), self._files())
        for place in (self.centre.folder,):
            (folder / "tokens").rename(place / "meterline.db.tokens")
        files = self._files() | {
            "meterline.toml": f"{SIDECAR}{METERS}{CUSTOMERS}",
        }
        self.alone = Host("alone", folder, self._clock(), files)
        self.edges: list[Host] = []
        if kinds is None:
            for i in range(self.chance.randrange(2, EDGES_MAX + 1)):
                self._add_edge(f"edge{i}", self.chance.choice(KINDS))
                self.edges[-1].clock.wrong_ms = self.chance.choice(WRONG_MS)
                self.note(f"  its clock: {self.edges[-1].clock.wrong_ms} ms off")
        for i, kind in enumerate(kinds or ()):
            self._add_edge(f"edge{i}", kind)
        self._tasks = [
            loop.create_task(worker.work(edge))
            for edge in self.edges
            for worker in edge.workers
        ]

    def _clock(self) -> SimClock:
        return SimClock(self._loop.time)

    def _files(self) -> dict[str, str]:
        text = CENTRE.format(port=1).replace("127.0.0.1", "localhost")
        text += METERS + self._more + CUSTOMERS
        return {
            "meterline.toml": f'{SIDECAR}role = "centre"\n{text}',
            "pricing.toml": PRICING,
        }

    def _add_edge(self, name: str, kind: str) -> None:
        text = EDGE.format(port=1, name=name) + kind
        files = {"meterline.toml": f'{SIDECAR}role = "edge"\n{text}'}
        edge = Host(name, self._root, self._clock(), files)
        edge.rolls_up, edge.waits = "usage" in kind, "ack" in kind
        self.edges.append(edge)
        for _ in range(self.chance.randrange(1, WORKERS_MAX + 1)):
            number = len(self.workers)
            dice = random.Random(self.chance.random())
            ears = random.Random(f"{self._seed} {number}")
            worker = Worker(f"w{number}", dice, f"{number + 1:032x}", ears=ears)
            edge.workers.append(worker)
            self.workers.append(worker)
        self.note(f"{name}: {kind.strip() or 'events'}")

    def note(self, what: str) -> None:
        """Add to what a failure tells."""
        self.log.append(f"{len(self.log):4} {self._loop.time():10.2f} s  {what}")

    # --- what the code of all hosts meets

    @contextlib.contextmanager
    def patched(self) -> Generator[None]:
        """Put the simulation in place of what a process asks its system for."""

        async def open_ledger(place: Path) -> SimDatabase | SqliteDatabase:
            return await living.get().open_ledger(place)

        async def open_connection(*_args: Any, **_more: Any) -> Any:
            return self._connected()

        async def addresses(_address: object) -> list[str]:
            return ["127.0.0.1"]

        room = "meterline_sidecar"
        stand_ins: dict[str, object] = {
            f"{room}.daemon.assemble.open_ledger": open_ledger,
            f"{room}.daemon.assemble_fleet.edge_tls": _no_tls,
            f"{room}.daemon.assemble_fleet.centre_tls": _no_tls,
            f"{room}.fleet.forwarder.edge_tls": _no_tls,
            f"{room}.fleet.forwarder.LOOK_EVERY_S": LOOK_EVERY_S,
            f"{room}.fleet.line.addresses": addresses,
            "asyncio.open_connection": open_connection,
            "time.monotonic": self._loop.time,
            "secrets.token_hex": self._token_hex,
            "secrets.token_bytes": self._ids.randbytes,
            "secrets.randbelow": self._ids.randrange,
        }
        with contextlib.ExitStack() as stack:
            for target, value in stand_ins.items():
                stack.enter_context(patch(target, value))
            yield

    def _token_hex(self, n_bytes: int) -> str:
        return self._ids.randbytes(n_bytes).hex()

    def _connected(self) -> tuple[asyncio.StreamReader, Any]:
        """Connect whoever asks to the centre, if it is there."""
        wire = self.wire()
        if self.centre.life is None or not self.centre.life.serve(wire):
            raise ConnectionRefusedError(111, "nobody listens")
        living.get().wires.append(wire)
        return wire.edge_reader, wire.edge_writer

    def wire(self) -> Wire:
        """Return what the next connection goes over."""
        if self.is_calm:
            return Wire(self.wires_chance)
        chance = self.wires_chance
        up = chance.choice([None, None, chance.randrange(8_000)])
        down = chance.choice([None, None, None, chance.randrange(1_500)])
        return Wire(
            chance,
            cut_after=(up, down),
            stalls=chance.random() < 0.3,
            is_slow=chance.random() < 0.1,
        )

    # --- the schedule

    async def run(self) -> None:
        """Run the schedule, and bring everything to rest."""
        faults: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            (26, self._record),
            (24, self._wait),
            (6, self._cut),
            (6, self._kill_edge),
            (5, self._doom_edge),
            (4, self._stop_edge),
            (5, self._kill_centre),
            (5, self._doom_centre),
            (2, self._stop_centre),
            (4, self._back_up),
            (3, self._restore_edge),
            (2, self._restore_centre),
            (2, self._lose_edge),
            (3, self._find_edge),
            (5, self._decide),
            (2, self._change_meters),
            (2, self._rebuild),
            (3, self._skip_a_day),
            (1, self._skip_a_month),
        ]
        weights = [weight for weight, _ in faults]
        await self.start_all()
        for _ in range(FAULTS):
            (_, fault) = self.chance.choices(faults, weights)[0]
            self.note(fault.__name__.strip("_"))
            await fault()
            for host in self.hosts:
                await host.clean_up()
                if host.life is None and self.chance.random() < 0.5:
                    self.note(f"start {host.name}")
                    await host.start()
        await self.settle()

    async def close(self) -> None:
        """End all that still runs."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for host in self.hosts:
            await host.kill()

    @property
    def hosts(self) -> list[Host]:
        """Everybody."""
        return [self.centre, *self.edges]

    def _some_edge(self) -> Host:
        edge = self.chance.choice(self.edges)
        self.note(f"  {edge.name}")
        return edge

    async def start_all(self) -> None:
        """Have everybody live; the first time, the single host as well."""
        if self._loop.time() == 0:
            await self.alone.start()
            await self.alone.stop()
        for host in self.hosts:
            await host.start()

    async def _record(self) -> None:
        edge = self._some_edge()
        for worker in edge.workers:
            worker.record(self.chance.randrange(12), now_ms=edge.clock.now_ms())
            worker.is_leaving |= self.chance.random() < 0.1

    async def _wait(self) -> None:
        await asyncio.sleep(self.chance.choice([0.1, 1.0, 3.0, 8.0, 40.0]))

    async def _cut(self) -> None:
        life = self._some_edge().life
        if life is not None and life.wires:
            wire = life.wires[-1]
            if self.chance.random() < 0.5:
                wire.cut()
            else:
                wire.stall()

    async def _kill_edge(self) -> None:
        await self._some_edge().kill()

    async def _doom_edge(self) -> None:
        self._doom(self._some_edge())

    async def _stop_edge(self) -> None:
        await self._some_edge().stop()

    async def _kill_centre(self) -> None:
        await self.centre.kill()

    async def _doom_centre(self) -> None:
        self._doom(self.centre)

    def _doom(self, host: Host) -> None:
        n_steps = self.chance.randint(1, 80)
        if host.life is not None and host.life.database is not None:
            host.life.database.steps_left = n_steps
        else:
            host.steps_left = n_steps

    async def _stop_centre(self) -> None:
        await self.centre.stop()

    async def _back_up(self) -> None:
        host = self.chance.choice(self.hosts)
        self.note(f"  {host.name}")
        host.make_backup()

    async def _restore_edge(self) -> None:
        edge = self._some_edge()
        if await edge.restore():
            await asyncio.sleep(WIRE_S)
            self._find_lost()

    async def _restore_centre(self) -> None:
        if await self.centre.restore():
            self._find_lost()
            self.centre.write("meterline.toml", self._files()["meterline.toml"])

    async def _lose_edge(self) -> None:
        edge = self._some_edge()
        self.gone += [edge_id_of(path) for path in edge.events()]
        await edge.lose_disk()
        await asyncio.sleep(WIRE_S)
        self._find_lost()

    async def _find_edge(self) -> None:
        """Put the disk back that an edge lost last; whoever was there in between is gone.

        Of an edge that sends events, what it had alone is a gap that was told already.
        """
        edge = self._some_edge()
        if edge.lost is None or not edge.rolls_up:
            return
        here = [edge_id_of(path) for path in edge.events()]
        await edge.find_disk()
        back = [edge_id_of(path) for path in edge.events()]
        self.gone = [one for one in (*self.gone, *here) if one not in back]
        await asyncio.sleep(WIRE_S)
        self.lost.clear()  # all that is on no disk now
        self._find_lost()

    def _find_lost(self) -> None:
        """Note which events apps have given up that are on no disk any more."""
        there = self._there()
        for edge in self.edges:
            for worker in edge.workers:
                given_up = worker.recorded[: worker.acked]
                lost = {str(one.route) for one in given_up} - there
                if lost - self.lost:
                    self.note(f"  lost of {worker.name}: {len(lost - self.lost)}")
                self.lost |= lost

    def _there(self) -> set[str]:
        """Return which events some disk has."""
        return there_of(self.hosts)

    async def _known(self) -> list[Any]:
        """Return the edges that the centre knows, once it is there."""
        await self.centre.clean_up()
        await self.centre.start()
        life = self.centre.life
        if life is None or life.parts is None or life.parts.edges is None:
            return []
        return life.parts.edges.all()

    async def _decide(self) -> None:
        """Adopt edges that are refused, and retire those that are gone."""
        for known in await self._known():
            life = self.centre.life
            if life is None or life.parts is None or life.parts.edges is None:
                return
            edges, why = life.parts.edges, {"author": "tests", "reason": "tried"}
            with contextlib.suppress(Killed, MeterlineError):
                if known.row.edge in self.gone:
                    await edges.retire(known.row.edge, **why)
                elif known.row.trouble or known.is_retired:
                    self.note(f"  adopt {known.row.name}: {known.row.trouble}")
                    await edges.adopt(known.row.edge, **why)

    async def _change_meters(self) -> None:
        n, i = self.chance.randrange(3), self.chance.randrange(1, 4)
        self._more = MORE.format(n=n, i=i)
        self.centre.write("meterline.toml", self._files()["meterline.toml"])
        life = self.centre.life
        if life is not None and life.parts is not None:
            (life.folder / "meterline.toml").write_text(self._files()["meterline.toml"])
            with contextlib.suppress(Killed, MeterlineError):
                await life.parts.files.reload(author="tests", reason="tried")

    async def _rebuild(self) -> None:
        life = self.centre.life
        if life is not None and life.parts is not None:
            meter = self.chance.choice(["api_calls", "n", "ids"])
            with contextlib.suppress(Killed, MeterlineError):
                await life.parts.terms.recount_meter(
                    meter, from_ms=0, author="tests", reason="tried"
                )

    async def _skip_a_day(self) -> None:
        if self.chance.random() < 0.5:
            await self.centre.kill()
        self._loop.skip(DAY_S)

    async def _skip_a_month(self) -> None:
        self._loop.skip(MONTH_S)

    # --- the end

    async def settle(self) -> None:
        """Let nothing fail any more, until everything is where it belongs."""
        self.note("SETTLE")
        self.is_calm = True
        for host in self.hosts:
            host.steps_left = None
            if host.life is not None and host.life.database is not None:
                host.life.database.steps_left = None
            for wire in host.life.wires if host.life else ():
                wire.cut()
        for _ in range(2):  # what is late of one month is on the invoice of the next
            self._loop.skip(MONTH_S)
            await self._until_at_rest()
        await self._bill_alone()
        for host in self.hosts:
            await host.stop()

    async def _until_at_rest(self) -> None:
        for _ in range(SETTLE_ROUNDS):
            await asyncio.sleep(5)
            for host in self.hosts:
                await host.clean_up()
            await self.start_all()
            await self._decide()
            if not await self._why():
                return
        raise AssertionError(f"never at rest: {await self._why()}")

    def _told_lost(self, known: Edge) -> Iterator[str]:
        """Say where an edge tells that something is lost which counts."""
        (workers,) = (e.workers for e in self.edges if e.name == known.row.name)
        recorded = {str(one.route) for w in workers for one in w.recorded}
        n_lost = len(recorded & self.lost)
        if known.rolls_up and not known.is_retired and known.lost > n_lost:
            yield f"{known.row.name} says that {known.lost} are lost: {n_lost} are"

    async def _bill_alone(self) -> None:
        """Have one host that was there all the time take in and bill all events."""
        one = Worker("alone", self.chance, "f" * 32)
        one.recorded = [
            event
            for worker in self.workers
            for event in worker.recorded
            if event.route not in self.lost
        ]
        self.alone.workers.append(one)
        await self.alone.start()
        task = asyncio.create_task(one.work(self.alone))
        life = self.alone.life
        assert life is not None
        assert life.parts is not None
        while one.acked < len(one.recorded) or await life.parts.aggregator.behind():
            await asyncio.sleep(1)
        task.cancel()
        self._loop.skip(60)
        await asyncio.sleep(5)
        await self.alone.stop()

    async def _why(self) -> list[str]:
        """Say what is still missing."""
        found = [
            f"{w.name}: {w.acked} of {len(w.recorded)} acked"
            for w in self.workers
            if w.acked < len(w.recorded)
        ]
        centre = self.centre.life
        if centre is None or centre.parts is None or centre.parts.edges is None:
            return ["the centre is not there"]
        now_ms = self.centre.clock.now_ms()
        names = {host.name: host for host in self.edges}
        for known in centre.parts.edges.all():
            found += self._told_lost(known)
            wrong_ms = min(0, names[known.row.name].clock.wrong_ms)
            if not known.is_retired and (
                known.row.low_ms < now_ms + wrong_ms - MINUTE_MS or known.row.trouble
            ):
                life = names[known.row.name].life
                forwarder = life.parts.forwarder if life and life.parts else None
                trouble = forwarder.trouble if forwarder else "is not there"
                found.append(known.behind_in_words(now_ms, now_ms=now_ms))
                found.append(f"{known.row.name} says: {trouble}")
        if centre.parts.closer.held:
            found += [str(held) for held in centre.parts.closer.held.values()]
        if await centre.parts.aggregator.behind():
            found.append("not all is counted")
        return found


def _no_tls(_config: object) -> None:
    """Encrypt nothing."""
