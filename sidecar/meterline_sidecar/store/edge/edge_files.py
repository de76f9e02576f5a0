"""SQL for the files that edges write of what is in their ledgers, there and at the centre."""

from typing import Final, NamedTuple

from meterline_sidecar.store.columns import Columns
from meterline_sidecar.store.edge.archive import Kept, NewMove
from meterline_sidecar.store.port import Row, Tx

OWN: Final = 0
"""In place of an edge: the ledger's own."""


class NewEdgeFile(NamedTuple):
    """A file with a run of batches, whole and in order."""

    edge_id: int
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
    learned_ms: int
    """When the last batch was stored, by the clock of whose it is."""
    written_ms: int

    def as_move(self) -> NewMove:
        """Return it as a file of the archive is read, whoever's it is."""
        return NewMove(
            is_out=1,
            file=self.file,
            file_bytes=self.file_bytes,
            digest=self.digest,
            first_batch_id=self.first_batch_id,
            last_batch_id=self.last_batch_id,
            first_event_id=self.first_event_id,
            events=self.events,
            first_loss_id=self.first_loss_id,
            losses=self.losses,
            previous_mac=self.previous_mac,
            mac=self.mac,
            first_ms=self.first_ms,
            beyond_ms=self.beyond_ms,
            moved_ms=self.written_ms,
        )


class EdgeFile(NamedTuple):
    """A file as it is noted: the row's id, and what it says."""

    id: int
    what: NewEdgeFile


class Sums(NamedTuple):
    """What files come to."""

    files: int
    events: int
    file_bytes: int
    learned_ms: int
    """When the last batch in them was stored; 0 without any."""


FILE: Final = Columns(NewEdgeFile._fields)
SELECT: Final = (
    f"SELECT f.id, {', '.join(f'f.{name}' for name in FILE.names)} FROM edge_files f"  # noqa: S608 - names
)
IS_NEWEST: Final = (
    " NOT EXISTS (SELECT 1 FROM edge_files n WHERE n.edge_id = f.edge_id"
    " AND n.mac = f.mac AND n.id > f.id)"
)
"""Whether it was not written anew since."""


def file_of(move: NewMove, *, edge_id: int, learned_ms: int) -> NewEdgeFile:
    """Return a file that was written as an edge's."""
    return NewEdgeFile(
        edge_id, *move[1:-1], learned_ms=learned_ms, written_ms=move.moved_ms
    )


async def add_file(tx: Tx, file: NewEdgeFile) -> int:
    """Note a file; return the row's id."""
    row = await tx.fetch_one(
        f"INSERT INTO edge_files ({FILE.listed}) VALUES ({FILE.marks})"  # noqa: S608 - names and marks
        " RETURNING id",
        file,
    )
    assert row is not None
    return int(row[0])


async def newest_file(tx: Tx, edge_id: int) -> EdgeFile | None:
    """Return the row of an edge's that was written last."""
    row = await tx.fetch_one(
        f"{SELECT} WHERE f.edge_id = ? ORDER BY f.id DESC LIMIT 1", (edge_id,)
    )
    return None if row is None else _file(row)


async def last_file(tx: Tx, edge_id: int) -> EdgeFile | None:
    """Return the one with an edge's last batches."""
    row = await tx.fetch_one(
        f"{SELECT} WHERE f.edge_id = ? ORDER BY f.last_batch_id DESC, f.id DESC LIMIT 1",
        (edge_id,),
    )
    return None if row is None else _file(row)


async def file_named(tx: Tx, edge_id: int, file: str) -> EdgeFile | None:
    """Return the last row of an edge's that names a file."""
    row = await tx.fetch_one(
        f"{SELECT} WHERE f.edge_id = ? AND f.file = ? ORDER BY f.id DESC LIMIT 1",
        (edge_id, file),
    )
    return None if row is None else _file(row)


async def is_of_an_edge(tx: Tx, file: str) -> bool:
    """Say whether an edge of this centre told of a file."""
    row = await tx.fetch_one(
        "SELECT 1 FROM edge_files WHERE edge_id <> ? AND file = ? LIMIT 1", (OWN, file)
    )
    return row is not None


async def file_behind(tx: Tx, edge_id: int, batch_id: int) -> EdgeFile | None:
    """Return the one of an edge's that begins behind a batch, as last written."""
    row = await tx.fetch_one(
        f"{SELECT} WHERE f.edge_id = ? AND f.first_batch_id = ? ORDER BY f.id DESC LIMIT 1",
        (edge_id, batch_id + 1),
    )
    return None if row is None else _file(row)


async def copies_after(tx: Tx, row_id: int, *, limit: int) -> list[EdgeFile]:
    """Return this ledger's own behind a row, but for those that it ever left for."""
    rows = await tx.fetch_all(
        f"{SELECT} WHERE f.id > ? AND f.edge_id = ? AND{IS_NEWEST} AND NOT EXISTS"  # noqa: S608 - our own words
        " (SELECT 1 FROM archive_moves m WHERE m.file = f.file) ORDER BY f.id LIMIT ?",
        (row_id, OWN, limit),
    )
    return [_file(row) for row in rows]


async def files_after(
    tx: Tx, row_id: int, *, edge_id: int | None = None, limit: int
) -> list[EdgeFile]:
    """Return those behind a row, in the order written, of one edge or of all."""
    rows = await tx.fetch_all(
        f"{SELECT} WHERE f.id > ? AND f.edge_id = coalesce(?, f.edge_id) AND{IS_NEWEST}"
        " ORDER BY f.id LIMIT ?",
        (row_id, edge_id, limit),
    )
    return [_file(row) for row in rows]


async def files_of_span(
    tx: Tx, start: int, end: int, *, after: int, edge_id: int | None = None, limit: int
) -> list[EdgeFile]:
    """Return those of edges with counted events of ``[start, end)``, behind a row."""
    rows = await tx.fetch_all(
        f"{SELECT} WHERE f.id > ? AND f.edge_id <> 0 AND f.first_ms < ?"
        f" AND f.beyond_ms > ? AND f.edge_id = coalesce(?, f.edge_id) AND{IS_NEWEST}"
        " ORDER BY f.id LIMIT ?",
        (after, end, start, edge_id, limit),
    )
    return [_file(row) for row in rows]


async def files_of(tx: Tx, edge_id: int) -> list[EdgeFile]:
    """Return all of an edge's, in the chain's order."""
    rows = await tx.fetch_all(
        f"{SELECT} WHERE f.edge_id = ? AND{IS_NEWEST} ORDER BY f.first_batch_id, f.id",
        (edge_id,),
    )
    return [_file(row) for row in rows]


async def kept(tx: Tx, *, is_own: bool, limit: int) -> list[Kept]:
    """Return the ledger's own, or those of all edges, the newest first."""
    rows = await tx.fetch_all(
        "SELECT f.file, f.file_bytes, f.events FROM edge_files f"  # noqa: S608 - our own words
        f" WHERE (f.edge_id = ?) = ? AND{IS_NEWEST} ORDER BY f.id DESC LIMIT ?",
        (OWN, is_own, limit),
    )
    return [Kept(*row) for row in rows]


async def sums(tx: Tx) -> dict[int, Sums]:
    """Return what the files of each edge come to, as last written."""
    rows = await tx.fetch_all(
        "SELECT f.edge_id, count(*), sum(f.events), sum(f.file_bytes),"  # noqa: S608 - our own words
        f" max(f.learned_ms) FROM edge_files f WHERE{IS_NEWEST} GROUP BY f.edge_id"
    )
    return {row[0]: Sums(*(int(n) for n in row[1:])) for row in rows}


def _file(row: Row) -> EdgeFile:
    return EdgeFile(row[0], NewEdgeFile(*row[1:]))
