"""SQL for held events: those whose time cannot be right, and what became of them.

The event itself is never changed. What is counted in its place is an event of its own,
which ``counted_as`` names.
"""

from collections.abc import Iterable, Sequence
from typing import Final, Literal, NamedTuple, get_args

from meterline_sidecar.store.edge.events import EventRow
from meterline_sidecar.store.port import Tx, Value

State = Literal["waiting", "accepted", "rejected", "counted"]
"""``waiting`` for its time or a person; ``accepted``, to be counted now."""
STATES: Final[tuple[State, ...]] = get_args(State)


class NewHeld(NamedTuple):
    """What is noted of an event that is held as it comes."""

    event_id: int
    producer_id: int
    subject_id: int
    time_ms: int
    learned_ms: int
    due_ms: int | None
    """When it is counted by itself; ``None`` where it never is."""


class HeldRow(NamedTuple):
    """A held event as it is shown."""

    event_id: int
    time_ms: int
    learned_ms: int
    subject: str | None
    customer: str | None
    producer: str
    app: str
    host: str
    pid: int
    state: State
    counted_as: int | None
    decided_ms: int | None
    author: str | None
    reason: str | None


class Wanted(NamedTuple):
    """Which held events are meant; ``None`` takes all."""

    event: int | None = None
    customer: str | None = None
    producer: str | None = None
    state: State | None = None


class Decision(NamedTuple):
    """What a person decided about one event."""

    event_id: int
    is_accepted: int
    decided_ms: int
    author: str
    reason: str


class Sum(NamedTuple):
    """What some held events come to."""

    events: int
    subjects: int
    first_ms: int | None
    last_ms: int | None
    """The earliest and the latest of their times, as the apps said them."""


class HeldOf(NamedTuple):
    """What is held of one producer."""

    producer: str
    app: str
    host: str
    pid: int
    events: int
    first_ms: int
    last_ms: int


FROM: Final = (
    " FROM held_events h JOIN producers p ON p.id = h.producer_id"
    " LEFT JOIN subjects s ON s.id = h.subject_id"
)
TESTS: Final = {
    "event": "h.event_id = ?",
    "customer": "s.customer = ?",
    "producer": "p.producer = ?",
    "state": "h.state = ?",
}
"""What each field of ``Wanted`` asks of a held event."""


async def add_held(tx: Tx, rows: Iterable[NewHeld]) -> None:
    """Note events that are held, in the transaction that stores them."""
    await tx.execute_many(
        "INSERT INTO held_events (event_id, producer_id, subject_id, time_ms,"
        " learned_ms, due_ms, state) VALUES (?, ?, ?, ?, ?, ?, 'waiting')",
        rows,
    )


async def read_held(tx: Tx, wanted: Wanted, *, after: int, limit: int) -> list[HeldRow]:
    """Return held events behind an id, the oldest first, with the last decision."""
    rows = await tx.fetch_all(
        "SELECT h.event_id, h.time_ms, h.learned_ms, s.name, s.customer, p.producer,"  # noqa: S608 - our own words
        " p.app, p.host, p.pid, h.state, h.counted_as, d.decided_ms, d.author, d.reason"
        f"{FROM} LEFT JOIN held_decisions d ON d.id ="
        " (SELECT max(id) FROM held_decisions WHERE event_id = h.event_id)"
        f" WHERE h.event_id > ?{_tests(wanted)} ORDER BY h.event_id LIMIT ?",
        (after, *_given(wanted), limit),
    )
    return [HeldRow(*row) for row in rows]


async def sum_held(tx: Tx, wanted: Wanted) -> Sum:
    """Return what the held events that are meant come to."""
    row = await tx.fetch_one(
        "SELECT count(*), count(DISTINCT h.subject_id), min(h.time_ms),"
        f" max(h.time_ms){FROM} WHERE h.event_id > ?{_tests(wanted)}",
        (0, *_given(wanted)),
    )
    assert row is not None
    return Sum(*row)


async def held_of_period(
    tx: Tx, customer: str, *, start: int, end: int
) -> list[HeldOf]:
    """Return what nobody has decided about and could be of a customer's period.

    When an event happened is not known: at the latest when it was learned, if its own
    time lies before, and from then on until its own time, if that lies behind.
    """
    rows = await tx.fetch_all(
        "SELECT p.producer, p.app, p.host, p.pid, count(*), min(h.time_ms),"
        " max(h.time_ms) FROM held_events h JOIN producers p ON p.id = h.producer_id"
        " WHERE h.state = 'waiting' AND h.subject_id IN"
        " (SELECT id FROM subjects WHERE customer = ?"
        " UNION SELECT subject_id FROM owners WHERE customer = ?)"
        " AND (h.time_ms < ? OR h.learned_ms < ?)"
        " AND (h.time_ms >= ? OR h.learned_ms >= ?)"
        " GROUP BY p.id ORDER BY p.id",
        (customer, customer, end, end, start, start),
    )
    return [HeldOf(*row) for row in rows]


async def due_events(tx: Tx, *, now_ms: int, limit: int) -> list[tuple[int, EventRow]]:
    """Return events that are to be counted now, by the id under which they came."""
    rows = await tx.fetch_all(
        "SELECT h.event_id, e.seq, e.time_ms, e.kind, s.name, n.method, n.route,"
        " e.status, e.duration_us, e.bytes_in, e.bytes_out, e.flags, e.quantities,"
        " e.properties"
        " FROM held_events h JOIN events e ON e.id = h.event_id"
        " JOIN endpoints n ON n.id = e.endpoint_id"
        " LEFT JOIN subjects s ON s.id = e.subject_id"
        " WHERE h.due_ms IS NOT NULL AND h.due_ms <= ? ORDER BY h.due_ms LIMIT ?",
        (now_ms, limit),
    )
    return [(row[0], EventRow(*row[1:])) for row in rows]


async def judge_again(tx: Tx, *, now_ms: int, earliest_ms: int, latest_ms: int) -> int:
    """Let go of what waits for a person and has a possible time after all.

    Time only goes on: none of these was judged by a clock that was right.
    """
    return await tx.execute(
        "UPDATE held_events SET due_ms = ? WHERE state = 'waiting' AND due_ms IS NULL"
        " AND time_ms BETWEEN ? AND ?",
        (now_ms, earliest_ms, latest_ms),
    )


async def note_counted(tx: Tx, pairs: Sequence[tuple[int, int]]) -> None:
    """Note which events stand for held ones: ``(counted as, held event)``.

    In the transaction that stores them; each held event gets one, once.
    """
    for counted_as, event_id in pairs:
        n_rows = await tx.execute(
            "UPDATE held_events SET counted_as = ?, state = 'counted', due_ms = NULL"
            " WHERE event_id = ? AND counted_as IS NULL",
            (counted_as, event_id),
        )
        assert n_rows == 1, f"event {event_id} is counted already"


async def add_decision(tx: Tx, decision: Decision) -> int:
    """Write down a decision, and what follows from it; return the row's id."""
    await tx.execute(
        "UPDATE held_events SET state = ?, due_ms = ?"
        " WHERE event_id = ? AND counted_as IS NULL",
        ("accepted", 0, decision.event_id)
        if decision.is_accepted
        else ("rejected", None, decision.event_id),
    )
    new = await tx.fetch_one(
        "INSERT INTO held_decisions (event_id, is_accepted, decided_ms, author, reason)"
        " VALUES (?, ?, ?, ?, ?) RETURNING id",
        decision,
    )
    assert new is not None
    return int(new[0])


async def wrong_releases(tx: Tx, *, released_flag: int) -> list[int]:
    """Return events that stand for a held one, but not for exactly one."""
    rows = await tx.fetch_all(
        "SELECT e.id FROM events e LEFT JOIN held_events h ON h.counted_as = e.id"
        " WHERE e.flags & ? <> 0 GROUP BY e.id HAVING count(h.event_id) <> 1"
        " ORDER BY e.id",
        (released_flag,),
    )
    return [row[0] for row in rows]


def _tests(wanted: Wanted) -> str:
    """Return the conditions; what is not asked for costs nothing on each row."""
    return "".join(
        f" AND {TESTS[name]}"
        for name, value in wanted._asdict().items()
        if value is not None
    )


def _given(wanted: Wanted) -> tuple[Value, ...]:
    return tuple(value for value in wanted if value is not None)
