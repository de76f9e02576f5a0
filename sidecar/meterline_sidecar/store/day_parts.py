"""Usage of parts of days that are over, of subjects whose days begin at no midnight UTC.

Usage is kept by window and by day UTC. A day in Berlin has none of these days whole: it
is the end of one and the beginning of the next. So both parts of a day UTC that is over,
before and from that midnight, are kept as well, each packed as a day is, see
``packed_days``. A day of a customer is two parts then, in place of 96 windows a group,
and the edges of a month are one part each.

A part follows from windows alone. It goes as soon as one of them changes, and where there
is none the windows are read: so nothing depends on which parts there are.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from meterline_sidecar.clock import DAY_MS
from meterline_sidecar.store.columns import LISTED, listed, number_rows
from meterline_sidecar.store.owned import one_of, whole
from meterline_sidecar.store.port import Row, Tx
from meterline_sidecar.store.rollups import Rollup

PARTS: Final = Rollup("day_parts", ("subject_id", "start_ms"))
PART: Final = "u.start_ms = ? AND u.end_ms = ?"
"""A test of a part: just this one."""
GAPS_PER_READ: Final = 200

Span = tuple[int, int]
"""From when to before when, UTC ms."""


class Part(NamedTuple):
    """What a subject used in a part of a day."""

    subject_id: int
    start_ms: int
    end_ms: int
    body: str
    """As ``packed_days.pack`` says it."""


def cut(spans: Iterable[Span]) -> list[Span]:
    """Return spans cut at every midnight UTC: what can be parts of days, in order."""
    found: list[Span] = []
    for start, end in spans:
        midnights = range((start // DAY_MS + 1) * DAY_MS, end, DAY_MS)
        found += pairwise((start, *midnights, end))
    return found


def without_part(theirs: str) -> str:
    """Return a test of whose windows are read: of those who have no such part.

    Args:
        theirs: a test of whose they are, which ends with a query for subjects.
    """
    assert theirs.endswith(")")
    return (
        f"{theirs[:-1]} AND NOT EXISTS (SELECT 1 FROM day_parts p"  # noqa: S608 - our own words
        " WHERE p.subject_id = subjects.id AND p.generation = ?"
        " AND p.start_ms = ? AND p.end_ms = ?))"
    )


async def read_parts(
    tx: Tx, generation: int, *, customer: str, spans: Sequence[Span]
) -> tuple[list[Part], list[Row]]:
    """Return a customer's usage of spans, as parts and, where there are none, windows.

    Of subjects that they pay for all the time. ``(subject id, window_ms, labels,
    totals)`` of each window.

    Args:
        spans: in order, each begins where the one before ends.
    """
    wanted = set(cut(spans))
    start, end = spans[0][0], spans[-1][1]
    rows = await tx.fetch_all(
        "SELECT u.subject_id, u.start_ms, u.end_ms, u.body FROM day_parts u"  # noqa: S608 - our own words
        f" WHERE u.generation = ? AND u.subject_id IN ({whole(one_of(1))})"
        " AND u.start_ms >= ? AND u.start_ms < ? ORDER BY u.subject_id, u.start_ms",
        (generation, customer, start, end),
    )
    parts = [part for part in map(Part._make, rows) if part[1:3] in wanted]
    covered: dict[int, list[Span]] = defaultdict(list)
    for part in parts:
        covered[part.subject_id].append((part.start_ms, part.end_ms))
    windows = (
        "SELECT u.subject_id, u.window_ms, g.labels, u.totals FROM {} u"
        " JOIN groups g ON g.id = u.group_id WHERE u.generation = ?"
        " AND u.subject_id {} AND u.window_ms >= {} AND u.window_ms < {}"
    )
    others = f"IN ({whole(one_of(1))} AND id NOT IN {LISTED})"
    found = await tx.fetch_all(
        windows.format("usage", others, "?", "?"),
        (generation, customer, listed(sorted(covered)), start, end),
    )
    gaps = list(_gaps(covered, start=start, end=end))
    for first in range(0, len(gaps), GAPS_PER_READ):
        some = gaps[first : first + GAPS_PER_READ]
        joined = windows.format("k CROSS JOIN usage", "= k.id", "k.since", "k.until")
        found += await tx.fetch_all(
            f"WITH k (id, since, until) AS (VALUES {number_rows(3, len(some))}) {joined}",
            [*(field for gap in some for field in gap), generation],
        )
    return parts, found


def _gaps(
    covered: Mapping[int, Sequence[Span]], *, start: int, end: int
) -> Iterable[tuple[int, int, int]]:
    """Yield ``(subject id, start, end)`` of what no part covers."""
    for subject_id, spans in covered.items():
        edges = [start, *(edge for span in spans for edge in span), end]
        for since, until in zip(edges[::2], edges[1::2], strict=True):
            if since < until:
                yield subject_id, since, until
