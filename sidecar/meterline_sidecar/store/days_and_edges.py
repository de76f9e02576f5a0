"""The words of queries for a span of time: whole days, and what lies around them."""

from typing import Final, NamedTuple

from meterline_sidecar.clock import DAY_MS
from meterline_sidecar.store.day_parts import PART, Span, without_part
from meterline_sidecar.store.owned import NOBODY, whole
from meterline_sidecar.store.port import Value

GROUPS: Final = "JOIN groups g ON g.id = u.group_id"
NO_LABELS: Final = "''"
"""What a pack has in the place of labels: it comes before the rows of its day."""


class Query(NamedTuple):
    """A query, and its parameters."""

    text: str
    given: tuple[Value, ...]

    @classmethod
    def of_all(cls, *queries: "Query") -> "Query":
        """Return what finds what any of some queries does."""
        given = (value for query in queries for value in query.given)
        return cls(" UNION ALL ".join(query.text for query in queries), tuple(given))


class Halves(NamedTuple):
    """Queries for a span: what comes in rows, and what in packs.

    Both have ``subject_id``, ``at_ms``, the group, and ``totals``.
    """

    rows: Query
    packs: Query | None
    """``None``: there can be none in it."""

    @property
    def both(self) -> Query:
        """Return one query for both."""
        return self.rows if self.packs is None else Query.of_all(*self.halves)

    @property
    def halves(self) -> tuple[Query, ...]:
        """Return those that there are."""
        return (self.rows,) if self.packs is None else (self.rows, self.packs)


def days_and_edges(
    test: str, *customers: str, generation: int, span: Span, named: bool = True
) -> Halves:
    """Return the queries for a span.

    Whole days come as rows and packs; the edges as a part of a day each, or windows.

    Each part of a query names its subjects in a subquery. Where they are joined,
    SQLite, which knows nothing of how many there are, reads all usage and asks of each
    row whose it is: half a second in place of half a millisecond.

    Args:
        test: of who pays, see ``owned``; customers are its parameters.
        named: whether groups have labels, and packs none, or their ids.
    """
    start, end = span
    first = min(-(-start // DAY_MS) * DAY_MS, end)
    beyond = max(first, end // DAY_MS * DAY_MS)
    group, groups = ("g.labels AS labels", GROUPS) if named else ("u.group_id", "")
    of_rows = f"{group}, u.totals AS totals FROM"
    of_packs = f"{NO_LABELS} AS labels, u.body AS totals FROM"
    theirs = f"u.generation = ? AND u.subject_id IN ({whole(test)})"
    given: tuple[Value, ...]
    rows: list[Query] = []
    packs: list[Query] = []
    if first < beyond:
        day = "SELECT u.subject_id AS subject_id, u.day_ms AS at_ms,"
        where = f"WHERE {theirs} AND u.day_ms >= ? AND u.day_ms < ?"
        given = (generation, *customers, first, beyond)
        rows.append(Query(f"{day} {of_rows} usage_days u {groups} {where}", given))
        packs.append(Query(f"{day} {of_packs} packed_days u {where}", given))
    edges = [edge for edge in ((start, first), (beyond, end)) if edge[0] < edge[1]]
    for edge in edges if rows or edges else [span]:
        window = "SELECT u.subject_id AS subject_id, u.window_ms AS at_ms,"
        where = f"WHERE {theirs} AND u.window_ms >= ? AND u.window_ms < ?"
        given = (generation, *customers, *edge)
        if test != NOBODY:  # who has no time zone
            part = f"SELECT u.subject_id AS subject_id, u.start_ms AS at_ms, {of_packs}"
            packs.append(Query(f"{part} day_parts u WHERE {theirs} AND {PART}", given))
            where = (
                f"WHERE {without_part(theirs)} AND u.window_ms >= ? AND u.window_ms < ?"
            )
            given = (generation, *customers, generation, *edge, *edge)
        rows.append(Query(f"{window} {of_rows} usage u {groups} {where}", given))
    return Halves(Query.of_all(*rows), Query.of_all(*packs) if packs else None)
