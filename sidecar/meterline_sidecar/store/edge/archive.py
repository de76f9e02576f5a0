"""SQL for the archive: what leaves the ledger, what comes back, and the log of both."""

from bisect import bisect_left
from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

from meterline_sidecar.clock import HOUR_MS
from meterline_sidecar.store.columns import Columns
from meterline_sidecar.store.edge import packed
from meterline_sidecar.store.edge.begin import IS_AWAY, begin
from meterline_sidecar.store.edge.events import BatchRow, LossRow
from meterline_sidecar.store.port import Row, Tx


class NewMove(NamedTuple):
    """Batches that leave for a file, or come back from it."""

    is_out: int
    file: str
    file_bytes: int
    digest: str
    """SHA-256 of the file, in hex."""
    first_batch_id: int
    last_batch_id: int
    first_event_id: int
    events: int
    first_loss_id: int
    losses: int
    previous_mac: bytes
    """Of the batch before the first one."""
    mac: bytes
    """Of the last one."""
    first_ms: int
    beyond_ms: int
    """The span of the events that meters counted; 0 and 0 without any."""
    moved_ms: int

    @property
    def last_event_id(self) -> int:
        """The id of the last event; one below the first without any."""
        return self.first_event_id + self.events - 1


class Move(NamedTuple):
    """A move as it is stored: its id, and what it was."""

    id: int
    what: NewMove


class Sums(NamedTuple):
    """What files come to."""

    files: int
    events: int
    file_bytes: int


class Kept(NamedTuple):
    """A file as it was written: what it should be found by."""

    file: str
    file_bytes: int
    events: int


MOVE: Final = Columns(NewMove._fields)
SELECT: Final = (
    f"SELECT m.id, {', '.join(f'm.{name}' for name in MOVE.names)} FROM archive_moves m"  # noqa: S608 - names
)


async def add_move(tx: Tx, move: NewMove) -> int:
    """Note a move, in the transaction that does it; return the row's id."""
    row = await tx.fetch_one(
        f"INSERT INTO archive_moves ({MOVE.listed}) VALUES ({MOVE.marks})"  # noqa: S608 - names and marks
        " RETURNING id",
        move,
    )
    assert row is not None
    return int(row[0])


async def last_back(tx: Tx) -> NewMove | None:
    """Return the move by which something came back last."""
    row = await tx.fetch_one(f"{SELECT} WHERE m.is_out = 0 ORDER BY m.id DESC LIMIT 1")
    return None if row is None else _move(row).what


async def ever_written(tx: Tx, *, after: int, limit: int) -> list[tuple[Move, bool]]:
    """Return the files that were ever written, and whether what each holds is away.

    Of several rows of one file the last that wrote it; behind a row, in order.
    """
    rows = await tx.fetch_all(
        f"SELECT{IS_AWAY}, m.id, {', '.join(f'm.{name}' for name in MOVE.names)}"  # noqa: S608 - names
        " FROM archive_moves m WHERE m.is_out = 1 AND m.id > ? AND NOT EXISTS"
        " (SELECT 1 FROM archive_moves n WHERE n.is_out = 1 AND n.id > m.id"
        " AND n.first_batch_id = m.first_batch_id AND n.file = m.file)"
        " ORDER BY m.id LIMIT ?",
        (after, limit),
    )
    return [(_move(row[1:]), bool(row[0])) for row in rows]


async def files(tx: Tx, *, after_batch: int = 0, limit: int = 1 << 62) -> list[NewMove]:
    """Return the files that hold what is away, behind a batch, in the chain's order."""
    rows = await tx.fetch_all(
        f"{SELECT} WHERE m.first_batch_id > ? AND{IS_AWAY}"
        " ORDER BY m.first_batch_id LIMIT ?",
        (after_batch, limit),
    )
    return [_move(row).what for row in rows]


async def kept(tx: Tx, *, limit: int) -> list[Kept]:
    """Return the files that hold what is away, those of the newest events first."""
    rows = await tx.fetch_all(
        "SELECT m.file, m.file_bytes, m.events FROM archive_moves m"  # noqa: S608 - our own words
        f" WHERE{IS_AWAY} ORDER BY m.first_batch_id DESC LIMIT ?",
        (limit,),
    )
    return [Kept(*row) for row in rows]


async def came_back(tx: Tx, file: str) -> bool:
    """Say whether all that left for a file is in the ledger again."""
    row = await tx.fetch_one(
        "SELECT 1 FROM archive_moves WHERE file = ? AND first_batch_id > ? LIMIT 1",
        (file, (await begin(tx)).batch_id),
    )
    return row is not None


async def file_of_event(tx: Tx, event_id: int) -> NewMove | None:
    """Return the file that holds an event, if it is away."""
    row = await tx.fetch_one(
        f"{SELECT} WHERE m.first_event_id <= ? AND m.first_event_id + m.events > ?"
        f" AND{IS_AWAY}",
        (event_id, event_id),
    )
    return None if row is None else _move(row).what


async def file_of_batch(tx: Tx, batch_id: int) -> NewMove | None:
    """Return the file that holds a batch, if it is away."""
    row = await tx.fetch_one(
        f"{SELECT} WHERE m.first_batch_id <= ? AND m.last_batch_id >= ? AND{IS_AWAY}",
        (batch_id, batch_id),
    )
    return None if row is None else _move(row).what


async def files_of_name(
    tx: Tx, external_id: str, *, source: str | None
) -> list[NewMove]:
    """Return the files with events that their sender calls so, if they are away."""
    rows = await tx.fetch_all(
        "SELECT x.event_id FROM external_sources s JOIN external_events x"
        " ON x.source_id = s.id AND x.external_id = ?"
        " WHERE s.name = coalesce(?, s.name) ORDER BY x.event_id",
        (external_id, source),
    )
    found = [await file_of_event(tx, row[0]) for row in rows]
    return [file for file in found if file is not None]


async def files_of_span(tx: Tx, start: int, end: int, *, limit: int) -> list[NewMove]:
    """Return the first files with counted events of ``[start, end)``, as far as is known."""
    rows = await tx.fetch_all(
        f"{SELECT} WHERE m.first_ms < ? AND m.beyond_ms > ? AND{IS_AWAY}"
        " ORDER BY m.first_batch_id LIMIT ?",
        (end, start, limit),
    )
    return [_move(row).what for row in rows]


async def files_of_hours(tx: Tx, hours: Collection[int]) -> list[NewMove]:
    """Return all files that may have counted events of some hours.

    Args:
        hours: when they begin, UTC ms.
    """
    wanted = sorted(hours)
    if not wanted:
        return []
    files = await files_of_span(tx, wanted[0], wanted[-1] + HOUR_MS, limit=1 << 62)
    return [
        file
        for file in files
        if wanted[bisect_left(wanted, file.beyond_ms) - 1] + HOUR_MS > file.first_ms
    ]


async def sums(tx: Tx) -> Sums:
    """Return what all that is away comes to."""
    row = await tx.fetch_one(
        "SELECT count(*), coalesce(sum(m.events), 0), coalesce(sum(m.file_bytes), 0)"  # noqa: S608 - our own words
        f" FROM archive_moves m WHERE{IS_AWAY}"
    )
    assert row is not None
    return Sums(*row)


async def undecided(tx: Tx, first: int, last: int) -> int | None:
    """Return the first held event of some ids that is not settled, if there is one."""
    row = await tx.fetch_one(
        "SELECT min(event_id) FROM held_events WHERE event_id BETWEEN ? AND ?"
        " AND state NOT IN ('rejected', 'counted')",
        (first, last),
    )
    return None if row is None else row[0]


async def take_out(tx: Tx, move: NewMove) -> tuple[int, int, int]:
    """Delete what left by a move; return how many batches, events and losses."""
    return (
        await _delete(tx, "batches", move.first_batch_id, move.last_batch_id),
        await packed.take_out(tx, move.first_event_id, move.last_event_id),
        await _delete(
            tx, "losses", move.first_loss_id, move.first_loss_id + move.losses - 1
        ),
    )


async def put_back(
    tx: Tx,
    batches: Iterable[tuple[BatchRow, bytes]],
    losses: Iterable[tuple[int, int, LossRow]],
) -> None:
    """Put batches and losses back as they were; events are added as all others are.

    Args:
        losses: each with its id, and the id of its producer.
    """
    columns = Columns([*BatchRow._fields, "mac"])
    await tx.execute_many(
        f"INSERT INTO batches ({columns.listed}) VALUES ({columns.marks})",  # noqa: S608 - names and marks
        [(*batch, mac) for batch, mac in batches],
    )
    of_loss = Columns(["id", "producer_id", *LossRow._fields])
    await tx.execute_many(
        f"INSERT INTO losses ({of_loss.listed}) VALUES ({of_loss.marks})",  # noqa: S608 - names and marks
        [(loss_id, producer_id, *loss) for loss_id, producer_id, loss in losses],
    )


async def _delete(tx: Tx, table: str, first: int, last: int) -> int:
    return await tx.execute(
        f"DELETE FROM {table} WHERE id BETWEEN ? AND ?",  # noqa: S608 - our own names
        (first, last),
    )


def _move(row: Row) -> Move:
    return Move(row[0], NewMove(*row[1:]))
