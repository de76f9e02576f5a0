"""The very events that a meter counted for a customer, and what it took of each.

Events have no index. Usage says in which hours a customer used anything, and up to
which event; the ledger notes within which ids the events of an hour are. What lies in
both is looked at, and folded as counting folds it: so what is listed is what was
counted, neither more nor less.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from meterline.events import UNCOUNTED
from meterline_sidecar.decimals import Number
from meterline_sidecar.meters import Meter, Total
from meterline_sidecar.store import owned
from meterline_sidecar.store import usage as usage_store
from meterline_sidecar.store.edge import behind as store
from meterline_sidecar.store.edge import usage as counting
from meterline_sidecar.store.edge import values as value_store
from meterline_sidecar.store.edge.behind import Ids
from meterline_sidecar.store.edge.usage import EventFacts
from meterline_sidecar.store.port import Tx
from meterline_sidecar.usage.customer_usage import meter_usage
from meterline_sidecar.usage.definition import Definition, decode
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
    """... up to this one."""


class CountedEvent(NamedTuple):
    """An event that was counted."""

    event_id: int
    quantity: Number
    """What the meter took of it; of one that counts different values, 1."""


class Page(NamedTuple):
    """Some of them in order, and behind which event to go on (``None``: that was all)."""

    events: list[CountedEvent]
    next_after: int | None


async def hours_of(tx: Tx, asked: Asked) -> dict[int, int]:
    """Return the hours in which the customer used anything, each with its last event."""
    return await usage_store.counted_hours(
        tx,
        asked.generation,
        customer=asked.customer,
        start=asked.start,
        end=asked.end,
    )


async def counted_events(tx: Tx, asked: Asked, *, limit: int) -> Page:
    """Return a page of the events that were counted and are in the ledger.

    A page may be short, or even empty, and still name where to go on: only so many
    rows are looked at for one page.
    """
    spans = await _spans(tx, asked)
    takes = await _takes(tx, asked)
    found: list[CountedEvent] = []
    reached = asked.after
    for ids in _pieces(spans):
        for event in await _events(tx, asked, ids):
            quantity = takes.quantity_of(event)
            if quantity is not None:
                found.append(CountedEvent(event.id, quantity))
            if len(found) == limit:
                return Page(found, event.id)
        reached = ids[1]
    is_whole = not spans or reached == spans[-1][1]
    return Page(found, None if is_whole else reached)


async def last_counted(tx: Tx, asked: Asked) -> int | None:
    """Return the last event that was counted; ``None`` where it is not found soon."""
    takes = await _takes(tx, asked)
    for ids in _pieces(await _spans(tx, asked), backwards=True):
        for event in reversed(await _events(tx, asked, ids)):
            if takes.quantity_of(event) is not None:
                return event.id
    return None


async def _events(tx: Tx, asked: Asked, ids: Ids) -> list[EventFacts]:
    return await store.events_within(
        tx,
        ids,
        customer=asked.customer,
        start=asked.start,
        end=asked.end,
        skip_flags=UNCOUNTED,
    )


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


async def _spans(tx: Tx, asked: Asked) -> list[Ids]:
    """Return within which ids the events can be, in order and apart from each other."""
    known = await store.hours_between(tx, asked.start, asked.end)
    spans = [
        (max(known[hour_ms][0], asked.after + 1), min(last, asked.up_to))
        for hour_ms, last in (await hours_of(tx, asked)).items()
        if hour_ms in known
    ]
    return await store.here(tx, _joined(span for span in spans if span[0] <= span[1]))


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
    whole = decode(generation.definition)
    steps = whole.meters.get(asked.meter.name, ())
    # Nothing is learned here: what is told apart is what was when it was counted.
    values = Values(await value_store.read_values(tx), values_max=0)
    folder = Folder(
        Definition(meters={asked.meter.name: steps}),
        await counting.endpoints(tx),
        await counting.cuts_between(tx, asked.start, asked.end),
        values=values,
    )
    return _Takes(asked, folder, await owned.times_of(tx, asked.customer))
