"""SQL for what arrives: producers, events, losses and the batches over them."""

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import chain, groupby
from typing import Final, NamedTuple

from meterline_sidecar.store.columns import Columns, pieces, text_rows
from meterline_sidecar.store.columns import marks as marks_of
from meterline_sidecar.store.dialects import either
from meterline_sidecar.store.edge.begin import begin
from meterline_sidecar.store.edge.hashed import HashedEvents
from meterline_sidecar.store.edge.stored import STORED
from meterline_sidecar.store.port import Tx, Value


class EventRow(NamedTuple):
    """One usage event with its texts, in the order that the chain hashes."""

    seq: int
    time_ms: int
    kind: int
    subject: str | None
    method: str
    route: str
    status: int
    duration_us: int
    bytes_in: int
    bytes_out: int
    flags: int
    quantities: str | None
    properties: str | None = None


class LossRow(NamedTuple):
    """Numbers of a producer that will never be events."""

    first_seq: int
    last_seq: int
    reason: str
    payload: bytes | None


class BatchRow(NamedTuple):
    """What one producer got committed in one transaction."""

    id: int
    producer_id: int
    first_seq: int
    last_seq: int
    first_event_id: int
    events: int
    first_loss_id: int
    losses: int
    learned_ms: int

    @property
    def follows(self) -> tuple[int, int]:
        """The ids with which events and losses of the next batch begin."""
        return (self.first_event_id + self.events, self.first_loss_id + self.losses)

    def facts(self) -> tuple[int, ...]:
        """Return what the chain covers besides the rows and the producer's name."""
        return (
            self.id,
            self.first_seq,
            self.last_seq,
            self.events,
            self.losses,
            self.learned_ms,
        )


class ProducerRow(NamedTuple):
    """One worker process's life, as far as it is known here."""

    id: int
    producer: str
    app: str
    host: str
    pid: int
    started_ms: int
    spool: str
    recorded_seq: int
    last_seq: int
    ingested: int
    refused: int
    lost: int
    duplicates: int
    unattributed: int
    held: int
    bad_quantities: int
    """Events that a quantity or property was left out of: it could not be taken."""
    seen_ms: int
    is_closed: int


class Marks(NamedTuple):
    """The newest ids of the tables that only grow, and the newest mac."""

    event_id: int
    loss_id: int
    batch_id: int
    mac: bytes | None


ADDED_AT_ONCE: Final = (500, 50, 1)
"""How many events a statement adds: the more, the less one costs, and the less often the
writer's thread lets others run and waits for its turn. SQLite takes 32,766 marks."""
OFTEN_EMPTY: Final = 2
"""How many columns at the end are, quantities and properties. To hand over one that is
costs as much as seven numbers; it is left out where it is of all that a statement adds."""
LOSS: Final = Columns(LossRow._fields)
BATCH: Final = Columns(BatchRow._fields)
PRODUCER: Final = Columns(ProducerRow._fields)
NEW_PRODUCER: Final = PRODUCER.without("id")
CHANGING: Final = NEW_PRODUCER.without("producer", "app", "host", "pid", "started_ms")
"""What changes of a producer while it lives."""
SELECT_PRODUCER: Final = f"SELECT {PRODUCER.listed} FROM producers"  # noqa: S608 - names

NAMED: Final = either(
    # Else each of them reads all there are for some hundred.
    sqlite="SELECT s.name, s.id FROM k CROSS JOIN subjects s WHERE s.name = k.name",
    postgres="SELECT s.name, s.id FROM k CROSS JOIN LATERAL"
    " (SELECT s.name, s.id FROM subjects s WHERE s.name = k.name LIMIT 1) AS s",
)
"""Finds those subjects that are named in ``k``."""

HASHED: Final = {
    **{name: f"e.{name}" for name in EventRow._fields},
    "subject": "s.name",
    "method": "coalesce(n.method, '')",
    "route": "coalesce(n.route, '')",
}
"""Where each field of an ``EventRow`` is found, in its order."""


async def marks(tx: Tx) -> Marks:
    """Return where the next rows go on."""
    events = await tx.fetch_one("SELECT coalesce(max(id), 0) FROM events")
    losses = await tx.fetch_one("SELECT coalesce(max(id), 0) FROM losses")
    batch = await tx.fetch_one("SELECT id, mac FROM batches ORDER BY id DESC LIMIT 1")
    assert events is not None
    assert losses is not None
    # A number is never given again, though its row may have left for the archive.
    left = await begin(tx)
    batch_id, mac = batch or (left.batch_id, left.mac)
    event_id, loss_id = max(events[0], left.event_id), max(losses[0], left.loss_id)
    return Marks(event_id, loss_id, batch_id, mac)


async def find_producer(tx: Tx, producer: str) -> ProducerRow | None:
    """Return the producer with this random id, if it ever said hello."""
    row = await tx.fetch_one(f"{SELECT_PRODUCER} WHERE producer = ?", (producer,))
    return None if row is None else ProducerRow(*row)


async def last_seqs(tx: Tx, producer_ids: Sequence[int]) -> dict[int, int]:
    """Return how far each of up to some thousand producers is, by their ids here."""
    rows = await tx.fetch_all(
        f"SELECT id, last_seq FROM producers WHERE id IN ({marks_of(len(producer_ids))})",  # noqa: S608 - only marks
        producer_ids,
    )
    return {row[0]: row[1] for row in rows}


async def list_producers(
    tx: Tx, *, limit: int, open_first: bool = True
) -> list[ProducerRow]:
    """Return producers: open ones first, then the most recently seen."""
    order = "is_closed, seen_ms DESC" if open_first else "seen_ms DESC"
    rows = await tx.fetch_all(f"{SELECT_PRODUCER} ORDER BY {order} LIMIT ?", (limit,))
    return [ProducerRow(*row) for row in rows]


async def n_in_memory(tx: Tx, *, seen_since_ms: int) -> int:
    """Return how many open producers seen since then have their events in memory."""
    row = await tx.fetch_one(
        "SELECT count(*) FROM producers WHERE is_closed = 0 AND seen_ms >= ?"
        " AND spool <> 'file'",
        (seen_since_ms,),
    )
    assert row is not None
    return int(row[0])


async def add_producer(tx: Tx, row: ProducerRow) -> int:
    """Add a producer and return its id here; ``row.id`` is ignored."""
    new = await tx.fetch_one(
        f"INSERT INTO producers ({NEW_PRODUCER.listed})"  # noqa: S608 - names and marks
        f" VALUES ({NEW_PRODUCER.marks}) RETURNING id",
        NEW_PRODUCER.of(row),
    )
    assert new is not None
    return int(new[0])


async def update_producer(tx: Tx, row: ProducerRow) -> None:
    """Store what changed of a producer: its watermark and its counts."""
    await tx.execute(
        f"UPDATE producers SET ({CHANGING.listed}) = ({CHANGING.marks}) WHERE id = ?",  # noqa: S608 - names and marks
        (*CHANGING.of(row), row.id),
    )


async def subjects_of(tx: Tx, names: Sequence[str]) -> dict[str, int]:
    """Return the ids of those subjects that were seen before, by name."""
    found: dict[str, int] = {}
    for part in pieces(names):
        rows = await tx.fetch_all(
            f"WITH k (name) AS (VALUES {text_rows(len(part))}) {NAMED}",
            part,
        )
        found.update(dict(rows))
    return found


async def add_subjects(
    tx: Tx, subjects: Sequence[tuple[str, str | None]]
) -> dict[str, int]:
    """Add subjects that are new, each with its customer, and return their ids."""
    last = await tx.fetch_one("SELECT coalesce(max(id), 0) FROM subjects")
    assert last is not None
    await tx.execute_many(
        "INSERT INTO subjects (name, customer) VALUES (?, ?)", subjects
    )
    rows = await tx.fetch_all("SELECT name, id FROM subjects WHERE id > ?", last)
    return dict(rows)


async def intern_endpoints(
    tx: Tx, endpoints: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], int]:
    """Return the ids of (method, route) pairs; new ones are added."""
    await tx.execute_many(
        "INSERT INTO endpoints (method, route) VALUES (?, ?)"
        " ON CONFLICT (method, route) DO NOTHING",
        endpoints,
    )
    found: dict[tuple[str, str], int] = {}
    for part in pieces(endpoints):
        pairs = ", ".join(["(?, ?)"] * len(part))
        rows = await tx.fetch_all(
            # An IN of pairs would read the whole table.
            f"WITH k (method, route) AS (VALUES {pairs})"  # noqa: S608 - only marks
            " SELECT n.method, n.route, n.id FROM k CROSS JOIN endpoints n"
            " WHERE n.method = k.method AND n.route = k.route",
            [name for endpoint in part for name in endpoint],
        )
        found.update({(method, route): row_id for method, route, row_id in rows})
    return found


async def add_events(tx: Tx, rows: Sequence[Sequence[Value]]) -> None:
    """Append events: rows with the fields of ``StoredEvent``, in its order."""
    start = 0
    for size in ADDED_AT_ONCE:
        end = len(rows) - (len(rows) - start) % size
        added = [_in_line(rows[i : i + size]) for i in range(start, end, size)]
        for width, same in groupby(added, key=lambda values: len(values) // size):
            await tx.execute_many(_add_events(size, width), same)
        start = end


def _in_line(rows: Sequence[Sequence[Value]]) -> list[Value]:
    """Return the values of events one behind the other, without columns at the end that
    are empty.
    """
    values = list(chain.from_iterable(rows))
    width = len(STORED.names)
    for _ in range(OFTEN_EMPTY):
        if values[width - 1 :: width].count(None) < len(rows):
            break
        del values[width - 1 :: width]
        width -= 1
    return values


@cache
def _add_events(size: int, width: int) -> str:
    columns = Columns(STORED.names[:width])
    return f"INSERT INTO events ({columns.listed}) VALUES " + ", ".join(  # noqa: S608 - names and marks
        [f"({columns.marks})"] * size
    )


async def add_losses(
    tx: Tx, *, first_id: int, producer_id: int, losses: Sequence[LossRow]
) -> None:
    """Append losses of one producer, numbered from ``first_id``."""
    await tx.execute_many(
        f"INSERT INTO losses (id, producer_id, {LOSS.listed})"  # noqa: S608 - names and marks
        f" VALUES (?, ?, {LOSS.marks})",
        ((first_id + i, producer_id, *loss) for i, loss in enumerate(losses)),
    )


async def add_batch(tx: Tx, batch: BatchRow, mac: bytes) -> None:
    """Append a batch, the link of the chain over its events and losses."""
    await tx.execute(
        f"INSERT INTO batches ({BATCH.listed}, mac) VALUES ({BATCH.marks}, ?)",  # noqa: S608 - names and marks
        (*batch, mac),
    )


async def mac_of_batch(tx: Tx, batch_id: int) -> bytes | None:
    """Return the mac of a batch that is here; ``None`` where there is none."""
    row = await tx.fetch_one("SELECT mac FROM batches WHERE id = ?", (batch_id,))
    return None if row is None else row[0]


async def batches_after(
    tx: Tx, batch_id: int, *, limit: int
) -> list[tuple[BatchRow, str, bytes]]:
    """Return batches after an id, each with its producer's random id and its mac."""
    rows = await tx.fetch_all(
        f"SELECT {', '.join(f'b.{name}' for name in BATCH.names)},"  # noqa: S608 - names
        " coalesce(p.producer, ''), b.mac"
        " FROM batches b LEFT JOIN producers p ON p.id = b.producer_id"
        " WHERE b.id > ? ORDER BY b.id LIMIT ?",
        (batch_id, limit),
    )
    return [(BatchRow(*batch), producer, mac) for *batch, producer, mac in rows]


async def events_of_batch(tx: Tx, batch: BatchRow) -> list[EventRow]:
    """Return a batch's events as the chain hashes them.

    One that is another producer's by now is none of the batch's: so it is missed.
    """
    first = batch.first_event_id
    found = await HashedEvents().between(tx, first, first + batch.events - 1)
    return [
        EventRow(*row)
        for producer_id, row in zip(found.producer_ids, found.rows, strict=True)
        if producer_id == batch.producer_id
    ]


async def losses_of_batch(tx: Tx, batch: BatchRow) -> list[LossRow]:
    """Return a batch's losses as the chain hashes them."""
    rows = await tx.fetch_all(
        f"SELECT {LOSS.listed} FROM losses"  # noqa: S608 - names
        " WHERE id >= ? AND id < ? AND producer_id = ? ORDER BY id",
        (batch.first_loss_id, batch.first_loss_id + batch.losses, batch.producer_id),
    )
    return [LossRow(*row) for row in rows]


async def note_hours(tx: Tx, hours: Iterable[tuple[int, int, int]]) -> None:
    """Widen the id ranges of hours: ``(hour_ms, first_event_id, last_event_id)``."""
    await tx.execute_many(
        "INSERT INTO event_hours (hour_ms, first_event_id, last_event_id)"
        " VALUES (?, ?, ?) ON CONFLICT (hour_ms) DO UPDATE SET"
        " last_event_id = excluded.last_event_id",
        hours,
    )
