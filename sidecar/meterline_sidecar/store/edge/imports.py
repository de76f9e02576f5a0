"""SQL for imports: files of events, what became of each, and what of them waits aside."""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final, Literal, NamedTuple

from meterline_sidecar.store.columns import Columns, marks
from meterline_sidecar.store.dialects import either
from meterline_sidecar.store.port import Row, Tx

State = Literal["loading", "staged", "committing", "committed", "discarded"]
"""``loading`` is before the first row of ``import_states``."""
OVER: Final = ("committed", "discarded")


class Sums(NamedTuple):
    """How much an import has, and what became of it so far."""

    lines: int
    events: int
    """That could be read."""
    bad: int
    """Lines that are left out because of what stands in them."""
    accepted: int = 0
    duplicates: int = 0
    conflicts: int = 0


class NewImport(NamedTuple):
    """An import that somebody begins."""

    name: str
    file: str
    begun_ms: int
    author: str
    reason: str


class ImportRow(NamedTuple):
    """An import with its last step."""

    id: int
    name: str
    file: str
    begun_ms: int
    author: str
    reason: str
    state: State
    at_ms: int
    """When it came to this state."""
    decided_by: str

    @property
    def is_over(self) -> bool:
        """Whether nothing of it waits."""
        return self.state in OVER


class Chunk(NamedTuple):
    """Some lines of a file in a row."""

    import_id: int
    first_line: int
    lines: int
    events: int
    bad: int
    first_ms: int | None
    """The earliest time of its events."""
    digest: bytes
    """Of the lines as they came."""
    mac: bytes
    """Over the content and its place."""
    content: bytes
    """Its events as they will be stored; empty once they are."""
    accepted: int | None = None
    """How many of its events are stored; ``None`` until they are."""


class Fault(NamedTuple):
    """A line that is left out."""

    line: int
    verdict: Literal["refused", "conflict"]
    source: str | None
    external_id: str | None
    field: str | None
    reason: str


SUMS: Final = Columns(Sums._fields)
NO_BYTES: Final = either(sqlite="x''", postgres="''::bytea")
CHUNK: Final = Columns(Chunk._fields)
FAULT: Final = Columns(Fault._fields)
IMPORTS: Final = (
    "SELECT i.id, i.name, i.file, i.begun_ms, i.author, i.reason,"
    " coalesce(s.state, 'loading'), coalesce(s.at_ms, i.begun_ms),"
    " coalesce(s.author, i.author) FROM imports i LEFT JOIN import_states s"
    " ON s.id = (SELECT max(id) FROM import_states WHERE import_id = i.id)"
)


async def add_import(tx: Tx, row: NewImport) -> int:
    """Store an import that begins, and return its id."""
    found = await tx.fetch_one(
        "INSERT INTO imports (name, file, begun_ms, author, reason)"
        " VALUES (?, ?, ?, ?, ?) RETURNING id",
        row,
    )
    assert found is not None
    return int(found[0])


async def add_state(
    tx: Tx, import_id: int, state: State, sums: Sums, *, at_ms: int, author: str
) -> int:
    """Store a step of an import with its numbers, and return the row's id."""
    found = await tx.fetch_one(
        f"INSERT INTO import_states (import_id, state, at_ms, author, {SUMS.listed})"  # noqa: S608 - names and marks
        f" VALUES (?, ?, ?, ?, {SUMS.marks}) RETURNING id",
        (import_id, state, at_ms, author, *sums),
    )
    assert found is not None
    return int(found[0])


async def newest_named(tx: Tx, name: str) -> ImportRow | None:
    """Return the newest import of a name."""
    row = await tx.fetch_one(
        f"{IMPORTS} WHERE i.name = ? ORDER BY i.id DESC LIMIT 1", (name,)
    )
    return None if row is None else ImportRow(*row)


async def names_of(tx: Tx, import_ids: Sequence[int]) -> dict[int, str]:
    """Return what some imports are called."""
    rows = await tx.fetch_all(
        f"SELECT id, name FROM imports WHERE id IN ({marks(len(import_ids))})",  # noqa: S608 - only marks
        import_ids,
    )
    return dict(rows)


async def page(tx: Tx, *, before: int, limit: int) -> list[ImportRow]:
    """Return imports before an id, the newest first."""
    rows = await tx.fetch_all(
        f"{IMPORTS} WHERE i.id < ? ORDER BY i.id DESC LIMIT ?", (before, limit)
    )
    return [ImportRow(*row) for row in rows]


async def in_state(tx: Tx, *states: State) -> list[ImportRow]:
    """Return the imports in some states, the oldest first."""
    rows = await tx.fetch_all(
        f"{IMPORTS} WHERE coalesce(s.state, 'loading')"
        f" IN ({marks(len(states))}) ORDER BY i.id",
        states,
    )
    return [ImportRow(*row) for row in rows]


async def sums_of(tx: Tx, row: ImportRow) -> Sums:
    """Return how much an import has; of one that is over, what it came to."""
    if row.is_over:
        found = await tx.fetch_one(
            f"SELECT {SUMS.listed} FROM import_states"  # noqa: S608 - names
            " WHERE import_id = ? ORDER BY id DESC LIMIT 1",
            (row.id,),
        )
    else:
        sums = ", ".join(f"coalesce(sum({name}), 0)" for name in SUMS.names)
        found = await tx.fetch_one(
            f"SELECT {sums} FROM import_chunks WHERE import_id = ?",  # noqa: S608 - names
            (row.id,),
        )
    assert found is not None
    return Sums(*found)


async def sealed_lines(tx: Tx, import_id: int) -> int | None:
    """Return how many lines an import had when it was whole; ``None`` before."""
    row = await tx.fetch_one(
        "SELECT lines FROM import_states WHERE import_id = ? AND state = 'staged'",
        (import_id,),
    )
    return None if row is None else int(row[0])


async def last_line(tx: Tx, import_id: int) -> int:
    """Return the last line that was put aside; 0 where none was."""
    row = await tx.fetch_one(
        "SELECT first_line + lines - 1 FROM import_chunks WHERE import_id = ?"
        " ORDER BY first_line DESC LIMIT 1",
        (import_id,),
    )
    return 0 if row is None else int(row[0])


async def add_chunk(tx: Tx, chunk: Chunk) -> None:
    """Put lines aside."""
    await tx.execute(
        f"INSERT INTO import_chunks ({CHUNK.listed}) VALUES ({CHUNK.marks})",  # noqa: S608 - names and marks
        chunk,
    )


async def chunk_at(tx: Tx, import_id: int, first_line: int) -> Chunk | None:
    """Return the lines that begin at one."""
    return await _chunk(tx, "first_line = ?", import_id, first_line)


async def next_chunk(tx: Tx, import_id: int, *, after: int) -> Chunk | None:
    """Return the first lines behind one that are not stored yet."""
    where = "first_line > ? AND content IS NOT NULL"
    return await _chunk(tx, where, import_id, after)


async def _chunk(tx: Tx, where: str, import_id: int, *given: int) -> Chunk | None:
    listed = CHUNK.listed.replace("content", f"coalesce(content, {NO_BYTES})")
    row = await tx.fetch_one(
        f"SELECT {listed} FROM import_chunks WHERE import_id = ? AND {where}"  # noqa: S608 - names
        " ORDER BY first_line LIMIT 1",
        (import_id, *given),
    )
    return None if row is None else Chunk(*row)


async def note_accepted(
    tx: Tx, import_id: int, first_line: int, *, accepted: int
) -> None:
    """Note how many events of some lines are stored, with the events themselves."""
    await tx.execute(
        "UPDATE import_chunks SET accepted = ? WHERE import_id = ? AND first_line = ?",
        (accepted, import_id, first_line),
    )


async def finish_chunk(
    tx: Tx,
    import_id: int,
    first_line: int,
    *,
    accepted: int,
    duplicates: int,
    conflicts: int,
    bad: int,
) -> None:
    """Note what became of the events of some lines, which wait no more."""
    await tx.execute(
        "UPDATE import_chunks SET content = NULL, accepted = ?, duplicates = ?,"
        " conflicts = ?, bad = bad + ? WHERE import_id = ? AND first_line = ?",
        (accepted, duplicates, conflicts, bad, import_id, first_line),
    )


async def first_ms(tx: Tx, import_id: int) -> int | None:
    """Return the earliest time of the events of an import."""
    row = await tx.fetch_one(
        "SELECT min(first_ms) FROM import_chunks WHERE import_id = ?", (import_id,)
    )
    return None if row is None else row[0]


async def add_faults(
    tx: Tx, import_id: int, faults: Iterable[Fault], *, faults_max: int
) -> None:
    """Keep lines that are left out, as long as an import has few of them."""
    row = await tx.fetch_one(
        "SELECT count(*) FROM import_faults WHERE import_id = ?", (import_id,)
    )
    assert row is not None
    await tx.execute_many(
        f"INSERT INTO import_faults (import_id, {FAULT.listed})"  # noqa: S608 - names and marks
        f" VALUES (?, {FAULT.marks}) ON CONFLICT (import_id, line) DO NOTHING",
        [(import_id, *fault) for fault in islice(faults, max(0, faults_max - row[0]))],
    )


async def faults_of(tx: Tx, import_id: int, *, limit: int) -> list[Fault]:
    """Return the first lines that are left out, in order."""
    rows = await tx.fetch_all(
        f"SELECT {FAULT.listed} FROM import_faults WHERE import_id = ?"  # noqa: S608 - names
        " ORDER BY line LIMIT ?",
        (import_id, limit),
    )
    return [Fault(*row) for row in rows]


async def forget_chunks(tx: Tx, *, limit: int) -> int:
    """Delete a bounded piece of what imports that are over left; return the rows."""
    rows: list[Row] = await tx.fetch_all(
        "SELECT c.import_id, c.first_line FROM import_states s"
        " JOIN import_chunks c ON c.import_id = s.import_id"
        " WHERE s.state IN (?, ?) LIMIT ?",
        (*OVER, limit),
    )
    await tx.execute_many(
        "DELETE FROM import_chunks WHERE import_id = ? AND first_line = ?", rows
    )
    return len(rows)
