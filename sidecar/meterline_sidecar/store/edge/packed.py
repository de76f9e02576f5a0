"""SQL for packs: runs of events in a form that takes a tenth of the room.

Whoever reads events by their ids asks here where these are: what is packed and what is
not are one table then. An event that has a name, or that the ledger itself says something
of, is always a row of ``events``.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from functools import cache
from itertools import chain
from typing import Any, Final, NamedTuple

import msgspec

from meterline_sidecar.errors import DatabaseCorrupt
from meterline_sidecar.store.columns import listed, pieces
from meterline_sidecar.store.edge.by_column import columns_of_pack
from meterline_sidecar.store.edge.stored import STORED
from meterline_sidecar.store.pack_columns import compact, is_one
from meterline_sidecar.store.packs import DIGITS, IDS_MAX, INDENT, NAMES, TEXTS
from meterline_sidecar.store.port import Row, Tx
from meterline_sidecar.store.usage import generation_beside, newest_generation

_numbers: Final = msgspec.json.Decoder(list[int]).decode
_texts: Final = msgspec.json.Decoder(list[str | None]).decode

LAST: Final = 1 << 62
"""Behind all ids."""
OWN_FLAGS: Final = 1 << 16
"""From here on flags say something that the ledger itself has found."""
TEXT_CHARS_MAX: Final = 1 << 15
"""Longer texts are not packed. None is that comes from an app."""
RUN_CHARS_MAX: Final = 2 << 20
"""What texts of a run come to at most: it is shorter where they come to more."""
PACKABLE: Final = " AND ".join(
    [
        f"flags < {OWN_FLAGS}",
        *(
            f"{name} BETWEEN 0 AND {10**digits - 1}"
            for name, digits in DIGITS.items()
            if name not in ("id", "flags")
        ),
        # JSON ends at a NUL where SQLite reads it, and no text of an app's has one.
        *(
            f"({name} IS NULL OR length({name}) <= {TEXT_CHARS_MAX}"
            f" AND instr({name}, char(0)) = 0)"
            for name in TEXTS
        ),
    ]
)
"""Which events are packed: those that have no name, that the ledger says nothing of, and
whose numbers and texts are not too long."""


def _read(name: str, asked: tuple[str, ...]) -> str:
    """Return a column as a statement reads it from what ``unpack`` returns."""
    numbers = [one for one in asked if one in DIGITS]
    texts = [one for one in asked if one in TEXTS]
    if name in TEXTS:
        place = 1 + texts.index(name)
        return f"CASE l.type WHEN 'array' THEN l.value ->> {place} END AS {name}"
    start = 1 + sum(DIGITS[before] for before in numbers[: numbers.index(name)])
    start += len(INDENT) if texts else 0
    number = f"CAST(substr(l.value, {start}, {DIGITS[name]}) AS INTEGER)"
    return f"{'p.first_id + ' if name == 'id' else ''}{number} AS {name}"


@cache
def _from_packs(columns: tuple[str, ...]) -> str:
    read = ", ".join(_read(name, columns) for name in columns)
    return (
        f"SELECT {read} FROM packed_events p,"  # noqa: S608 - names
        f" json_each(unpack(p.body, ? - p.first_id, ? - p.first_id, '{','.join(columns)}', ?)) l"
        f" WHERE p.first_id BETWEEN ? - {IDS_MAX - 1} AND ? AND p.last_id >= ?"
    )


@cache
def _from_both(columns: tuple[str, ...]) -> str:
    return (
        f"(SELECT {', '.join(columns)} FROM events WHERE id BETWEEN ? AND ?"  # noqa: S608 - names
        f" UNION ALL {_from_packs(columns)})"
    )


_N_TEXTS: Final = (
    f"count(*) FILTER (WHERE {' OR '.join(f'{name} IS NOT NULL' for name in TEXTS)})"
)
Unpacked = tuple[list[Sequence[int]], list[Sequence[str | None]]]
"""Columns of ``NAMES``, with ids that are counted from the first of a run, and of ``TEXTS``."""
FROM_PACKS: Final = _from_packs(STORED.names)


class Source(NamedTuple):
    """What stands behind FROM where events are read."""

    sql: str
    given: tuple[int | str | None, ...]
    """The parameters in it."""


ROWS: Final = Source("events", ())


async def events_between(
    tx: Tx,
    first: int,
    last: int,
    *,
    columns: Sequence[str] = STORED.names,
    subjects: Sequence[int] | None = None,
) -> Source:
    """Return where events are read from whose ids lie between two, both included.

    It may hold others as well where nothing is packed: a statement asks for its ids
    all the same. Where something is packed it holds no others, in no order.

    Args:
        columns: what a statement looks at; each that is not costs something.
        subjects: whose events a statement looks for: packed ones of others are left out.
    """
    if not await is_packed(tx, first, last):
        return ROWS
    those = None if subjects is None else listed(subjects)
    given = (*(first, last) * 2, those, first, last, first)
    return Source(_from_both(tuple(columns)), given)


async def is_packed(tx: Tx, first: int, last: int) -> bool:
    """Say whether a pack is of any of the ids between two, both included."""
    found = await tx.fetch_one(
        "SELECT 1 FROM packed_events WHERE first_id BETWEEN ? AND ? AND last_id >= ?"
        " LIMIT 1",
        (first - IDS_MAX + 1, last, first),
    )
    return found is not None


async def in_parts(tx: Tx, ids: Sequence[int]) -> list[tuple[Source, Sequence[int]]]:
    """Return some ids in order and in parts, each with where its events are read from."""
    wanted = sorted(ids)
    packed = bisect_right(wanted, await last_packed(tx))
    found: list[tuple[Source, Sequence[int]]] = []
    start = 0
    while start < packed:
        end = bisect_right(wanted, wanted[start] + IDS_MAX - 1, start, packed)
        source = await events_between(tx, wanted[start], wanted[end - 1])
        found += [(source, part) for part in pieces(wanted[start:end])]
        start = end
    return found + [(ROWS, part) for part in pieces(wanted[packed:])]


async def last_packed(tx: Tx) -> int:
    """Return the last id of a run that has a pack; 0: none has."""
    row = await tx.fetch_one(
        "SELECT last_id FROM packed_events ORDER BY first_id DESC LIMIT 1"
    )
    return 0 if row is None else int(row[0])


async def n_packed(tx: Tx) -> int:
    """Return how many events are in packs, as these say."""
    row = await tx.fetch_one("SELECT coalesce(sum(events), 0) FROM packed_events")
    assert row is not None
    return int(row[0])


async def counted_by_all(tx: Tx) -> int:
    """Return up to which event usage is counted, also by a count beside the one read."""
    read = await newest_generation(tx)
    if read is None:
        return 0
    beside = await generation_beside(tx, read.id)
    return read.cursor if beside is None else min(read.cursor, beside.cursor)


async def end_of_run(tx: Tx, first: int, last: int) -> int:
    """Return up to which id a run goes that may end at ``last``: texts bound it as well."""
    while last > first:
        row = await tx.fetch_one(
            "SELECT coalesce(sum(coalesce(length(quantities), 0)"
            " + coalesce(length(properties), 0)), 0) FROM events WHERE id BETWEEN ? AND ?",
            (first, last),
        )
        assert row is not None
        if row[0] <= RUN_CHARS_MAX:
            break
        last = (first + last) // 2
    return last


async def plain_columns(tx: Tx, first: int, last: int) -> list[Sequence[int]] | None:
    """Return the numbers of all events between two ids, if nothing else is to be packed.

    ``None``: there are fewer of them, or one may not be packed, or has a text. Whether the
    numbers fit into a pack is not looked at. What a few events have in common is asked of
    the others and not read, as most have one producer, kind, status and the like: it takes
    half of the time.
    """
    some = await tx.fetch_all(
        f"SELECT {STORED.listed} FROM events WHERE id IN (?, ?, ?)",  # noqa: S608 - names
        (first, (first + last) // 2, last),
    )
    sample = [set(values) for values in zip(*some, strict=True)]
    if not sample or any(values != {None} for values in sample[len(NAMES) :]):
        return None
    common = {
        name: min(values)
        for name, values in zip(NAMES, sample, strict=False)
        if len(values) == 1
    }
    differ = "".join(f", count(*) FILTER (WHERE {name} <> ?)" for name in common)
    varying = [name for name in NAMES[1:] if name not in common]
    columns = "".join(f", json_group_array({name})" for name in varying)
    row = await tx.fetch_one(
        f"SELECT count(*), {_N_TEXTS}{differ}{columns} FROM events"  # noqa: S608 - names
        " WHERE id BETWEEN ? AND ?",
        (*common.values(), first, last),
    )
    assert row is not None
    n_events, n_texts, *others = row
    if n_events <= last - first or n_texts:
        return None
    read = dict(zip(varying, map(_numbers, others[len(common) :]), strict=True))
    for name, n_others in zip(common, others, strict=False):
        read[name] = [common[name]] * n_events
        if n_others:
            column = await tx.fetch_one(
                f"SELECT json_group_array({name}) FROM events WHERE id BETWEEN ? AND ?",  # noqa: S608 - names
                (first, last),
            )
            assert column is not None
            read[name] = _numbers(column[0])
    if max(read["flags"]) >= OWN_FLAGS:
        return None
    return [range(n_events), *(read[name] for name in NAMES[1:])]


async def columns_to_pack(tx: Tx, first: int, last: int) -> Unpacked:
    """Return those events between two ids that can be packed, as ``pack`` takes them.

    Each column is read as one text: a row to an event would take twice as long.
    """
    columns = ", ".join(f"json_group_array({name})" for name in (*NAMES[1:], *TEXTS))
    row = await tx.fetch_one(
        f"SELECT json_group_array(id - ?), {columns} FROM events"  # noqa: S608 - names
        f" WHERE id BETWEEN ? AND ? AND {PACKABLE}",
        (first, first, last),
    )
    assert row is not None
    n_numbers = len(NAMES)
    numbers: list[Sequence[int]] = [compact(_numbers(one)) for one in row[:n_numbers]]
    return numbers, [*map(_texts, row[n_numbers:])]


async def columns_to_merge(tx: Tx, first: int, last: int) -> Unpacked | None:
    """Return the same of a run in which there are packs, together with theirs.

    ``None``: texts are too long together, or a pack cannot be read. It stays as it is then,
    and a verification says so.
    """
    if await end_of_run(tx, first, last) < last:
        return None
    numbers, texts = await columns_to_pack(tx, first, last)
    parts: list[list[Sequence[Any]]] = [[*numbers, *texts]]
    n_chars = _chars(texts)
    packs = await tx.fetch_all(
        "SELECT first_id FROM packed_events WHERE first_id BETWEEN ? AND ?"
        " ORDER BY first_id",
        (first, last),
    )
    for (begins,) in packs:
        try:
            ids, *others = await columns_of_pack(tx, begins, (*NAMES, *TEXTS))
        except DatabaseCorrupt:
            return None
        n_chars += _chars(others[-len(TEXTS) :])
        if n_chars > RUN_CHARS_MAX:
            return None
        parts.append([compact([event_id - first for event_id in ids]), *others])
    columns = list(zip(*parts, strict=True))
    ids = compact([*chain.from_iterable(columns[0])])
    order = sorted(range(len(ids)), key=ids.__getitem__)
    return (
        [compact(_ordered(of, order)) for of in columns[: len(NAMES)]],
        [_ordered(of, order) for of in columns[len(NAMES) :]],
    )


def _ordered(parts: Sequence[Sequence[Any]], order: Sequence[int]) -> list[Any]:
    """Return parts of a column as one, in another order."""
    return list(map(list(chain.from_iterable(parts)).__getitem__, order))


def _chars(texts: Sequence[Sequence[str | None]]) -> int:
    return sum(map(len, filter(None, chain.from_iterable(texts))))


async def add_pack(tx: Tx, first: int, last: int, *, events: int, body: bytes) -> None:
    """Store a pack of events of a run of ids, which are in no rows."""
    await tx.execute(
        "INSERT INTO packed_events (first_id, last_id, events, body)"
        " VALUES (?, ?, ?, ?)",
        (first, last, events, body),
    )


async def put_pack(tx: Tx, first: int, last: int, *, events: int, body: bytes) -> int:
    """Store a pack in the place of its rows, and of packs in its run.

    Returns how many events were deleted with these.
    """
    packed = await _take_packs(tx, first, last)
    await add_pack(tx, first, last, events=events, body=body)
    # Where all are packed none is asked what it is, which takes most of the time.
    those = "" if events == last - first + 1 else f" AND {PACKABLE}"
    rows = await tx.execute(
        f"DELETE FROM events WHERE id BETWEEN ? AND ?{those}",  # noqa: S608 - names
        (first, last),
    )
    return packed + rows


async def _take_packs(tx: Tx, first: int, last: int) -> int:
    """Delete the packs that lie between two ids; return how many events they had."""
    taken = await tx.fetch_all(
        "DELETE FROM packed_events WHERE first_id BETWEEN ? AND ? AND last_id <= ?"
        " RETURNING events",
        (first, last, last),
    )
    return sum(events for (events,) in taken)


async def cut(tx: Tx, first: int, last: int) -> None:
    """Make rows again of packs that lie across the begin or the end of a run of ids."""
    packs = await tx.fetch_all(
        "SELECT first_id, last_id, events FROM packed_events WHERE first_id BETWEEN ? AND ?"
        " AND last_id >= ? AND (first_id < ? OR last_id > ?)",
        (first - IDS_MAX + 1, last, first, first, last),
    )
    for begin, end, events in packs:
        n_rows = await tx.execute(
            f"INSERT INTO events ({STORED.listed}) SELECT {STORED.listed} FROM"  # noqa: S608 - names
            f" ({FROM_PACKS}) WHERE id BETWEEN ? AND ?",
            (begin, end, None, begin, end, begin, *(begin, end)),
        )
        assert n_rows == events, f"a pack of {events} events has {n_rows}"
        await tx.execute("DELETE FROM packed_events WHERE first_id = ?", (begin,))


async def take_out(tx: Tx, first: int, last: int) -> int:
    """Delete the events between two ids, packed or not; return how many."""
    await cut(tx, first, last)
    packed = await _take_packs(tx, first, last)
    rows = await tx.execute(
        "DELETE FROM events WHERE id BETWEEN ? AND ?", (first, last)
    )
    return packed + rows


async def packs_after(
    tx: Tx, last_id: int, *, limit: int
) -> list[tuple[int, int, int]]:
    """Return ``(first id, last id, events)`` of packs behind an id, in order."""
    rows = await tx.fetch_all(
        "SELECT first_id, last_id, events FROM packed_events WHERE first_id > ?"
        " ORDER BY first_id LIMIT ?",
        (last_id, limit),
    )
    return [(row[0], row[1], row[2]) for row in rows]


async def sorts_of_packed(tx: Tx) -> dict[tuple[int, int, int], int]:
    """Return how many packed events there are of each producer, subject 0 or not, flags.

    Raises:
        DatabaseCorrupt: a pack cannot be read.
    """
    found: Counter[tuple[int, int, int]] = Counter()
    last = 0
    while packs := await packs_after(tx, last, limit=1):
        ((first, last, _),) = packs
        _, producers, subjects, flags = await columns_of_pack(
            tx, first, ("id", "producer_id", "subject_id", "flags")
        )
        if not is_one(producers) or not is_one(flags):
            found.update(zip(producers, map(bool, subjects), flags, strict=True))
        elif len(flags):  # as in nearly all packs
            of_nobody = subjects.count(0)
            found[producers[0], False, flags[0]] += of_nobody
            found[producers[0], True, flags[0]] += len(flags) - of_nobody
    return dict(found)


async def events_of_pack(tx: Tx, first: int) -> list[Row]:
    """Return the events of a pack as rows of ``STORED``, in order."""
    return list(zip(*await columns_of_pack(tx, first, STORED.names), strict=True))
