"""What users of the ledger need of a database. They know these ports and no driver."""

from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

Value = int | str | bytes | float | None
Row = tuple[Any, ...]
T = TypeVar("T")


class Tx(Protocol):
    """A running transaction. It commits when its block ends, or not at all."""

    async def execute(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        """Run one statement and return the number of rows that it changed."""
        ...

    async def execute_many(self, sql: str, rows: Iterable[Sequence[Value]]) -> None:
        """Run one statement for each row."""
        ...

    async def fetch_one(self, sql: str, parameters: Sequence[Value] = ()) -> Row | None:
        """Return the first row, or ``None``; an INSERT's is its ``RETURNING``."""
        ...

    async def fetch_all(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        """Return every row."""
        ...


Work = Callable[[Tx], Coroutine[Any, Any, T]]
"""All that is done in one transaction, where it must be cheap.

It may run in another thread, as one call: so it awaits nothing but its transaction,
and what it changes in memory is nobody else's meanwhile.
"""


class Readable(Protocol):
    """A ledger that can be read."""

    def reading(self) -> AbstractAsyncContextManager[Tx]:
        """Open a read-only snapshot, which never blocks the writer.

        Everything that is read in it is as it was at one moment.
        """
        ...

    async def read(self, work: "Work[T]") -> T:
        """Return what a function finds in a snapshot of its own; see ``Work``."""
        async with self.reading() as tx:
            return await work(tx)


class Database(Readable, Protocol):
    """A ledger for statements: a single writer, and readers that never wait for it."""

    @property
    def others_write(self) -> bool:
        """Whether other processes write it as well.

        One at a time, as ever; but what was read before a transaction may be old in it.
        """
        return False

    def transaction(self) -> AbstractAsyncContextManager[Tx]:
        """Open a write transaction; one at a time, the others wait their turn.

        Raises:
            DiskFull: nothing was kept; try again when there is room.
            DiskFailed: nothing is known; the process must reopen the database.
            DatabaseCorrupt: the file is damaged.
            LedgerGone: it was committed, to a file that nobody finds any more.
            LeaseLost: another process was elected since; see ``fence``.
        """
        ...

    async def write(self, work: "Work[T]") -> T:
        """Return what a function did in a transaction of its own; see ``Work``.

        Who is cancelled meanwhile does not know whether it was committed.

        Raises:
            DiskFull, DiskFailed, DatabaseCorrupt, LedgerGone: as ``transaction``.
        """
        async with self.transaction() as tx:
            return await work(tx)


class LedgerReader(Readable, Protocol):
    """An open ledger that is only read, with what is asked of it beside SQL."""

    @property
    def place(self) -> str:
        """Where it is, in words for people: a path, or a server and a name."""
        ...

    async def size_bytes(self) -> int:
        """Return the room that it takes, with what is not folded into it yet."""
        ...

    async def check(self) -> list[str]:
        """Return what the database itself finds damaged; empty when nothing.

        Raises:
            DatabaseCorrupt: the damage is such that it cannot even be looked for.
        """
        ...

    async def copy_to(self, target: Path) -> None:
        """Write one consistent copy to a file while others go on writing."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


class Candidate(NamedTuple):
    """A process that would lead."""

    life: str
    """Of this process, and of no other: its seat, if it has one, and random bits."""
    name: str
    """What people call it: its host, and its process."""
    files: str = ""
    """What tells its files from those of others."""
    seat: str = ""
    """What one process has at a time: who has it after another knows that one is over."""

    def follows(self, life: str) -> bool:
        """Say whether this is a process that had the same seat before."""
        return bool(self.seat) and life != self.life and life.startswith(self.seat)


class Turn(NamedTuple):
    """Who was elected, as the ledger says."""

    fence: int
    """The number of the election; 0 before the first."""
    life: str
    name: str
    files: str
    since_ms: int
    """When it was elected, by the database's clock."""
    left_ms: int
    """For how long it leads without saying so again; 0: anybody may be elected."""


class Lease(Protocol):
    """Says who of several leads: by a row of the ledger, and the database's clock."""

    async def turn(self, me: Candidate, *, lease_s: float) -> Turn:
        """Go on leading, or begin to where nobody does; return who leads.

        Raises:
            DatabaseGone: the database did not answer.
        """
        ...

    async def give_up(self, me: Candidate) -> None:
        """Let another one lead at once, if we do, or who had our seat before.

        Raises:
            DatabaseGone: the database did not answer.
        """
        ...


class Ledger(LedgerReader, Database, Protocol):
    """An open ledger that this process writes, one transaction at a time."""

    @property
    def lease(self) -> Lease | None:
        """What elects one of several writers; ``None``: there is one, which leads."""
        ...

    async def checkpoint(self) -> bool:
        """Fold what was written lately into the main file, where there is such a thing.

        Returns whether all of it is folded in.
        """
        ...

    async def empty_wal(self) -> bool:
        """Fold everything in, and leave nothing of it where it was; as ``checkpoint``."""
        ...

    async def give_back(self) -> bool:
        """Give some of the room that deleted rows left back to the disk.

        In a step that others hardly wait for; returns whether there may be more.
        """
        ...

    async def forget_pages(self) -> None:
        """Give back the memory that holds what was read; it is read again as needed."""
        ...

    def stopping(self) -> None:
        """Let nobody wait long for a database that does not answer: the process ends."""
        ...

    def check_places(self) -> None:
        """See that others find the ledger where this process has it open.

        Raises:
            LedgerGone: they do not; what was stored is where nobody looks.
        """
        ...
