"""What counting meters again would change, before anything is changed."""

import asyncio
from bisect import bisect_right
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence, Set
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Final, NamedTuple

from msgspec.structs import replace

from meterline.events import UNCOUNTED
from meterline_pricing import Calendar
from meterline_sidecar.clock import DAY_MS
from meterline_sidecar.decimals import Number, total_of
from meterline_sidecar.meters import Meter, Total, Totals, merge, quantity
from meterline_sidecar.store.edge import corrections, event_log
from meterline_sidecar.store.edge import usage as store
from meterline_sidecar.store.edge.usage import Cut, EventFacts, ReadEvents
from meterline_sidecar.store.owned import Payers, read_payers
from meterline_sidecar.store.port import Readable, Tx
from meterline_sidecar.store.terms import NEVER_MS
from meterline_sidecar.store.usage import newest_generation
from meterline_sidecar.usage.corrected import counting_only
from meterline_sidecar.usage.counted import Counted
from meterline_sidecar.usage.customer_usage import CustomerUsage, meter_usage
from meterline_sidecar.usage.definition import Definition, Step, decode
from meterline_sidecar.usage.fold import Folder, Place
from meterline_sidecar.usage.values import Values, read_values

STEP_EVENTS: Final = 20_000
EVENTS_READ_MAX: Final = 2_000_000
"""For subjects that move: a few seconds of reading."""
EVENTS_COUNTED_MAX: Final = 200_000
"""Of these, for the customers that it is about: a few seconds of counting."""
DAYS_KNOWN: Final = 4_096

Edges = Callable[[str, int, int], Iterable[int]]
"""Returns where a customer's usage must be told apart in a span of time: wherever a
period, or a part of one, begins or ends."""


class Difference(NamedTuple):
    """What a customer's usage of a month would be in place of what it is."""

    meter: str
    customer: str | None
    """``None``: nobody pays for it."""
    month: str
    """In UTC, such as ``2026-11``."""
    before: Number
    after: Number


class Counts:
    """Usage of some meters by customer, span between two edges, and group."""

    def __init__(
        self,
        definition: Definition,
        payers: Payers,
        edges: Edges,
        *,
        since_ms: int,
        values: Values,
        generation: int,
    ) -> None:
        self._definition = definition
        self._generation = generation
        """Of which what edges have rolled up counts; they alone could count it again."""
        self._told_apart = values
        self._payers = payers
        self._edges = edges
        self._since_ms = since_ms
        """What happened before is not in here."""
        self._aggregations = definition.aggregations
        self._known_edges: dict[tuple[str | None, int], list[int]] = {}
        self._totals: dict[str | None, dict[tuple[int, str], Totals]] = {}
        self._values: dict[str | None, dict[tuple[int, str, str], set[str]]] = {}
        """Different values, by span, group and meter."""

    def add(
        self,
        events: list[EventFacts],
        endpoints: dict[int, tuple[str, str]],
        cuts: Iterable[Cut],
    ) -> None:
        """Add a step's events."""
        folder = Folder(
            self._definition,
            endpoints,
            cuts,
            values=self._told_apart,
            generation=self._generation,
        )
        folded = folder.fold(events)
        for place, delta in folded.items():
            self.add_place(place, delta.totals, delta.unique)

    def add_place(
        self, place: Place, totals: Totals, unique: Mapping[str, Iterable[str]]
    ) -> None:
        """Add what events in one place add up to, none of which is in here."""
        customer = self._payers.at(place.subject_id, place.window_ms)
        span_ms = self._span(customer, place.window_ms)
        merge(
            self._totals.setdefault(customer, {}).setdefault(
                (span_ms, place.labels), {}
            ),
            more=totals,
            aggregations=self._aggregations,
        )
        for meter, values in unique.items():
            of = self._values.setdefault(customer, {})
            of.setdefault((span_ms, place.labels, meter), set()).update(values)

    @property
    def customers(self) -> list[str]:
        """Who used anything in here."""
        found = [*self._totals, *self._values]
        return [one for one in dict.fromkeys(found) if one is not None]

    def _span(self, customer: str | None, at_ms: int) -> int:
        """Return where the span begins that a window is in: at an edge, or a month."""
        month = _month_ms(at_ms)
        edges = self._known_edges.get((customer, month))
        if edges is None:
            inside: Iterable[int] = ()
            if customer is not None:
                inside = self._edges(customer, month, Calendar().at(month).end)
            edges = self._known_edges[customer, month] = sorted({month, *inside})
        return edges[bisect_right(edges, at_ms) - 1]

    def first_ms(self, customer: str) -> int | None:
        """Return where the first span begins in which a customer used something."""
        totals, values = self._totals.get(customer, {}), self._values.get(customer, {})
        times = [key[0] for key in totals] + [key[0] for key in values]
        return min(times, default=None)

    def used(
        self, customer: str | None, meter: str, *, start: int, end: int
    ) -> dict[str, Total]:
        """Return what was used of a meter between two edges, by group."""
        found: dict[str, Totals] = defaultdict(dict)
        for (at_ms, labels), totals in self._totals.get(customer, {}).items():
            if start <= at_ms < end and meter in totals:
                more = {meter: totals[meter]}
                merge(found[labels], more=more, aggregations=self._aggregations)
        distinct: dict[str, set[str]] = defaultdict(set)
        for (at_ms, labels, of), values in self._values.get(customer, {}).items():
            if start <= at_ms < end and of == meter:
                distinct[labels] |= values
        sums = {labels: totals[meter] for labels, totals in found.items()}
        return sums | {labels: len(values) for labels, values in distinct.items()}

    def months(self) -> dict[tuple[str, str | None, int], Number]:
        """Return usage by meter, customer, and month in UTC as it begins."""
        places = {
            (name, customer, _month_ms(at_ms))
            for customer, totals in self._totals.items()
            for (at_ms, _), of in totals.items()
            for name in of
        }
        places |= {
            (name, customer, _month_ms(at_ms))
            for customer, values in self._values.items()
            for at_ms, _, name in values
        }
        return {
            (name, customer, month): total_of(
                quantity(total)
                for total in self.used(
                    customer, name, start=month, end=Calendar().at(month).end
                ).values()
            )
            for name, customer, month in places
        }

    async def applied_to(
        self,
        tx: Tx,
        at: Counted,
        usage: CustomerUsage,
    ) -> CustomerUsage:
        """Return usage with what is counted here in place of what is known of it.

        Only between two edges, and not of what happened before the count begins.
        """
        start, end = usage.period.start, usage.period.end
        if start < self._since_ms:
            return usage
        meters = tuple(
            meter_usage(
                used.meter,
                used.aggregation,
                self.used(usage.customer, used.meter, start=start, end=end),
            )
            if used.meter in self._definition.meters
            else used
            for used in usage.meters
        )
        return replace(usage, meters=meters)


class Recount(NamedTuple):
    """The same events, counted as they are and as they would be."""

    since_ms: int
    before: Counts
    after: Counts
    differences: tuple[Difference, ...]
    """In order of time."""

    @property
    def customers(self) -> list[str]:
        """Those whose usage would be another, each once."""
        found = dict.fromkeys(one.customer for one in self.differences)
        return [customer for customer in found if customer is not None]


class Moves(NamedTuple):
    """Subjects that would change hands, and from when on."""

    since_ms: int
    histories: Mapping[int, Sequence[tuple[int, str | None]]]
    """By the subject's ID: who would pay from when on."""
    customers: frozenset[str]
    """Who pays for them at any time, as things are or as they would be."""


class TooManyEvents(Exception):
    """More events would be read than somebody waits for."""


async def count_again(
    database: Readable,
    changes: Mapping[str, tuple[int, Meter]],
    *,
    edges: Edges,
    moves: Moves | None = None,
    read_events: ReadEvents = store.events_after,
) -> Recount:
    """Return what it comes to if meters counted otherwise, or others paid.

    All events since then are read, and those of the periods it may lie in, and
    nothing is written: as slow as counting.

    Args:
        changes: by name, from when on a meter measures what.
        read_events: reads them; they may have left the ledger.

    Raises:
        TooManyEvents: for moves alone, so many are not read.
        EventsArchived, ArchiveFailed: as ``read_events``.
    """
    times = [from_ms for from_ms, _ in changes.values()]
    since_ms = begin_of(min(times if moves is None else [*times, moves.since_ms]))
    steps = {name: (Step(at_ms, 0, it),) for name, (at_ms, it) in changes.items()}
    async with database.reading() as tx:
        served = await newest_generation(tx)
        assert served is not None, "Aggregator.start() comes first"
        payers = await read_payers(tx)
        last_id = min(served.cursor, await event_log.last_event_id(tx))
        cursor = await store.first_since(tx, since_ms) - 1
        endpoints = await store.endpoints(tx)
        cuts = await store.cuts_between(tx, 0, NEVER_MS)
        known = decode(served.definition)
        names = changes if moves is None else known.meters.keys() | changes.keys()
        as_is, as_it_would_be = (_of(known, names, more) for more in ({}, steps))
        before_values = await read_values(tx, as_is)
        after_values = await read_values(tx, as_it_would_be)
    moved = payers if moves is None else payers.followed_by(moves.histories)
    counts_of = partial(Counts, edges=edges, since_ms=since_ms, generation=served.id)
    before = counts_of(as_is, payers, values=before_values)
    after = counts_of(as_it_would_be, moved, values=after_values)
    only: Set[int] | None = None
    if moves is not None and not changes:
        if last_id - cursor > EVENTS_READ_MAX:
            raise TooManyEvents
        only = payers.subjects_of(moves.customers) | moves.histories.keys()
    async for events in _read(
        database, read_events, cursor, last_id, since_ms=since_ms, subjects=only
    ):
        for counts in (before, after):
            # In a thread: folding is Python, and others must be answered meanwhile.
            await asyncio.to_thread(counts.add, events, endpoints, cuts)
    return Recount(since_ms, before, after, tuple(differences(before, after)))


def _of(
    known: Definition, names: Iterable[str], more: Mapping[str, tuple[Step, ...]]
) -> Definition:
    """Return what these meters measure alone, and by what steps more."""
    meters = {
        name: (*known.meters.get(name, ()), *more.get(name, ())) for name in names
    }
    return replace(known, meters=meters)


async def _read(
    database: Readable,
    read_events: ReadEvents,
    cursor: int,
    last_id: int,
    *,
    since_ms: int,
    subjects: Set[int] | None,
) -> AsyncIterator[list[EventFacts]]:
    """Yield the events behind a cursor that count since a time, a step at once.

    Args:
        subjects: whose; ``None`` for all.

    Raises:
        TooManyEvents: of some subjects alone, so many are not counted.
    """
    left = EVENTS_COUNTED_MAX
    while cursor < last_id:
        async with database.reading() as tx:
            events, reached = await read_events(
                tx,
                cursor,
                skip_flags=UNCOUNTED,
                limit=min(STEP_EVENTS, last_id - cursor),
            )
            marks = await corrections.marks_in(tx, cursor, reached, up_to_event=last_id)
        if reached == cursor:
            return
        cursor = reached
        found = [
            event
            for event in counting_only(events, marks)
            if event.time_ms >= since_ms
            and (subjects is None or event.subject_id in subjects)
        ]
        left -= len(found)
        if subjects is not None and left < 0:
            raise TooManyEvents
        yield found


def begin_of(from_ms: int) -> int:
    """Return a time before which every period ended that a time may lie in."""
    return max(0, _month_ms(max(0, from_ms - DAY_MS)) - DAY_MS)


def _month_ms(at_ms: int) -> int:
    """Return when the month in UTC begins that a time lies in."""
    return _month_of_day(at_ms // DAY_MS)


@lru_cache(maxsize=DAYS_KNOWN)
def _month_of_day(day: int) -> int:
    return Calendar().at(day * DAY_MS).start


def differences(before: Counts, after: Counts) -> Iterable[Difference]:
    """Yield every month whose usage would be another, in order of time."""
    known, wanted = before.months(), after.months()
    for key in sorted(
        known.keys() | wanted.keys(), key=lambda key: (key[2], key[1] or "", key[0])
    ):
        meter, customer, month = key
        one, other = known.get(key, 0), wanted.get(key, 0)
        if one != other:
            name = f"{datetime.fromtimestamp(month / 1000, UTC):%Y-%m}"
            yield Difference(meter, customer, name, one, other)
