"""SQL for the edges that forward to this ledger, and for what people decided of them."""

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from meterline_sidecar.store.columns import Columns, marks, pieces
from meterline_sidecar.store.facts import facts_from, get_fact, put_fact
from meterline_sidecar.store.port import Tx

SPEAKS: Final = "edge_speaks "
"""What the name of a fact begins with that says which process speaks for an edge."""
AT: Final = "edge_at "
"""Likewise, which of several centres it is connected to."""
Decided = Literal["adopt", "retire"]


class EdgeRow(NamedTuple):
    """An edge as it stood when it was last heard of."""

    id: int
    edge: str
    """128 random bits of its ledger."""
    name: str
    credential: str
    """What it came with: a token's id or a certificate's name; empty: not known."""
    program: str
    """The version of Meterline there."""
    first_ms: int
    seen_ms: int
    batch: int
    """Up to which batch of its ledger all is here."""
    ahead: int
    """Up to which batch something of it may be here."""
    mark: bytes
    """The mac of that batch; empty for 0."""
    low_ms: int
    """Everything of it from before is here."""
    skew_ms: int
    """Its clock, less ours."""
    trouble: str
    """Why it is refused until a person decides; empty where it is not."""
    forwards: str = "events"
    """Whether it sends its events, or (``usage``) what they come to."""


ROW: Final = Columns(EdgeRow._fields)
NEW: Final = ROW.without("id")
CHANGING: Final = NEW.without("edge", "first_ms")


async def list_edges(tx: Tx) -> list[EdgeRow]:
    """Return every edge that ever came, in the order in which they did."""
    rows = await tx.fetch_all(f"SELECT {ROW.listed} FROM edges ORDER BY id")  # noqa: S608 - names
    return [EdgeRow(*row) for row in rows]


async def find_edge(tx: Tx, edge: str) -> EdgeRow | None:
    """Return the edge whose ledger has this id, if it ever came."""
    row = await tx.fetch_one(
        f"SELECT {ROW.listed} FROM edges WHERE edge = ?",  # noqa: S608 - names
        (edge,),
    )
    return None if row is None else EdgeRow(*row)


async def speaks_for(tx: Tx, edge_id: int) -> str:
    """Return the life of the process that speaks for an edge; empty where none does."""
    return await get_fact(tx, f"{SPEAKS}{edge_id}") or ""


async def note_speaks(tx: Tx, edge_id: int, life: str, *, at: str = "") -> None:
    """Note the life of the process that speaks for an edge from now on.

    Args:
        at: what the centre is called that it is connected to.
    """
    await put_fact(tx, f"{SPEAKS}{edge_id}", life)
    await put_fact(tx, f"{AT}{edge_id}", at)


async def centres_of_edges(tx: Tx) -> dict[int, str]:
    """Return what the centres are called that edges are connected to, by their ids."""
    found = await facts_from(tx, AT)
    return {int(name.removeprefix(AT)): at for name, at in found.items()}


async def add_edge(tx: Tx, row: EdgeRow) -> int:
    """Add an edge and return its id here; ``row.id`` is ignored."""
    found = await tx.fetch_one(
        f"INSERT INTO edges ({NEW.listed}) VALUES ({NEW.marks}) RETURNING id",  # noqa: S608 - names and marks
        NEW.of(row),
    )
    assert found is not None
    return int(found[0])


async def update_edge(tx: Tx, row: EdgeRow) -> None:
    """Store how an edge stands."""
    await tx.execute(
        f"UPDATE edges SET ({CHANGING.listed}) = ({CHANGING.marks}) WHERE id = ?",  # noqa: S608 - names and marks
        (*CHANGING.of(row), row.id),
    )


async def retired_edges(tx: Tx) -> set[int]:
    """Return the ids of edges of which the last decision was that they do not return."""
    rows = await tx.fetch_all(
        "SELECT d.edge_id FROM edge_decisions d WHERE d.decision = 'retire'"
        " AND d.id = (SELECT max(l.id) FROM edge_decisions l"
        " WHERE l.edge_id = d.edge_id)"
    )
    return {row[0] for row in rows}


async def add_decision(
    tx: Tx,
    edge_id: int,
    decision: Decided,
    *,
    decided_ms: int,
    author: str,
    reason: str,
) -> int:
    """Note what somebody decided about an edge, and return the row's id."""
    found = await tx.fetch_one(
        "INSERT INTO edge_decisions (edge_id, decision, decided_ms, author, reason)"
        " VALUES (?, ?, ?, ?, ?) RETURNING id",
        (edge_id, decision, decided_ms, author, reason),
    )
    assert found is not None
    return int(found[0])


async def edge_of_producer(tx: Tx, producer: str) -> int | None:
    """Return the id of the edge that a producer is of; ``None``: of none."""
    row = await tx.fetch_one(
        "SELECT edge_id FROM edge_producers WHERE producer = ?", (producer,)
    )
    return None if row is None else int(row[0])


async def edges_of_producers(tx: Tx, producers: Sequence[str]) -> dict[str, int]:
    """Return the ids of the edges that producers are of, of those that are of any."""
    found: dict[str, int] = {}
    for part in pieces(producers):
        rows = await tx.fetch_all(
            "SELECT producer, edge_id FROM edge_producers"  # noqa: S608 - only marks
            f" WHERE producer IN ({marks(len(part))})",
            part,
        )
        found.update({row[0]: row[1] for row in rows})
    return found


async def edge_names_of(tx: Tx, producers: Sequence[str]) -> dict[str, str]:
    """Return the names of the edges that producers are of, of those that are of any."""
    found: dict[str, str] = {}
    for part in pieces(producers):
        rows = await tx.fetch_all(
            "SELECT p.producer, d.name FROM edge_producers p"  # noqa: S608 - only marks
            " JOIN edges d ON d.id = p.edge_id"
            f" WHERE p.producer IN ({marks(len(part))})",
            part,
        )
        found.update({row[0]: row[1] for row in rows})
    return found


async def n_open_at_edges(tx: Tx) -> int:
    """Return how many producers of edges have not said goodbye."""
    row = await tx.fetch_one(
        "SELECT count(*) FROM producers p WHERE p.is_closed = 0 AND EXISTS"
        " (SELECT 1 FROM edge_producers e WHERE e.producer = p.producer)"
    )
    assert row is not None
    return int(row[0])


async def claim_producer(tx: Tx, producer: str, *, edge_id: int) -> None:
    """Note that a producer is an edge's, whosever it was before."""
    await tx.execute(
        "INSERT INTO edge_producers (producer, edge_id) VALUES (?, ?)"
        " ON CONFLICT (producer) DO UPDATE SET edge_id = excluded.edge_id",
        (producer, edge_id),
    )
