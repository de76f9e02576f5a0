"""SQL for usage as it is read: what was counted, per subject, window and group."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from meterline_sidecar.meters import Totals
from meterline_sidecar.store.columns import Columns, marks
from meterline_sidecar.store.day_parts import Span, read_parts
from meterline_sidecar.store.days_and_edges import (
    GROUPS,
    NO_LABELS,
    Query,
    days_and_edges,
)
from meterline_sidecar.store.dialects import either
from meterline_sidecar.store.owned import (
    NOBODY,
    one_of,
    parts,
    parts_given,
    whole,
)
from meterline_sidecar.store.packed_days import (
    Block,
    Packed,
    labels_in,
    unpack,
)
from meterline_sidecar.store.port import Row, Tx

ENDLESS: Final = 1 << 62

_LISTED: Final = either(
    sqlite="group_concat(w.totals)", postgres="string_agg(w.totals, ',')"
)
_totals: Final = msgspec.json.Decoder(Totals)
_listed_totals: Final = msgspec.json.Decoder(list[Totals])


class Generation(NamedTuple):
    """Usage counted from the first event on, and how far that is."""

    id: int
    definition: str
    """What each meter measures from when on, as ``usage.definition`` reads it."""
    cursor: int
    last_success_ms: int | None
    is_complete: int
    """Whether it ever had counted all there was; until then it is not read."""


GENERATION: Final = Columns(Generation._fields)


class UsageRow(NamedTuple):
    """Usage of a subject in a window, or a day, and group."""

    subject_id: int
    window_ms: int
    labels: str
    totals: Totals


async def newest_generation(tx: Tx) -> Generation | None:
    """Return the generation that is read: the newest that has caught up.

    Before any has, the newest: what it has counted is all there is.
    """
    row = await tx.fetch_one(
        f"SELECT {GENERATION.listed} FROM generations"  # noqa: S608 - names
        " ORDER BY is_complete DESC, id DESC LIMIT 1"
    )
    return None if row is None else Generation(*row)


async def generation_beside(tx: Tx, generation: int) -> Generation | None:
    """Return the generation that counts again beside the one that is read, if any.

    It is the newest of all, unless it was given up: those between count no more.
    """
    row = await tx.fetch_one(
        f"SELECT {GENERATION.listed} FROM generations WHERE id > ?"  # noqa: S608 - names
        " AND id = (SELECT max(id) FROM generations)"
        " AND id NOT IN (SELECT generation FROM generation_ends)",
        (generation,),
    )
    return None if row is None else Generation(*row)


class Sums(NamedTuple):
    """What a customer used in a span, in no order: all of it, to be added up."""

    rows: list[tuple[str, list[Totals]]]
    """Totals by their labels; those of a subject and a group together."""
    packed: Packed


class Days(NamedTuple):
    """What a customer used in a span, in no order: days, and windows at its edges."""

    rows: list[UsageRow]
    packs: list[tuple[int, int, Block]]
    """Subject and day of each, UTC ms."""
    labels: Mapping[int, str]
    """Of every group in them, by its id."""


async def read_days(
    tx: Tx, generation: int, *, customer: str, start: int, end: int
) -> Days:
    """Return a customer's usage of ``[start, end)``.

    What lies between two midnights UTC comes by day, once or twice a group; the edges
    as windows. Of a subject that changed hands it is what they used while this customer
    paid.
    """
    test, span = one_of(1), {"start": start, "end": end}
    halves = days_and_edges(test, customer, generation=generation, span=(start, end))
    rows = await tx.fetch_all(*halves.both)
    packs = [
        (subject_id, day_ms, block)
        for subject_id, day_ms, labels, body in rows
        if not labels
        for block in unpack(body)
    ]
    found = [UsageRow(s, w, g, _totals.decode(totals)) for s, w, g, totals in rows if g]
    found += [r for _, r in await _of_parts(tx, generation, test, customer, **span)]
    return Days(found, packs, await labels_in(tx, (block for _, _, block in packs)))


async def read_usage(
    tx: Tx, generation: int, *, customer: str, start: int, end: int
) -> list[UsageRow]:
    """Return the same as rows alone, in order of time."""
    span = {"start": start, "end": end}
    days = await read_days(tx, generation, customer=customer, **span)
    found = days.rows + [
        UsageRow(subject_id, day_ms, days.labels[group_id], totals)
        for subject_id, day_ms, block in days.packs
        for group_id, totals in block.rows()
    ]
    return sorted(found, key=lambda row: row.window_ms)


async def read_sums_of(
    tx: Tx, generation: int, *, customers: Sequence[str], start: int, end: int
) -> dict[str, Sums]:
    """Return the same of several customers, as sums that a long span takes hardly longer for."""
    test, span = one_of(len(customers)), {"start": start, "end": end}
    halves = days_and_edges(
        test, *customers, generation=generation, span=(start, end), named=False
    )
    queries = [
        Query(
            "SELECT s.customer, g.labels, d.totals FROM"  # noqa: S608 - our own words
            f" (SELECT w.subject_id, w.group_id, {_LISTED} AS totals FROM"
            f" ({halves.rows.text}) AS w GROUP BY w.subject_id, w.group_id) AS d"
            " JOIN subjects s ON s.id = d.subject_id JOIN groups g ON g.id = d.group_id",
            halves.rows.given,
        )
    ]
    if halves.packs is not None:
        queries.append(
            Query(
                "SELECT s.customer, w.labels, w.totals"  # noqa: S608 - our own words
                f" FROM ({halves.packs.text}) AS w CROSS JOIN subjects s"
                " WHERE s.id = w.subject_id",
                halves.packs.given,
            )
        )
    rows = await tx.fetch_all(*Query.of_all(*queries))
    sums: dict[str, list[tuple[str, list[Totals]]]] = {name: [] for name in customers}
    blocks: dict[str, list[Block]] = {name: [] for name in customers}
    for customer, labels, totals in rows:
        if labels:
            sums[customer].append((labels, _listed_totals.decode(f"[{totals}]")))
        else:
            blocks[customer] += unpack(totals)
    for owner, row in await _of_parts(tx, generation, test, *customers, **span):
        assert owner is not None
        sums[owner].append((row.labels, [row.totals]))
    return {
        name: Sums(sums[name], Packed(of, await labels_in(tx, of)))
        for name, of in blocks.items()
    }


async def read_spans(
    tx: Tx, generation: int, *, customer: str, spans: Sequence[Span]
) -> Days:
    """Return a customer's usage of spans, so that all of each lies in just one of them.

    It comes as parts of days where there are any, and as windows.

    Args:
        spans: in order, each begins where the one before ends.
    """
    parts, rows = await read_parts(tx, generation, customer=customer, spans=spans)
    start, end = spans[0][0], spans[-1][1]
    rows += await _windows_of_split(tx, generation, customer, start=start, end=end)
    packs = [
        (part.subject_id, part.start_ms, block)
        for part in parts
        for block in unpack(part.body)
    ]
    found = [UsageRow(s, w, g, _totals.decode(totals)) for s, w, g, totals in rows]
    return Days(found, packs, await labels_in(tx, (block for _, _, block in packs)))


async def read_windows(
    tx: Tx, generation: int, *, customer: str, start: int, end: int
) -> list[tuple[int, str, Totals]]:
    """Return ``(window_ms, labels, totals)`` of a customer in ``[start, end)``.

    In no order: a busy customer has ten thousand of them in a week.
    """
    rows = await tx.fetch_all(
        f"SELECT u.subject_id, u.window_ms, g.labels, u.totals FROM usage u {GROUPS}"  # noqa: S608 - our own words
        f" WHERE u.generation = ? AND u.subject_id IN ({whole(one_of(1))})"
        " AND u.window_ms >= ? AND u.window_ms < ?",
        (generation, customer, start, end),
    )
    rows += await _windows_of_split(tx, generation, customer, start=start, end=end)
    return [
        (window, labels, _totals.decode(totals)) for _, window, labels, totals in rows
    ]


async def _windows_of_split(
    tx: Tx, generation: int, customer: str, *, start: int, end: int
) -> list[Row]:
    """Return ``(subject id, window_ms, labels, totals)`` of subjects that changed hands."""
    return await tx.fetch_all(
        f"WITH t AS ({parts(one_of(1))})"  # noqa: S608 - our own words
        " SELECT u.subject_id, u.window_ms, g.labels, u.totals"
        f" FROM t CROSS JOIN usage u {GROUPS}"
        " WHERE u.generation = ? AND u.subject_id = t.subject_id"
        " AND u.window_ms >= t.start_ms AND u.window_ms < t.end_ms",
        (*parts_given(customer, start=start, end=end), generation),
    )


async def windows_since(
    tx: Tx, generation: int, *, subjects: Sequence[int], since_ms: int
) -> list[UsageRow]:
    """Return all windows of some subjects, at most ``MARKS_MAX``, since a time."""
    rows = await tx.fetch_all(
        f"SELECT u.subject_id, u.window_ms, g.labels, u.totals FROM usage u {GROUPS}"  # noqa: S608 - our own words
        f" WHERE u.generation = ? AND u.subject_id IN ({marks(len(subjects))})"
        " AND u.window_ms >= ?",
        (generation, *subjects, since_ms),
    )
    return [UsageRow(s, w, g, _totals.decode(totals)) for s, w, g, totals in rows]


async def unique_since(
    tx: Tx, generation: int, *, subjects: Sequence[int], since_ms: int
) -> list[tuple[int, int, str, str, str]]:
    """Return ``(subject id, window_ms, labels, meter, value)`` of the same windows."""
    rows = await tx.fetch_all(
        "SELECT u.subject_id, u.window_ms, g.labels, u.meter, u.value"  # noqa: S608 - our own words
        f" FROM unique_values u {GROUPS}"
        f" WHERE u.generation = ? AND u.subject_id IN ({marks(len(subjects))})"
        " AND u.window_ms >= ?",
        (generation, *subjects, since_ms),
    )
    return [(row[0], row[1], row[2], row[3], row[4]) for row in rows]


async def read_unassigned(
    tx: Tx, generation: int, *, start: int, end: int, limit: int
) -> list[tuple[str | None, UsageRow]]:
    """Return usage that no customer pays for, each with its subject's name.

    In order of time, days and windows as above.
    """
    halves = days_and_edges(NOBODY, generation=generation, span=(start, end))
    query, given = halves.both
    rows = await tx.fetch_all(
        f"{query} ORDER BY at_ms, subject_id, labels LIMIT ?",
        # A pack comes before the rows of its day, and may be the last of what is shown.
        (*given, limit + 1),
    )
    both = await _unpacked(tx, ((None, *row) for row in rows), limit=limit)
    both += await _of_parts(tx, generation, NOBODY, start=start, end=end)
    found = [row for _, row in both]
    found.sort(key=lambda row: (row.window_ms, row.subject_id, row.labels))
    names: dict[int, str | None] = {0: None}
    for row in found[:limit]:
        if row.subject_id not in names:
            named = await tx.fetch_one(
                "SELECT name FROM subjects WHERE id = ?", (row.subject_id,)
            )
            names[row.subject_id] = None if named is None else named[0]
    return [(names[row.subject_id], row) for row in found[:limit]]


async def _of_parts(
    tx: Tx, generation: int, test: str, *customers: str, start: int, end: int
) -> list[tuple[str | None, UsageRow]]:
    """Return usage of subjects that changed hands, each with who paid for it then.

    Here the few times are joined, first: a span of its own for each subject.
    """
    joined = "WHERE u.generation = ? AND u.subject_id = t.subject_id"
    windows = (
        "SELECT t.customer, u.subject_id, u.window_ms, g.labels, u.totals"  # noqa: S608 - our own words
        f" FROM t CROSS JOIN usage u {GROUPS} {joined}"
    )
    rows = await tx.fetch_all(
        f"WITH t AS ({parts(test)})"  # noqa: S608 - our own words
        " SELECT t.customer, u.subject_id, u.day_ms, g.labels, u.totals"
        f" FROM t CROSS JOIN usage_days u {GROUPS} {joined}"
        " AND u.day_ms >= t.first_ms AND u.day_ms < t.last_ms"
        f" UNION ALL SELECT t.customer, u.subject_id, u.day_ms, {NO_LABELS}, u.body"
        f" FROM t CROSS JOIN packed_days u {joined}"
        " AND u.day_ms >= t.first_ms AND u.day_ms < t.last_ms"
        f" UNION ALL {windows} AND u.window_ms >= t.start_ms AND u.window_ms <"
        " CASE WHEN t.first_ms < t.last_ms THEN t.first_ms ELSE t.end_ms END"
        f" UNION ALL {windows} AND t.first_ms < t.last_ms"
        " AND u.window_ms >= t.last_ms AND u.window_ms < t.end_ms",
        (*parts_given(*customers, start=start, end=end), *[generation] * 4),
    )
    return await _unpacked(tx, rows)


async def _unpacked(
    tx: Tx, rows: Iterable[Row], *, limit: int = ENDLESS
) -> list[tuple[str | None, UsageRow]]:
    """Return ``(payer, subject, time, labels, totals)`` as rows of usage, packs as many.

    Args:
        limit: behind so many no other day is begun.
    """
    packs: list[tuple[Row, list[Block]]] = []
    found: list[tuple[str | None, UsageRow]] = []
    n_rows, last = 0, None
    for row in rows:
        owner, subject_id, at_ms, labels, totals = row
        if n_rows >= limit and (subject_id, at_ms) != last:
            break
        last = (subject_id, at_ms)
        if labels:
            usage = UsageRow(subject_id, at_ms, labels, _totals.decode(totals))
            found.append((owner, usage))
            n_rows += 1
        else:
            packs.append((row, unpack(totals)))
            n_rows += sum(len(block.ids()) for block in packs[-1][1])
    named = await labels_in(tx, (block for _, blocks in packs for block in blocks))
    found += (
        (owner, UsageRow(subject_id, at_ms, named[group_id], totals))
        for (owner, subject_id, at_ms, _, _), blocks in packs
        for block in blocks
        for group_id, totals in block.rows()
    )
    return found


async def count_unique(
    tx: Tx,
    generation: int,
    *,
    customer: str,
    start: int,
    end: int,
) -> list[tuple[str, str, int]]:
    """Return ``(meter, labels, distinct values)`` of a customer in ``[start, end)``."""
    test = one_of(1)
    rows = await tx.fetch_all(
        f"WITH t AS ({parts(test)})"  # noqa: S608 - our own words
        " SELECT d.meter, g.labels, count(DISTINCT d.value) FROM ("
        "SELECT u.meter, u.group_id, u.value FROM unique_values u"
        f" WHERE u.generation = ? AND u.subject_id IN ({whole(test)})"
        " AND u.window_ms >= ? AND u.window_ms < ? UNION ALL"
        " SELECT u.meter, u.group_id, u.value FROM t CROSS JOIN unique_values u"
        " WHERE u.generation = ? AND u.subject_id = t.subject_id"
        " AND u.window_ms >= t.start_ms AND u.window_ms < t.end_ms"
        ") AS d JOIN groups g ON g.id = d.group_id GROUP BY d.meter, g.labels",
        (
            *parts_given(customer, start=start, end=end),
            generation,
            customer,
            start,
            end,
            generation,
        ),
    )
    return [(row[0], row[1], row[2]) for row in rows]
