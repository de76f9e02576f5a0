"""Hosts of a simulated fleet: their workers, and one life of an edge or of the centre."""

import asyncio
import contextlib
import itertools
import random
import shutil
from collections.abc import Callable, Coroutine, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from meterline.events import Kind
from meterline.spool.scan import FORGOTTEN
from meterline.usage_event import UsageEvent
from meterline.wire import VERSION, Batch, Bye, Hello, Lost, WireError
from meterline_sidecar.access.tokens import TokenFile
from meterline_sidecar.config.read import read_config
from meterline_sidecar.daemon.assemble import open_parts
from meterline_sidecar.errors import MeterlineError
from meterline_sidecar.files import LedgerFiles
from meterline_sidecar.ingest.accept import Ingest
from meterline_sidecar.ingest.commit import Producer
from meterline_sidecar.web.parts import Parts
from tests.fault.sim_database import Killed, SimDatabase
from tests.fault.sim_wire import Wire
from tests.producer import NOON_MS, event, records

STOP_S: Final = 5.0  # what an edge has to send the rest
WORK_EVERY_S: Final = 1.0
WORKER_S: Final = 20.0  # after so long a worker connects anew
DEAF: Final = 0.15
"""How often a connection ends before a worker hears of what is committed."""
NO_BACKUP_HAS: Final = ("meterline.db.head", "meterline.db.newest")

living: ContextVar["Life"] = ContextVar("living")
"""Whose code runs."""


class SimClock:
    """A clock of a host: the simulation's time, and what it is wrong by.

    Args:
        time_s: says the simulated time.
    """

    rehearsal: str | None = "simulated"

    def __init__(self, time_s: Callable[[], float]) -> None:
        self._time_s = time_s
        self.wrong_ms = 0

    def now_ms(self) -> int:
        """Return the time in UTC milliseconds."""
        return NOON_MS + int(self._time_s() * 1_000) + self.wrong_ms


@dataclass
class Worker:
    """A worker of one host, with the truth of what it recorded."""

    name: str
    dice: random.Random
    ledger: str
    """As which producer it speaks."""
    recorded: list[UsageEvent] = field(default_factory=list[UsageEvent])
    acked: int = 0
    """Up to which number it has given up its events."""
    is_leaving: bool = False
    """Whether it says goodbye when all is acked."""
    connected_to: "Life | None" = None
    ears: random.Random = field(default_factory=random.Random)
    """Decides which acks are not heard."""

    def record(self, n_events: int, *, now_ms: int) -> None:
        """Record the next events, of a short while ago or of some days."""
        for _ in range(n_events):
            number = len(self.recorded) + 1
            ago_ms = self.dice.choice([7_200_000] * 9 + [3 * 86_400_000])
            self.recorded.append(
                event(
                    kind=Kind.USE,
                    time_ms=now_ms - self.dice.randrange(ago_ms),
                    subject=self.dice.choice(["acct_1", "acct_2", "acct_3", None]),
                    route=f"/{self.name}/{number}",
                    quantities={"n": self.dice.randrange(1, 1_000)},
                )
            )

    async def work(self, host: "Host") -> None:
        """Ship to a host's edge for ever, whoever lives there."""
        while True:
            life = host.life
            if life is not None and life.parts is not None and not life.is_dead:
                with contextlib.suppress(
                    Killed, MeterlineError, WireError, TimeoutError
                ):
                    async with asyncio.timeout(WORKER_S):
                        await self._ship(life, life.parts)
            await asyncio.sleep(self.dice.random())

    async def _ship(self, life: "Life", parts: Parts) -> None:
        is_idle = self.acked == len(self.recorded) and not self.is_leaving
        if is_idle and self.connected_to is life:
            return
        hello = Hello(
            *(VERSION, self.ledger, self.name, "simulator", 1, NOON_MS),
            recorded_seq=len(self.recorded),
        )
        producer = await parts.ingest.hello(hello)
        self.connected_to = life
        try:
            await self._converse(life, parts, producer)
        except BaseException:
            self.connected_to = None
            raise
        finally:
            parts.ingest.forget(producer)

    async def _converse(self, life: "Life", parts: Parts, producer: Producer) -> None:
        there = parts.forwarder.there if parts.forwarder else None
        known = producer.row.last_seq
        if there is not None:
            known = min(known, await there.seq(producer.row))
        if known > self.acked:
            self._note(life, known)
        done: list[asyncio.Future[int]] = []
        first = max(known, producer.row.last_seq) + 1
        if producer.row.last_seq < self.acked:
            lost = Lost(producer.row.last_seq + 1, self.acked, FORGOTTEN)
            done.append(parts.ingest.accept(producer, lost))
            first = self.acked + 1
        while first <= len(self.recorded) and self.dice.random() < 0.9:
            done.append(self._sent(parts.ingest, producer, first))
            first = min(first + self.dice.randrange(1, 9), len(self.recorded) + 1)
            first = max(first, producer.next_seq)
        is_deaf = self.ears.random() < DEAF
        for one in done:
            seq = await asyncio.shield(one)
            if is_deaf:
                continue
            if there is not None:
                await there.until(producer.row, seq)
            self._note(life, seq)
        if is_deaf:
            await asyncio.sleep(self.ears.choice([1.0, 10.0]))
        elif (
            self.is_leaving
            and self.acked == len(self.recorded) == producer.row.last_seq
        ):
            await asyncio.shield(parts.ingest.accept(producer, Bye(self.acked)))
            self.is_leaving = False

    def _sent(
        self, ingest: Ingest, producer: Producer, first: int
    ) -> asyncio.Future[int]:
        some = self.recorded[first - 1 : first - 1 + self.dice.randrange(1, 9)]
        batch = Batch(first, len(self.recorded), records(*some, first_seq=first))
        return ingest.accept(producer, batch)

    def _note(self, life: "Life", seq: int) -> None:
        if not life.is_dead:  # else nobody hears of it
            self.acked = max(self.acked, seq)


class Life:
    """One process's life of a sidecar: all its parts, joined by the daemon's own code.

    Args:
        folder: its files; when it dies they are copied from here, and what its
            remains still do is not seen.
        when_dead: called at the very moment of death.
    """

    def __init__(
        self, folder: Path, clock: SimClock, *, when_dead: Callable[[], None]
    ) -> None:
        self.folder = folder
        self.is_dead = False
        self.parts: Parts | None = None
        self.database: SimDatabase | None = None
        self.wires: list[Wire] = []
        self.steps_left: int | None = None
        self._clock = clock
        self._when_dead = when_dead
        self._ending = asyncio.Event()
        self._is_open = asyncio.Event()
        self._serving: set[asyncio.Task[None]] = set()
        self._task = asyncio.create_task(self._live())

    async def begun(self) -> None:
        """Wait until it works, or is dead.

        Raises:
            MeterlineError: it does not start, and nobody killed it.
        """
        await self._is_open.wait()
        if self.parts is None and not self.is_dead:
            await self._task

    async def _live(self) -> None:
        living.set(self)
        try:
            config = read_config(self.folder / "meterline.toml", environment={})
            tokens = TokenFile(LedgerFiles(config.sidecar.database).tokens)
            async with open_parts(
                config,
                clock=self._clock,
                tokens=tokens,
                on_fatal=lambda _error: self.die(),
            ) as parts:
                assert parts.alarm is None, parts.alarm
                self.parts = parts
                self._is_open.set()
                await self._work(parts)
        except Killed:
            pass
        finally:
            self._is_open.set()
            self.parts = None

    async def open_ledger(self, path: Path) -> SimDatabase:
        """Open its database; as ``store.open`` does."""
        self.database = SimDatabase(path, self.die)
        self.database.steps_left = self.steps_left
        return await self.database.bring_up_to_date()

    async def _work(self, parts: Parts) -> None:
        tasks = [self._task_of(parts.ingest.run), self._task_of(self._jobs, parts)]
        forwarding = None
        if parts.forwarder is not None:
            forwarding = self._task_of(parts.forwarder.run)
            tasks.append(forwarding)
        try:
            await self._ending.wait()
            if self.is_dead:
                raise Killed
            if parts.forwarder is not None and forwarding is not None:
                parts.forwarder.stop()
                await asyncio.wait([forwarding], timeout=STOP_S)
        finally:
            tasks += self._serving
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        if self.is_dead:
            raise Killed

    def _task_of(
        self, work: Callable[..., Coroutine[Any, Any, None]], *given: Any
    ) -> asyncio.Task[None]:
        async def alive() -> None:
            with contextlib.suppress(Killed):
                await work(*given)

        return asyncio.create_task(alive())

    async def _jobs(self, parts: Parts) -> None:
        """Do what the schedule does, in order."""
        while True:
            for job in (parts.aggregator.run, parts.closer.run):
                with contextlib.suppress(MeterlineError):
                    await job()
            if parts.forwarder is not None and parts.forwarder.filing is not None:
                await parts.forwarder.filing.run()
            if parts.config.retention.events is not None:
                with contextlib.suppress(MeterlineError):
                    await parts.archive.run()
            await asyncio.sleep(WORK_EVERY_S)

    def serve(self, wire: Wire) -> bool:
        """Let an edge in, if this is a centre that works."""
        if self.is_dead or self.parts is None or self.parts.door is None:
            return False
        self.wires.append(wire)
        door = self.parts.door
        serve = getattr(door, "_serve")  # noqa: B009 - as its listener calls it
        task = self._task_of(serve, wire.centre_reader, wire.centre_writer)
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        return True

    def die(self) -> None:
        """Die now: what the files hold at this moment is what is left."""
        if not self.is_dead:
            self.is_dead = True
            if self.database is not None:
                self.database.steps_left = 1  # its remains change nothing more
            self._when_dead()
            for wire in self.wires:
                wire.cut()
            self._ending.set()

    async def stop(self) -> None:
        """End as after SIGTERM; unless it is killed in the middle of that."""
        self._ending.set()
        await self._task
        for wire in self.wires:
            wire.cut()
        if not self.is_dead:
            self.is_dead = True

    async def bury(self) -> None:
        """Wait until nothing of a dead process is left in ours."""
        await self._task


class Host:
    """A machine: its files, who lives on it, and its workers."""

    def __init__(
        self, name: str, root: Path, clock: SimClock, files: dict[str, str]
    ) -> None:
        self.name = name
        self.clock = clock
        self.life: Life | None = None
        self.workers: list[Worker] = []
        self._root = root
        self._files = files
        self._number = itertools.count()
        self.folder = self._made()
        self.backup: Path | None = None
        self.lost: Path | None = None
        """Its files of before it lost them."""
        self.steps_left: int | None = None
        self.rolls_up = self.waits = False

    def _made(self) -> Path:
        folder = self._root / f"{self.name}.{next(self._number)}"
        folder.mkdir()
        for name, text in self._files.items():
            (folder / name).write_text(text)
        return folder

    def write(self, name: str, text: str) -> None:
        """Give it another file, from now on."""
        self._files[name] = text
        (self.folder / name).write_text(text)

    def _copied(self, source: Path) -> Path:
        folder = self._made()
        for path in source.glob("meterline.db*"):
            if not path.name.endswith("-shm"):
                shutil.copyfile(path, folder / path.name)
        for path in folder.glob("*.tokens"):
            path.chmod(0o600)
        return folder

    async def start(self) -> None:
        """Begin a life, if there is none; return once it works."""
        if self.life is None:
            self.life = Life(self.folder, self.clock, when_dead=self._freeze)
            self.life.steps_left, self.steps_left = self.steps_left, None
            await self.life.begun()
            await self.clean_up()

    def _freeze(self) -> None:
        assert self.life is not None
        self.folder = self._copied(self.life.folder)

    async def clean_up(self) -> None:
        """Clear away who has died."""
        if self.life is not None and self.life.is_dead:
            life, self.life = self.life, None
            await life.bury()

    async def kill(self) -> None:
        """End its life now."""
        if self.life is not None:
            self.life.die()
            await self.clean_up()

    async def stop(self) -> None:
        """End its life in order."""
        if self.life is not None:
            await self.life.stop()
            self.life = None

    def make_backup(self) -> None:
        """Keep a copy of its files as they are."""
        self.backup = self._copied(
            self.folder if self.life is None else self.life.folder
        )

    async def restore(self) -> bool:
        """Put the last backup back; return whether there was one."""
        if self.backup is None:
            return False
        await self.kill()
        self.folder = self._copied(self.backup)
        for name in NO_BACKUP_HAS:
            (self.folder / name).unlink(missing_ok=True)
        return True

    async def lose_disk(self) -> None:
        """Lose all files."""
        await self.kill()
        self.lost, self.folder = self.folder, self._made()
        self.backup = None

    async def find_disk(self) -> None:
        """Have the files back that were lost last, and lose those of now."""
        assert self.lost is not None
        await self.kill()
        self.lost, self.folder = self.folder, self.lost
        self.backup = None

    def events(self) -> Iterator[Path]:
        """Yield its database, if there is one by now."""
        path = (self.folder if self.life is None else self.life.folder) / "meterline.db"
        if path.exists():
            yield path
