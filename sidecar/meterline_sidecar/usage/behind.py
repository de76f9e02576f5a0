"""The very events that a meter counted for a customer, and what it took of each.

Events have no index. Usage says in which hours a customer used anything, and up to
which event; the ledger notes within which ids the events of an hour are. What lies in
both is looked at, and folded as counting folds it. What a correction made void by then
is passed over: so what is listed is what was counted, neither more nor less.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from msgspec.structs import replace

from meterline.events import UNCOUNTED
from meterline_sidecar.decimals import Number
from meterline_sidecar.meters import Meter, Total
from meterline_sidecar.store import changes, owned
from meterline_sidecar.store.edge import behind as store
from meterline_sidecar.store.edge import corrections
from meterline_sidecar.store.edge import usage as counting
from meterline_sidecar.store.edge import values as value_store
from meterline_sidecar.store.edge.behind import Ids
from meterline_sidecar.store.edge.usage import EventFacts
from meterline_sidecar.store.port import Tx
from meterline_sidecar.usage.corrected import counting_only
from meterline_sidecar.usage.customer_usage import meter_usage
from meterline_sidecar.usage.definition import decode
from meterline_sidecar.usage.fold import Folder
from meterline_sidecar.usage.values import Values

LOOKED_AT_MAX: Final = 200_000  # ids for one page; about 20 ms
PIECE_IDS: Final = 5_000  # looked at by one query


class Asked(NamedTuple):
    """Which events are asked for: what one meter counted for one customer."""

    generation: int
    """Of the counting of usage."""
    customer: str
    meter: Meter
    start: int
    end: int
    """Between which times it was used: windows."""
    after: int
    """Only events behind this one ..."""
    up_to: int
    """... up to this one. Corrections up to it hold, as usage up to there knows them."""


class CountedEvent(NamedTuple):
    """An event that was counted."""

    event_id: int
    quantity: Number
    """What the meter took of it; of one that counts different values, 1."""


class Page(NamedTuple):
    """Some of them in order, and behind which event to go on (``None``: that was all)."""

    events: list[CountedEvent]
    next_after: int | None


class Behind:
    """The events that were counted and are in the ledger, in one snapshot.

    Args:
        hours: in which the customer used anything, each with its last event.
        spans: within which ids the events can be, in order and apart from each other.
    """

    def __init__(
        self,
        tx: Tx,
        asked: Asked,
        hours: Mapping[int, int],
        spans: Sequence[Ids],
        takes: "_Takes",
    ) -> None:
        self._tx = tx
        self._asked = asked
        self.hours = hours
        self._spans = spans
        self._takes = takes

    @classmethod
    async def of(cls, tx: Tx, asked: Asked) -> "Behind":
        """Return what there is of what is asked for."""
        span = {"start": asked.start, "end": asked.end}
        hours = await changes.counted_hours(
            tx, asked.generation, customer=asked.customer, **span
        )
        known = await store.hours_between(tx, **span)
        spans = [
            (max(known[hour_ms][0], asked.after + 1), min(last, asked.up_to))
            for hour_ms, last in hours.items()
            if hour_ms in known
        ]
        joined = _joined(span for span in spans if span[0] <= span[1])
        here = await store.here(tx, joined)
        return cls(tx, asked, hours, here, await _takes(tx, asked))

    async def page(self, *, limit: int) -> Page:
        """Return the first of the events.

        A page may be short, or even empty, and still name where to go on: only so many
        rows are looked at for one page.
        """
        found: list[CountedEvent] = []
        reached = self._asked.after
        for ids in _pieces(self._spans):
            for event in await self._events(ids):
                quantity = self._takes.quantity_of(event)
                if quantity is not None:
                    found.append(CountedEvent(event.id, quantity))
                if len(found) == limit:
                    return Page(found, event.id)
            reached = ids[1]
        is_whole = not self._spans or reached == self._spans[-1][1]
        return Page(found, None if is_whole else reached)

    async def last(self) -> int | None:
        """Return the last event; ``None`` where none is found soon."""
        for ids in _pieces(self._spans, backwards=True):
            for event in reversed(await self._events(ids)):
                if self._takes.quantity_of(event) is not None:
                    return event.id
        return None

    async def _events(self, ids: Ids) -> list[EventFacts]:
        events = await store.events_within(
            self._tx,
            ids,
            customer=self._asked.customer,
            start=self._asked.start,
            end=self._asked.end,
            skip_flags=UNCOUNTED,
        )
        first, last = ids
        marks = await corrections.marks_in(
            self._tx, first - 1, last, up_to_event=self._asked.up_to
        )
        return counting_only(events, marks)


def _pieces(spans: Sequence[Ids], *, backwards: bool = False) -> Iterator[Ids]:
    """Yield the ids of spans piece by piece, as many as one page may look at."""
    room = LOOKED_AT_MAX
    for first, last in reversed(spans) if backwards else spans:
        starts = range(first, last + 1, PIECE_IDS)
        for start in reversed(starts) if backwards else starts:
            if room <= 0:
                return
            end = min(start + PIECE_IDS - 1, last)
            room -= end - start + 1
            yield start, end


def _joined(spans: Iterable[Ids]) -> list[Ids]:
    found: list[Ids] = []
    for first, last in sorted(spans):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return found


class _Takes:
    """What a meter takes of events that are a customer's."""

    def __init__(
        self, asked: Asked, folder: Folder, times: dict[int, list[tuple[int, int]]]
    ) -> None:
        self._asked = asked
        self._folder = folder
        self._times = times

    def quantity_of(self, event: EventFacts) -> Number | None:
        """Return what is taken of an event; ``None``: it was not counted, or not here."""
        meter = self._asked.meter
        totals: dict[str, Total] = {}
        for place, delta in self._folder.fold([event]).items():
            if not self._is_theirs(place.subject_id, place.window_ms):
                continue
            if meter.name in delta.unique:
                return len(delta.unique[meter.name])
            if meter.name in delta.totals:
                totals[place.labels] = delta.totals[meter.name]
        if not totals:
            return None
        return meter_usage(meter.name, meter.aggregation, totals).quantity

    def _is_theirs(self, subject_id: int, window_ms: int) -> bool:
        if not self._asked.start <= window_ms < self._asked.end:
            return False
        times: Sequence[tuple[int, int]] | None = self._times.get(subject_id)
        return times is None or any(since <= window_ms < end for since, end in times)


async def _takes(tx: Tx, asked: Asked) -> _Takes:
    generation = await counting.get_generation(tx, asked.generation)
    assert generation is not None, "what is read is not given up"
    whole = decode(generation.definition)
    steps = whole.meters.get(asked.meter.name, ())
    # Nothing is learned here: what is told apart is what was when it was counted.
    values = Values(await value_store.read_values(tx), values_max=0)
    folder = Folder(
        replace(whole, meters={asked.meter.name: steps}),
        await counting.endpoints(tx),
        await counting.cuts_between(tx, asked.start, asked.end),
        values=values,
        generation=asked.generation,
    )
    return _Takes(asked, folder, await owned.times_of(tx, asked.customer))
