"""SQL for corrections: which events do not count, from which event on.

An event is never changed, and stays where it is. Whether it counts is said by the last
correction that is about it; a correction holds for whoever counts beyond its own event.
"""

from collections.abc import Iterable, Sequence
from typing import Final, Literal, NamedTuple

from meterline_sidecar.store.columns import Columns, marks
from meterline_sidecar.store.edge.by_column import columns_between, columns_of
from meterline_sidecar.store.edge.event_log import (
    SCAN_EVENTS_MAX,
    Filter,
    given,
    ids_between,
    subjects_meant,
    where,
)
from meterline_sidecar.store.edge.events import HASHED, EventRow
from meterline_sidecar.store.edge.fact_columns import FactColumns, of_events, picked
from meterline_sidecar.store.edge.packed import events_between, in_parts
from meterline_sidecar.store.edge.usage import COUNTED
from meterline_sidecar.store.owned import times_of
from meterline_sidecar.store.port import Tx

SUBJECTS_MAX: Final = 10_000
"""Of a customer so many are looked for at once."""
Kind = Literal["void", "amend", "add", "revert", "late"]


class NewCorrection(NamedTuple):
    """A correction to keep."""

    kind: Kind
    key: str | None
    query: str
    reverts: int | None
    first_event_id: int
    event_id: int
    events: int
    digest: bytes
    corrected_ms: int
    author: str
    reason: str


class CorrectionRow(NamedTuple):
    """A correction as it is stored, and by which one it was taken back."""

    id: int
    kind: Kind
    key: str | None
    query: str
    reverts: int | None
    first_event_id: int
    event_id: int
    events: int
    digest: bytes
    corrected_ms: int
    author: str
    reason: str
    reverted_by: int | None


class Mark(NamedTuple):
    """What corrections say of an event."""

    is_void: bool
    event_id: int
    """The own event of the last of them: from behind it on that holds."""


class Found(NamedTuple):
    """Some events of a search, and behind which one it goes on (``None``: nowhere)."""

    facts: FactColumns
    next_after: int | None


NEW: Final = Columns(NewCorrection._fields)
STORED: Final = Columns(CorrectionRow._fields).without("reverted_by")
_SELECT: Final = (
    f"SELECT {', '.join(f'c.{name}' for name in STORED.names)}, r.id"  # noqa: S608 - names
    " FROM corrections c LEFT JOIN corrections r ON r.reverts = c.id"
)


async def find_facts(
    tx: Tx,
    wanted: Filter,
    *,
    start: int,
    end: int,
    after: int,
    up_to: int,
    skip_flags: int,
    columns: Sequence[str],
) -> Found:
    """Return events of ``[start, end)`` as they are counted, some ids at once.

    Args:
        after: the id that the search has reached; 0 at first.
        up_to: the last event that is looked at.
        columns: what of them is asked for; the first is ``id``.
    """
    span = await ids_between(tx, start, end)
    last_id = 0 if span is None else min(span[1], up_to)
    first = after + 1 if span is None else max(after + 1, span[0])
    last = min(first + SCAN_EVENTS_MAX - 1, last_id)
    if first > last:
        return Found(of_events(()), None)
    next_after = last if last < last_id else None
    whose = await _whose(tx, wanted)
    if whose is not None:
        ids = list(whose.subjects)
        read = await columns_between(tx, first, last, columns=columns, subjects=ids)
        facts = dict(zip(columns, read, strict=True))
        times = zip(*(facts[name] for name in ("time_ms", "flags")), strict=True)
        which = [
            start <= at_ms < end and not flags & skip_flags for at_ms, flags in times
        ]
        return Found(whose.of(picked(facts, which)), next_after)
    subjects = await subjects_meant(tx, wanted)
    source = await events_between(
        tx, first, last, columns=COUNTED.names, subjects=subjects or None
    )
    rows = await tx.fetch_all(
        f"SELECT {', '.join(f'e.{name}' for name in columns)} FROM {source.sql} e"  # noqa: S608 - our own words
        f"{where(wanted, subjects)} AND e.flags & ? = 0 ORDER BY e.id",
        (
            *source.given,
            *given(wanted, subjects, (first, last), start, end),
            skip_flags,
        ),
    )
    whole = list(zip(*rows, strict=True)) or [()] * len(columns)
    return Found(dict(zip(columns, whole, strict=True)), next_after)


class _Whose(NamedTuple):
    """Subjects, and from when to when those are meant that are not always."""

    subjects: frozenset[int]
    times: dict[int, list[tuple[int, int]]]

    def of(self, facts: FactColumns) -> FactColumns:
        """Return those events of them that happened when they are meant."""
        if not self.times:
            return facts
        which = [
            subject_id not in self.times
            or any(start <= at_ms < end for start, end in self.times[subject_id])
            for subject_id, at_ms in zip(
                facts["subject_id"], facts["time_ms"], strict=True
            )
        ]
        return picked(facts, which)


async def _whose(tx: Tx, wanted: Filter) -> _Whose | None:
    """Return whose events are meant; ``None``: that is not all that is asked."""
    if wanted.subject is not None and wanted == Filter(subject=wanted.subject):
        rows = await tx.fetch_all(
            "SELECT id FROM subjects WHERE name = ?", (wanted.subject,)
        )
        return _Whose(frozenset(row[0] for row in rows), {})
    if wanted.customer is None or wanted != Filter(customer=wanted.customer):
        return None
    rows = await tx.fetch_all(
        "SELECT id FROM subjects WHERE customer = ? AND is_split = 0 LIMIT ?",
        (wanted.customer, SUBJECTS_MAX + 1),
    )
    if len(rows) > SUBJECTS_MAX:
        return None
    times = await times_of(tx, wanted.customer)
    return _Whose(frozenset(row[0] for row in rows) | times.keys(), times)


async def facts_of(
    tx: Tx, event_ids: Sequence[int], *, columns: Sequence[str]
) -> FactColumns:
    """Return those of these events that are in the ledger; the ids are in order."""
    read = await columns_of(tx, event_ids, columns=columns)
    return dict(zip(columns, read, strict=True))


async def rows_of(tx: Tx, event_ids: Sequence[int]) -> list[EventRow]:
    """Return those of these events that are in the ledger with their texts, in order."""
    found: list[EventRow] = []
    for source, part in await in_parts(tx, event_ids):
        rows = await tx.fetch_all(
            f"SELECT {', '.join(HASHED.values())} FROM {source.sql} e"  # noqa: S608 - names and marks
            " LEFT JOIN subjects s ON s.id = e.subject_id"
            " LEFT JOIN endpoints n ON n.id = e.endpoint_id"
            f" WHERE e.id IN ({marks(len(part))}) ORDER BY e.id",
            (*source.given, *part),
        )
        found += [EventRow(*row) for row in rows]
    return found


async def next_id(tx: Tx) -> int:
    """Return the id that the next correction will have."""
    row = await tx.fetch_one("SELECT coalesce(max(id), 0) + 1 FROM corrections")
    assert row is not None
    return int(row[0])


async def clear_events(tx: Tx, correction_id: int, *, limit: int) -> int:
    """Delete rows that were left of a correction that was never made; say how many."""
    return await tx.execute(
        "DELETE FROM corrected_events WHERE (event_id, correction_id) IN"
        " (SELECT event_id, correction_id FROM corrected_events"
        " WHERE correction_id >= ? LIMIT ?)",
        (correction_id, limit),
    )


async def add_events(
    tx: Tx, correction_id: int, rows: Iterable[tuple[int, bool]]
) -> None:
    """Note what a correction says of events: ``(event id, whether it is void)``."""
    await tx.execute_many(
        "INSERT INTO corrected_events (event_id, correction_id, is_void)"
        " VALUES (?, ?, ?)",
        ((event_id, correction_id, int(is_void)) for event_id, is_void in rows),
    )


async def add_correction(tx: Tx, row: NewCorrection) -> int:
    """Store a correction, whose events are noted, and return its id."""
    found = await tx.fetch_one(
        f"INSERT INTO corrections ({NEW.listed}) VALUES ({NEW.marks}) RETURNING id",  # noqa: S608 - names and marks
        NEW.of(row),
    )
    assert found is not None
    return int(found[0])


async def get_correction(tx: Tx, correction_id: int) -> CorrectionRow | None:
    """Return a correction; ``None``: there is none of that id."""
    row = await tx.fetch_one(f"{_SELECT} WHERE c.id = ?", (correction_id,))
    return None if row is None else CorrectionRow(*row)


async def correction_by_key(tx: Tx, key: str) -> CorrectionRow | None:
    """Return the correction that whoever asked for it calls so."""
    row = await tx.fetch_one(f"{_SELECT} WHERE c.key = ?", (key,))
    return None if row is None else CorrectionRow(*row)


async def corrections_before(
    tx: Tx, correction_id: int, *, limit: int
) -> list[CorrectionRow]:
    """Return corrections before one, the newest first."""
    rows = await tx.fetch_all(
        f"{_SELECT} WHERE c.id < ? ORDER BY c.id DESC LIMIT ?", (correction_id, limit)
    )
    return [CorrectionRow(*row) for row in rows]


async def last_known(tx: Tx, event_id: int) -> int:
    """Return the last correction that usage up to an event knows; 0: none."""
    row = await tx.fetch_one(
        "SELECT id FROM corrections WHERE event_id <= ? ORDER BY event_id DESC LIMIT 1",
        (event_id,),
    )
    return 0 if row is None else int(row[0])


async def corrections_up_to(tx: Tx, event_id: int) -> list[CorrectionRow]:
    """Return the corrections that hold for usage up to an event, in order."""
    rows = await tx.fetch_all(
        f"{_SELECT} WHERE c.event_id <= ? ORDER BY c.id", (event_id,)
    )
    return [CorrectionRow(*row) for row in rows]


async def correction_in(tx: Tx, after_id: int, last_id: int) -> CorrectionRow | None:
    """Return the first correction whose own event is among some."""
    row = await tx.fetch_one(
        f"{_SELECT} WHERE c.event_id > ? AND c.event_id <= ? ORDER BY c.event_id"
        " LIMIT 1",
        (after_id, last_id),
    )
    return None if row is None else CorrectionRow(*row)


async def events_of(tx: Tx, correction_id: int) -> list[tuple[int, bool]]:
    """Return ``(event id, whether it is void)`` of a correction, in order."""
    rows = await tx.fetch_all(
        "SELECT event_id, is_void FROM corrected_events WHERE correction_id = ?"
        " ORDER BY event_id",
        (correction_id,),
    )
    return [(row[0], bool(row[1])) for row in rows]


async def marks_in(
    tx: Tx, after_id: int, last_id: int, *, up_to_event: int
) -> dict[int, Mark]:
    """Return what corrections say of the events between two, by their ids.

    Args:
        up_to_event: whose own event lies behind this one is not known yet.
    """
    rows = await tx.fetch_all(
        "SELECT e.event_id, e.is_void, c.event_id FROM corrected_events e"
        " JOIN corrections c ON c.id = e.correction_id"
        " WHERE e.event_id > ? AND e.event_id <= ? AND c.event_id <= ?"
        " ORDER BY e.event_id, e.correction_id",
        (after_id, last_id, up_to_event),
    )
    # Of several of one event, the last holds.
    return {row[0]: Mark(bool(row[1]), row[2]) for row in rows}


async def later_than(tx: Tx, correction_id: int) -> int | None:
    """Return a later correction that is about an event of one, the last of them."""
    row = await tx.fetch_one(
        "SELECT max(l.correction_id) FROM corrected_events e JOIN corrected_events l"
        " ON l.event_id = e.event_id AND l.correction_id > e.correction_id"
        " JOIN corrections c ON c.id = l.correction_id WHERE e.correction_id = ?",
        (correction_id,),
    )
    return None if row is None else row[0]
