"""The words of queries for a span of time: whole days, and what lies around them."""

from typing import Final

from meterline_sidecar.clock import DAY_MS
from meterline_sidecar.store.day_parts import NO_LABELS, Span, beside_windows
from meterline_sidecar.store.owned import NOBODY, whole
from meterline_sidecar.store.port import Value

GROUPS: Final = "JOIN groups g ON g.id = u.group_id"


def days_and_edges(
    test: str, *customers: str, generation: int, span: Span, named: bool = True
) -> tuple[str, tuple[Value, ...]]:
    """Return the query for a span, and its parameters.

    Whole days come as rows and packs; the edges as a part of a day each, or windows. A
    pack, and a part, has no labels or the group 0, and its body for totals.

    Each part of the query names its subjects in a subquery. Where they are joined,
    SQLite, which knows nothing of how many there are, reads all usage and asks of each
    row whose it is: half a second in place of half a millisecond.

    Args:
        test: of who pays, see ``owned``; customers are its parameters.
    """
    start, end = span
    first = min(-(-start // DAY_MS) * DAY_MS, end)
    beyond = max(first, end // DAY_MS * DAY_MS)
    group, groups = ("g.labels AS labels", GROUPS) if named else ("u.group_id", "")
    queries: list[str] = []
    given: list[Value] = []
    if first < beyond:
        where = f"u.generation = ? AND u.subject_id IN ({whole(test)})"
        days = f"WHERE {where} AND u.day_ms >= ? AND u.day_ms < ?"
        queries = [
            f"SELECT u.subject_id AS subject_id, u.day_ms AS at_ms, {group},"  # noqa: S608 - our own words
            f" u.totals FROM usage_days u {groups} {days}",
            f"SELECT u.subject_id, u.day_ms, {NO_LABELS if named else 0}, u.body"  # noqa: S608 - our own words
            f" FROM packed_days u {days}",
        ]
        given = [generation, *customers, first, beyond] * 2
    edges = [edge for edge in ((start, first), (beyond, end)) if edge[0] < edge[1]]
    for edge in edges if queries or edges else [span]:
        windows = (
            f"SELECT u.subject_id AS subject_id, u.window_ms AS at_ms, {group},"  # noqa: S608 - our own words
            f" u.totals FROM usage u {groups} WHERE u.generation = ?"
            " AND u.window_ms >= ? AND u.window_ms < ? AND u.subject_id IN"
        )
        given += (generation, *edge)
        if test == NOBODY:  # and nobody has a time zone
            queries.append(f"{windows} ({whole(test)})")
            continue
        query, more = beside_windows(
            test, *customers, generation=generation, span=edge, named=named
        )
        queries.append(f"{windows} {query}")
        given += more
    return " UNION ALL ".join(queries), tuple(given)
