"""SQL for rolling up: what an edge that forwards usage has counted, and how far."""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from meterline_sidecar.store.columns import marks, pieces
from meterline_sidecar.store.edge.begin import begin
from meterline_sidecar.store.edge.packed import events_between
from meterline_sidecar.store.edge.usage import COUNTED, EventFacts
from meterline_sidecar.store.port import Tx

OF_PRODUCER: Final = ("id", "producer_id", "seq")


class Epoch(NamedTuple):
    """One life of an edge's ledger."""

    producer: str
    """As which its rolled-up events are stored and sent."""
    after_event_id: int
    """Events up to here are of an earlier one."""
    known_seq: int = 0
    """Up to which number the centre had it when another began."""


class RollUp(NamedTuple):
    """One counting of the centre's, as it is followed here."""

    generation: str
    definition: str
    cursor: int
    is_complete: int
    """Whether all that there was had been rolled up at some time."""


class Roll(NamedTuple):
    """Which events were rolled up at one time, and into which."""

    generation: str
    after_event_id: int
    up_to_event_id: int
    first_event_id: int
    events: int


async def list_epochs(tx: Tx) -> list[Epoch]:
    """Return all epochs of this ledger, in their order."""
    rows = await tx.fetch_all(
        "SELECT producer, after_event_id, known_seq FROM epochs ORDER BY id"
    )
    return [Epoch(*row) for row in rows]


async def put_epoch(tx: Tx, epoch: Epoch) -> None:
    """Begin an epoch, or note how far the centre has one that is over."""
    await tx.execute(
        "INSERT INTO epochs (producer, after_event_id, known_seq) VALUES (?, ?, ?)"
        " ON CONFLICT (producer) DO UPDATE SET known_seq = excluded.known_seq",
        epoch,
    )


async def rolled_up_at_all(tx: Tx) -> int:
    """Return up to which event any counting was followed here, or an epoch had been."""
    row = await tx.fetch_one(
        "SELECT max(r.id) FROM (SELECT coalesce(max(cursor), 0) AS id FROM roll_ups"
        " UNION ALL SELECT coalesce(max(up_to_event_id), 0) FROM rolls"
        " UNION ALL SELECT coalesce(max(after_event_id), 0) FROM epochs) AS r"
    )
    assert row is not None
    return int(row[0])


async def add_rolled_up_before(tx: Tx, rows: Iterable[tuple[str, int]]) -> None:
    """Note ``(producer, number)`` up to which an earlier epoch has rolled up."""
    await tx.execute_many(
        "INSERT INTO rolled_up_before (producer, last_seq) VALUES (?, ?)"
        " ON CONFLICT (producer) DO UPDATE SET last_seq = CASE"
        " WHEN excluded.last_seq > rolled_up_before.last_seq THEN excluded.last_seq"
        " ELSE rolled_up_before.last_seq END",
        rows,
    )


async def rolled_up_before(tx: Tx, after_id: int, last_id: int) -> set[int]:
    """Return which events between two were rolled up by an earlier epoch."""
    source = await events_between(tx, after_id + 1, last_id)
    rows = await tx.fetch_all(
        "SELECT e.id FROM rolled_up_before b JOIN producers p ON p.producer = b.producer"  # noqa: S608 - our own words
        f" JOIN {source.sql} e ON e.producer_id = p.id AND e.seq <= b.last_seq"
        " WHERE e.id > ? AND e.id <= ?",
        (*source.given, after_id, last_id),
    )
    return {row[0] for row in rows}


async def events_of_part(
    tx: Tx, producer: str, part: tuple[int, int], among: tuple[int, int]
) -> set[int]:
    """Return which events behind one and up to another have numbers of a part.

    Args:
        part: the first and the last number.
        among: behind which event, and up to which.
    """
    after_id, last_id = among
    source = await events_between(tx, after_id + 1, last_id, columns=OF_PRODUCER)
    rows = await tx.fetch_all(
        f"SELECT e.id FROM {source.sql} e JOIN producers p ON p.id = e.producer_id"  # noqa: S608 - our own words
        " WHERE p.producer = ? AND e.seq BETWEEN ? AND ? AND e.id > ? AND e.id <= ?",
        (*source.given, producer, *part, after_id, last_id),
    )
    return {row[0] for row in rows}


async def has_rolled_up_before(tx: Tx) -> bool:
    """Say whether an earlier epoch has rolled up what this ledger does not know."""
    row = await tx.fetch_one("SELECT 1 FROM rolled_up_before LIMIT 1")
    return row is not None


async def all_rolled_up_before(tx: Tx) -> dict[str, int]:
    """Return up to which number of each producer an earlier epoch has rolled up."""
    rows = await tx.fetch_all("SELECT producer, last_seq FROM rolled_up_before")
    return {row[0]: row[1] for row in rows}


async def list_roll_ups(tx: Tx) -> list[RollUp]:
    """Return the countings that are followed, the oldest first."""
    rows = await tx.fetch_all(
        "SELECT generation, definition, cursor, is_complete FROM roll_ups ORDER BY id"
    )
    return [RollUp(*row) for row in rows]


async def put_roll_up(tx: Tx, row: RollUp) -> None:
    """Store a counting as it is followed from now on."""
    await tx.execute(
        "INSERT INTO roll_ups (generation, definition, cursor, is_complete)"
        " VALUES (?, ?, ?, ?) ON CONFLICT (generation) DO UPDATE SET"
        " definition = excluded.definition, cursor = excluded.cursor,"
        " is_complete = excluded.is_complete",
        row,
    )


async def drop_roll_ups(tx: Tx, kept: Sequence[str]) -> None:
    """Follow no counting but some."""
    await tx.execute(
        f"DELETE FROM roll_ups WHERE generation NOT IN ({marks(len(kept))})",  # noqa: S608 - only marks
        kept,
    )


async def last_rolled_up(tx: Tx, generation: str) -> int:
    """Return up to which event a counting was followed here, whenever that was."""
    row = await tx.fetch_one(
        "SELECT coalesce(max(up_to_event_id), 0) FROM rolls WHERE generation = ?",
        (generation,),
    )
    assert row is not None
    return int(row[0])


async def add_roll(tx: Tx, roll: Roll) -> None:
    """Note which events were rolled up, in the transaction that stores into which."""
    await tx.execute(
        "INSERT INTO rolls (generation, after_event_id, up_to_event_id, first_event_id,"
        " events) VALUES (?, ?, ?, ?, ?)",
        roll,
    )


async def rolled_up_to(tx: Tx, roll_up: RollUp, *, batch_id: int) -> int:
    """Return up to which event all is rolled up in the batches up to one.

    Args:
        roll_up: the counting, as it stands in this snapshot.
        batch_id: those behind it are not at the centre.
    """
    left = await begin(tx)
    row = await tx.fetch_one(
        "SELECT min(after_event_id) FROM rolls WHERE generation = ?"
        " AND first_event_id > coalesce((SELECT first_event_id + events - 1"
        " FROM batches WHERE id = ?), ?)",
        # Up to where in what left is not known: it is told again from the first on.
        (
            roll_up.generation,
            batch_id,
            left.event_id if batch_id == left.batch_id else 0,
        ),
    )
    assert row is not None
    return roll_up.cursor if row[0] is None else int(row[0])


async def covered(tx: Tx, after_id: int, last_id: int) -> dict[str, int]:
    """Return the last number of each producer of the events between two."""
    first, last = await _batch_of(tx, after_id + 1), await _batch_of(tx, last_id)
    rows = await tx.fetch_all(
        "SELECT p.producer, max(b.last_seq) FROM batches b JOIN producers p"
        " ON p.id = b.producer_id WHERE b.id BETWEEN ? AND ? AND b.events > 0"
        " AND b.first_event_id + b.events - 1 <= ? GROUP BY p.producer",
        (first, last, last_id),
    )
    # Of the last batch it may be a part.
    source = await events_between(tx, last_id, last_id, columns=OF_PRODUCER)
    rows += await tx.fetch_all(
        f"SELECT p.producer, e.seq FROM {source.sql} e JOIN producers p"  # noqa: S608 - our own words
        " ON p.id = e.producer_id WHERE e.id = ?",
        (*source.given, last_id),
    )
    found: dict[str, int] = {}
    for producer, seq in rows:
        found[producer] = max(seq, found.get(producer, 0))
    return found


async def _batch_of(tx: Tx, event_id: int) -> int:
    """Return the batch of an event; there is no index by events, so that ids are halved."""
    row = await tx.fetch_one("SELECT min(id), max(id) FROM batches")
    assert row is not None
    low, high = row[0] or 0, row[1] or 0
    while low < high:
        middle = (low + high + 1) // 2
        found = await tx.fetch_one(
            "SELECT id, first_event_id FROM batches WHERE id <= ?"
            " ORDER BY id DESC LIMIT 1",
            (middle,),
        )
        assert found is not None, "the first one is below"
        low, high = (middle, high) if found[1] <= event_id else (low, found[0] - 1)
    return int(low)


async def names_of(tx: Tx, subject_ids: Sequence[int]) -> dict[int, str]:
    """Return the names of subjects, by their ids."""
    found: dict[int, str] = {}
    for part in pieces(subject_ids):
        rows = await tx.fetch_all(
            f"SELECT id, name FROM subjects WHERE id IN ({marks(len(part))})",  # noqa: S608 - only marks
            part,
        )
        found.update({row[0]: row[1] for row in rows})
    return found


async def texts_of(tx: Tx, producer: str, *, after_seq: int) -> list[str]:
    """Return what stands in the place of properties in a producer's later events."""
    batches = await tx.fetch_all(
        "SELECT b.first_event_id, b.events FROM batches b JOIN producers p"
        " ON p.id = b.producer_id WHERE p.producer = ? AND b.last_seq > ?"
        " ORDER BY b.id",
        (producer, after_seq),
    )
    found: list[str] = []
    for first_id, n_events in batches:
        rows = await tx.fetch_all(
            "SELECT properties FROM events WHERE id >= ? AND id < ? AND seq > ?"
            " AND properties IS NOT NULL ORDER BY id",
            (first_id, first_id + n_events, after_seq),
        )
        found += [row[0] for row in rows]
    return found


async def has_batch_of(tx: Tx, producer: str, seq: int) -> bool:
    """Say whether the batch with a producer's number is in this ledger."""
    row = await tx.fetch_one(
        "SELECT 1 FROM batches b JOIN producers p ON p.id = b.producer_id"
        " WHERE p.producer = ? AND b.first_seq <= ? AND b.last_seq >= ? LIMIT 1",
        (producer, seq, seq),
    )
    return row is not None


async def states_of_edges(
    tx: Tx, after: int, last: int, *, flags: int
) -> list[tuple[int, str, int, EventFacts]]:
    """Return what edges have counted, of some ids, in order.

    Args:
        flags: which these events have.

    Returns:
        Of each the edge's id, its producer and number there, and the event.
    """
    source = await events_between(tx, after + 1, last)
    rows = await tx.fetch_all(
        f"SELECT ep.edge_id, p.producer, e.seq, {', '.join(f'e.{name}' for name in COUNTED.names)}"  # noqa: S608 - names
        f" FROM {source.sql} e JOIN producers p ON p.id = e.producer_id"
        " JOIN edge_producers ep ON ep.producer = p.producer"
        " WHERE e.id > ? AND e.id <= ? AND e.flags & ? = ? ORDER BY e.id",
        (*source.given, after, last, flags, flags),
    )
    return [(row[0], row[1], row[2], EventFacts(*row[3:])) for row in rows]


async def expect_no_more(tx: Tx, edge_id: int, *, app: str) -> None:
    """Wait for no number of an edge's epochs that it announced, and is not here.

    Args:
        app: what these producers call themselves.
    """
    await tx.execute(
        "UPDATE producers SET recorded_seq = last_seq WHERE app = ?"
        " AND recorded_seq > last_seq AND producer IN"
        " (SELECT producer FROM edge_producers WHERE edge_id = ?)",
        (app, edge_id),
    )


class EdgeCover(NamedTuple):
    """Up to which number of a worker an epoch of an edge has rolled up what is here."""

    producer: str
    epoch: str
    """As a rolled-up event says it."""
    generation: str
    edge_id: int
    last_seq: int


async def add_edge_covers(tx: Tx, rows: Iterable[EdgeCover]) -> None:
    """Note how far edges have rolled up, with the events that say so."""
    await tx.execute_many(
        "INSERT INTO edge_covers (producer, epoch, generation, edge_id, last_seq)"
        " VALUES (?, ?, ?, ?, ?) ON CONFLICT (producer, epoch, generation) DO UPDATE SET"
        " last_seq = CASE WHEN excluded.last_seq > edge_covers.last_seq"
        " THEN excluded.last_seq ELSE edge_covers.last_seq END",
        rows,
    )


async def edge_covers(tx: Tx, producers: Sequence[str]) -> list[EdgeCover]:
    """Return how far edges have rolled up some workers."""
    found: list[EdgeCover] = []
    for part in pieces(producers):
        rows = await tx.fetch_all(
            "SELECT producer, epoch, generation, edge_id, last_seq FROM edge_covers"  # noqa: S608 - only marks
            f" WHERE producer IN ({marks(len(part))})",
            part,
        )
        found += [EdgeCover(*row) for row in rows]
    return found


async def edges_that_took_over(tx: Tx, *, app: str) -> set[int]:
    """Return the ids of edges with a worker of which another edge has sent something.

    Args:
        app: what the producers of rolled-up events call themselves.
    """
    rows = await tx.fetch_all(
        "SELECT ep.edge_id FROM edge_covers c JOIN edge_producers ep"
        " ON ep.producer = c.producer WHERE ep.edge_id <> c.edge_id"
        " UNION SELECT ep.edge_id FROM producers p JOIN edge_producers ep"
        " ON ep.producer = p.producer WHERE p.app <> ? AND p.last_seq > 0",
        (app,),
    )
    return {row[0] for row in rows}


async def epochs_of_edges(tx: Tx, *, app: str) -> list[tuple[int, str, int]]:
    """Return ``(edge id, producer, last number)`` of epochs at a centre, in order.

    Args:
        app: what these producers call themselves.
    """
    rows = await tx.fetch_all(
        "SELECT ep.edge_id, p.producer, p.last_seq FROM producers p"
        " JOIN edge_producers ep ON ep.producer = p.producer WHERE p.app = ?"
        " ORDER BY p.id",
        (app,),
    )
    return [(row[0], row[1], row[2]) for row in rows]
