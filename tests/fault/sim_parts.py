"""The pieces of a simulated host: the wire, the apps, and one life of the sidecar."""

import asyncio
import contextlib
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

import msgspec

from meterline.events import Kind
from meterline.link import Link, State
from meterline.spool.dead import DeadSource, DeadSpool
from meterline.spool.living import Spool
from meterline_sidecar.errors import MeterlineError
from meterline_sidecar.ingest.accept import Ingest
from meterline_sidecar.ingest.commit import Committer
from meterline_sidecar.ingest.dead_spools import Drain
from meterline_sidecar.ingest.receiver import Receiver
from meterline_sidecar.ingest.whose import Whose
from meterline_sidecar.ledger.chain import ChainFiles, Head, ledger_number
from meterline_sidecar.ledger.verify import alarm_at_start
from meterline_sidecar.store.edge import events as event_store
from meterline_sidecar.usage.aggregate import Aggregator
from tests.agreed import keep, terms_of
from tests.clock import FakeClock
from tests.fault.oracle import METER
from tests.fault.sim_database import Killed, SimDatabase

FILES: Final = ("", "-wal", ".key", ".head", ".head.alarm")

_encode = msgspec.msgpack.Encoder().encode


async def turns(n: int) -> None:
    """Let everything that can go on do so, ``n`` times."""
    for _ in range(n):
        await asyncio.sleep(0)


class Wire:
    """Both directions between an app and the sidecar, moved by so many bytes."""

    def __init__(self, front: socket.socket, sidecar: Path) -> None:
        self._app, _ = front.accept()
        self._sidecar = socket.socket(socket.AF_UNIX)
        self._sidecar.connect(str(sidecar))
        self._app.setblocking(False)
        self._sidecar.setblocking(False)
        self._up = bytearray()
        self._down = bytearray()
        self.up_bytes = 0
        """How much has arrived at the sidecar."""
        self.down_bytes = 0
        """How much has arrived at the app."""

    def move(self, up_bytes: int, down_bytes: int) -> None:
        """Carry at most so many bytes to the sidecar, and so many to the app.

        Raises:
            OSError: one of the two has hung up.
        """
        self.up_bytes += _carry(self._app, self._sidecar, self._up, up_bytes)
        self.down_bytes += _carry(self._sidecar, self._app, self._down, down_bytes)

    def cut(self) -> None:
        """End it for both; what is under way is lost."""
        self._app.close()
        self._sidecar.close()


def _carry(
    source: socket.socket, target: socket.socket, held: bytearray, n_bytes: int
) -> int:
    sent = 0
    with contextlib.suppress(BlockingIOError):
        if len(held) < n_bytes:
            data = source.recv(n_bytes - len(held))
            if not data:
                raise ConnectionResetError
            held += data
    if held:  # else a peer that has hung up would fail what nobody sends
        with contextlib.suppress(BlockingIOError):
            sent = target.send(held[:n_bytes])
            del held[:sent]
    return sent


class Peer(Protocol):
    """Who talks to the sidecar: a living app, or one that drains a dead one's spool."""

    link: Link | None
    wire: Wire | None

    @property
    def is_leaving(self) -> bool:
        """Whether it says goodbye as soon as everything is acked."""
        ...

    def connect(self, path: Path) -> Link:
        """Open a conversation."""
        ...


class App:
    """A worker's recording side, with the truth of what it recorded."""

    def __init__(self, name: str, spool_dir: Path, *, bytes_max: int) -> None:
        self.name = name
        self.begun = self.done = 0
        self.is_leaving = False
        self.link: Link | None = None
        self.wire: Wire | None = None
        self.spool = Spool.open(
            spool_dir,
            app=name,
            host="simulator",
            pid=1,
            bytes_max=bytes_max,
        )

    def _refuse(self, _payload: bytes) -> None:
        raise AssertionError("recorded after the end")

    def record(self, n_events: int, *, time_ms: int) -> None:
        """Record the next events."""
        for _ in range(n_events):
            self.begun += 1
            self.spool.writer.append(
                _encode(
                    (
                        *(time_ms, Kind.USE, self.name, None, None),
                        *(0, 0, 0, 0, 0, {"n": self.begun}),
                    )
                )
            )
            self.done = self.begun

    def connect(self, path: Path) -> Link:
        """Open a conversation."""
        return Link(path, self.spool.reader)

    def close(self) -> None:
        """Record nothing more; goodbye is said when all is acked."""
        self.is_leaving = True
        self.spool.close(self._refuse)


class Drainer:
    """A worker that ships what a dead one left."""

    is_leaving = True

    def __init__(self, dead: DeadSpool) -> None:
        self.dead = dead
        self.link: Link | None = None
        self.wire: Wire | None = None

    def connect(self, path: Path) -> Link:
        """Open a conversation."""
        return Link(path, DeadSource(self.dead))


class Life:
    """One process's life of the sidecar: the real parts, joined as in ``daemon/assemble.py``.

    Args:
        folder: holds the database; when the process dies its files are copied from
            here, and what its remains still do is not seen.
        when_dead: called at the very moment of death.
    """

    def __init__(
        self,
        folder: Path,
        *,
        spool_dir: Path,
        clock: FakeClock,
        when_dead: Callable[[], None],
    ) -> None:
        self.folder = folder
        self.socket = folder / "sock"
        self.is_dead = False
        self._spool_dir = spool_dir
        self._clock = clock
        self._when_dead = when_dead
        self._running: asyncio.Task[None] | None = None
        self._receiver: Receiver | None = None
        self.database = SimDatabase(folder / "meterline.db", self.die)

    async def start(self) -> None:
        """Do as ``daemon.open_parts`` does.

        Raises:
            Killed: the process died on the way.
            AssertionError: an alarm, though nobody touched the ledger.
        """
        database, clock = await self.database.bring_up_to_date(), self._clock
        self.chain = ChainFiles(database.path)
        alarm = await alarm_at_start(database, self.chain)
        assert alarm is None, alarm
        async with database.reading() as tx:
            marks = await event_store.marks(tx)
        committer = Committer(
            database,
            clock=clock,
            key=self.chain.key(has_batches=marks.batch_id > 0),
            history_of=lambda subject: [(0, None)],
        )
        await committer.start()
        ingest = Ingest(database, committer, clock=clock, chain=self.chain, company_s=0)
        terms = terms_of(METER)
        key = self.chain.key(has_batches=marks.batch_id > 0)
        await keep(database, terms, key=key)
        self.aggregator = Aggregator(database, terms, clock=clock)
        await self.aggregator.start()
        whose = Whose(ledger_number(key))
        self.drain = Drain(self._spool_dir, ingest, whose=whose)
        self.ingest = ingest
        given = (ingest, self.socket)
        self._receiver = Receiver(*given, uids=(), on_fatal=_raise, whose=whose)
        await self._receiver.__aenter__()
        self._running = asyncio.create_task(ingest.run())

    async def checkpoint(self) -> None:
        """Do as the daemon does: move the WAL, then write the head for good."""
        await self.database.checkpoint()
        async with self.database.reading() as tx:
            marks = await event_store.marks(tx)
        if marks.mac is not None:
            self.chain.write_head(Head(marks.batch_id, marks.mac), durably=True)

    async def stop(self) -> None:
        """End as after SIGTERM; unless it is killed in the middle of that."""
        await self._end_tasks()
        await self.ingest.drain()
        await self.aggregator.run()
        await self.checkpoint()
        await self.database.close()
        self.is_dead = True

    def die(self) -> None:
        """Die now: what the files hold at this moment is what is left."""
        if not self.is_dead:
            self.is_dead = True
            self._when_dead()

    async def bury(self) -> None:
        """Clear away what is left of a dead process in ours."""
        self.database.steps_left = 1  # its remains change nothing more
        await self._end_tasks()
        await self.database.close()

    async def _end_tasks(self) -> None:
        await turns(3)  # connections that were just made are known then
        if self._receiver is not None:
            await self._receiver.__aexit__(None, None, None)
            self._receiver = None
        if self._running is not None:
            self._running.cancel()
            with contextlib.suppress(asyncio.CancelledError, Killed, MeterlineError):
                await self._running


def copy_files(source: Path, target: Path) -> None:
    """Copy a ledger as it stands, with the files beside it."""
    for suffix in FILES:
        name = f"meterline.db{suffix}"
        if (source / name).exists():
            shutil.copyfile(source / name, target / name)


def is_over(link: Link) -> bool:
    """Tell whether a conversation has ended, well or badly."""
    return link.state in (State.DONE, State.FAILED)


def _raise(error: BaseException) -> None:
    raise error
