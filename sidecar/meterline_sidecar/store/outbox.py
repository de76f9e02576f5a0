"""The outbox: what Stripe must still be told, and what it has been told."""

from collections.abc import Collection, Sequence
from typing import Final, Literal

from msgspec import Struct

from meterline_sidecar.decimals import Number, minus, of_units, plus
from meterline_sidecar.meters import Mode
from meterline_sidecar.store.columns import Columns, marks
from meterline_sidecar.store.port import Tx, Value

State = Literal[
    "pending",
    "sending",
    "confirmed",
    "unresolved",
    "parked",
    "dead",
    "expired",
    "rejected",
]
STATES: Final[tuple[State, ...]] = (
    "pending",
    "sending",
    "confirmed",
    "unresolved",
    "parked",
    "dead",
    "expired",
    "rejected",
)


class OutboxRow(Struct, frozen=True):
    """One part of one hour, and where it is on its way to Stripe."""

    id: int
    customer: str
    stripe_customer: str | None
    meter: str
    event_name: str
    mode: Mode
    hour_ms: int
    part: int
    value: int
    """A whole number of the smallest unit."""
    identifier: str
    created_ms: int
    state: State
    key_no: int
    """Part of the Idempotency-Key; one more after an answer that Stripe may repeat."""
    attempts: int
    doubt_ms: int | None
    """When it was first sent without learning the outcome; ``None``: never."""
    sent_ms: int | None
    next_ms: int
    settled_ms: int | None
    request_id: str | None
    batch_key: str | None
    """The key of the stream's request that it went with."""
    reason: str | None
    replaced_by: int | None
    """The row that says the same again, after this one turned out not to count."""
    scale: int = 0
    """How many digits of the value stand behind its point."""

    @property
    def quantity(self) -> Number:
        """What Stripe is told: the value, with its point."""
        return of_units(self.value, self.scale)

    @property
    def series(self) -> tuple[str, str | None]:
        """What Stripe takes one request at a time for."""
        return self.event_name, self.stripe_customer


class NewRow(Struct, frozen=True):
    """A row to add."""

    customer: str
    stripe_customer: str | None
    meter: str
    event_name: str
    mode: Mode
    hour_ms: int
    part: int
    value: int
    identifier: str
    created_ms: int
    scale: int = 0
    state: State = "pending"
    reason: str | None = None


ALL: Final = Columns(OutboxRow.__struct_fields__)
NEW: Final = Columns(NewRow.__struct_fields__)


class Issued(Struct, frozen=True):
    """What the outbox already says about one hour of one customer and meter."""

    mode: Mode
    stripe_customer: str | None
    value: Number
    """The hour's total, as Stripe will know it when every part is delivered."""
    next_part: int
    is_sent: bool = True
    """Whether any part of it was ever on its way, or may have been."""
    is_too_large: bool = False
    """Whether the last part stands for more than can be told, as a dead row."""
    of_others: Number = 0
    """How much of the total other meters have said, under the same event name."""


class Cursor(Struct, frozen=True):
    """Whose outbox this is, and how far changes of usage have been noted."""

    install: str
    """Random; part of every identifier, so that two sidecars never share one."""
    event_id: int
    is_live: bool | None
    """The mode of the key that it reports with; ``None`` before the first."""
    sends: int
    """Rows ever sent."""
    suspect_ms: int
    """Hours before it may have been sent by a ledger that this one is a copy of."""


async def read_rows(
    tx: Tx, rest: str, parameters: Sequence[Value] = ()
) -> list[OutboxRow]:
    """Return the rows that a query finds.

    Args:
        rest: the query from its ``FROM`` on; where tables are joined, only those
            columns may have the names of the outbox's that are the outbox's.
    """
    rows = await tx.fetch_all(f"SELECT {ALL.listed} {rest}", parameters)
    return [OutboxRow(*row) for row in rows]


async def cursor(tx: Tx) -> Cursor | None:
    """Return the cursor; ``None`` before ``start``."""
    found = await tx.fetch_one(
        "SELECT install, event_id, is_live, sends, suspect_ms FROM outbox_cursor"
        " WHERE id = 1"
    )
    if found is None:
        return None
    install, event_id, is_live, sends, suspect_ms = found
    return Cursor(
        install,
        event_id,
        None if is_live is None else bool(is_live),
        sends,
        suspect_ms,
    )


async def start(tx: Tx, install: str) -> None:
    """Begin at the first event; keep what is there already."""
    await tx.execute(
        "INSERT INTO outbox_cursor (id, install, event_id, added)"
        " VALUES (1, ?, 0, (SELECT count(*) FROM outbox))"
        " ON CONFLICT DO NOTHING",
        (install,),
    )


async def bind(tx: Tx, *, is_live: bool) -> None:
    """Note in which mode of Stripe this outbox is reported."""
    await tx.execute(
        "UPDATE outbox_cursor SET seal = NULL, is_live = ? WHERE id = 1",
        (int(is_live),),
    )


async def issued(
    tx: Tx,
    *,
    customer: str,
    event_name: str,
    hour_ms: int,
    value_max: int,
    meters: Collection[str],
) -> Issued | None:
    """Return what is issued for an hour, ``None`` if nothing is.

    Dead, expired and rejected parts count as issued: they are shown, and a person
    may send them again. Parts that were replaced do not, and neither do those above
    ``value_max`` smallest units, which can never be told.

    Args:
        meters: whose usage is told under this event name; all else is of others.
    """
    rows = await tx.fetch_all(
        "SELECT mode, stripe_customer, value, scale, part, replaced_by, attempts, state,"
        " meter"
        " FROM outbox WHERE customer = ? AND event_name = ? AND hour_ms = ? ORDER BY part",
        (customer, event_name, hour_ms),
    )
    if not rows:
        return None
    mode, stripe_customer, last, scale, part, replaced_by, *_ = rows[-1]
    total: Number = 0
    of_others: Number = 0
    for _, _, units, digits, _, replaced, _, _, meter in rows:
        if replaced is None and abs(units) <= value_max:
            said = of_units(units, digits)
            change = said if mode == "delta" else minus(said, total)
            total = plus(total, change)
            of_others = plus(of_others, 0 if meter in meters else change)
    value = total if mode == "delta" else of_units(last, scale)
    return Issued(
        mode,
        stripe_customer,
        value,
        part + 1,
        is_sent=any(row[6] or row[7] == "unresolved" for row in rows),
        is_too_large=replaced_by is None and abs(last) > value_max,
        of_others=of_others,
    )


async def add(tx: Tx, row: NewRow) -> int:
    """Add ``row`` to an outbox that was started, and return its id."""
    added = await tx.execute(
        "UPDATE outbox_cursor SET seal = NULL, added = added + 1 WHERE id = 1"
    )
    assert added == 1, "the outbox is started before its first row"
    new = await tx.fetch_one(
        f"INSERT INTO outbox ({NEW.listed}) VALUES ({NEW.marks}) RETURNING id",  # noqa: S608 - names and marks
        NEW.of(row),
    )
    assert new is not None
    return int(new[0])


async def newest_part(tx: Tx, row: OutboxRow) -> int:
    """Return the number of the last part of a row's hour."""
    found = await tx.fetch_one(
        "SELECT max(part) FROM outbox"
        " WHERE customer = ? AND event_name = ? AND hour_ms = ?",
        (row.customer, row.event_name, row.hour_ms),
    )
    assert found is not None, "the row itself is there"
    return int(found[0])


async def mark_replaced(
    tx: Tx, row_id: int, *, new_id: int, now_ms: int, reason: str
) -> None:
    """Let a row point to the one that says the same again."""
    await tx.execute(
        "UPDATE outbox SET seal = NULL, replaced_by = ?, settled_ms = ?, reason = ?,"
        " state = CASE state WHEN 'rejected' THEN state ELSE 'dead' END WHERE id = ?",
        (new_id, now_ms, reason, row_id),
    )


async def replace_hour(
    tx: Tx,
    *,
    customer: str,
    event_name: str,
    hour_ms: int,
    before_part: int,
    new_id: int,
    now_ms: int,
    reason: str,
) -> int:
    """Let the earlier parts of an hour point to the one that says all of it again."""
    return await tx.execute(
        "UPDATE outbox SET seal = NULL, replaced_by = ?, settled_ms = ?, reason = ?, state = 'dead'"
        " WHERE customer = ? AND event_name = ? AND hour_ms = ? AND part < ?"
        " AND replaced_by IS NULL",
        (new_id, now_ms, reason, customer, event_name, hour_ms, before_part),
    )


async def latest_of_hour(tx: Tx, row: OutboxRow) -> int:
    """Return the id of the last part of a row's hour: maybe the row itself."""
    return await newest_of_hour(
        tx, customer=row.customer, event_name=row.event_name, hour_ms=row.hour_ms
    )


async def newest_of_hour(
    tx: Tx, *, customer: str, event_name: str, hour_ms: int
) -> int:
    """Return the id of the last part of an hour that has one."""
    found = await tx.fetch_one(
        "SELECT id FROM outbox WHERE customer = ? AND event_name = ? AND hour_ms = ?"
        " ORDER BY part DESC LIMIT 1",
        (customer, event_name, hour_ms),
    )
    assert found is not None, "the hour has a row"
    return int(found[0])


async def unmapped(tx: Tx) -> list[str]:
    """Return the customers whose rows wait for a Stripe customer."""
    rows = await tx.fetch_all(
        "SELECT DISTINCT customer FROM outbox"
        " WHERE state = 'parked' AND stripe_customer IS NULL"
    )
    return [customer for (customer,) in rows]


async def map_customer(
    tx: Tx, customer: str, stripe_customer: str, *, suspect_ms: int, reason: str
) -> int:
    """Let the rows that waited for this mapping go; return how many.

    Those of hours before ``suspect_ms`` are unresolved, for ``reason``.
    """
    return await tx.execute(
        "UPDATE outbox SET seal = NULL, stripe_customer = ?,"
        " state = CASE WHEN hour_ms < ? THEN 'unresolved' ELSE 'pending' END,"
        " reason = CASE WHEN hour_ms < ? THEN ? ELSE NULL END"
        " WHERE customer = ? AND stripe_customer IS NULL AND state = 'parked'",
        (stripe_customer, suspect_ms, suspect_ms, reason, customer),
    )


async def counts(tx: Tx) -> dict[State, int]:
    """Return how many rows are in each state, replaced ones left out.

    Confirmed rows, nearly all, are not counted but what the others leave of all that
    were ever added: rows are never deleted.
    """
    rows = await tx.fetch_all(
        "SELECT state, count(*), count(replaced_by) FROM outbox WHERE state IN"
        " ('pending', 'sending', 'unresolved', 'parked', 'dead', 'expired', 'rejected')"
        " GROUP BY state"
    )
    every = await tx.fetch_one("SELECT added FROM outbox_cursor WHERE id = 1")
    n_added = 0 if every is None else int(every[0])
    found: dict[State, int] = dict.fromkeys(STATES, 0)
    found |= {state: n_rows - n_replaced for state, n_rows, n_replaced in rows}
    found["confirmed"] = n_added - sum(n_rows for _, n_rows, _ in rows)
    return found


async def page(
    tx: Tx, *, states: Sequence[State] = STATES, after_id: int = 0, limit: int = 100
) -> list[OutboxRow]:
    """Return rows in any of ``states``, in order of their id, after ``after_id``."""
    if not states:
        return []
    return await read_rows(
        tx,
        f"FROM outbox WHERE state IN ({marks(len(states))})"
        " AND id > ? ORDER BY id LIMIT ?",
        [*states, after_id, limit],
    )


async def get(tx: Tx, row_id: int) -> OutboxRow | None:
    """Return one row."""
    found = await read_rows(tx, "FROM outbox WHERE id = ?", (row_id,))
    return found[0] if found else None
