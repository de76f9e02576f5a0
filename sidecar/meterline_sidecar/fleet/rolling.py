"""What events of an edge come to since the last time, and by which meters; pure but for
reading."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from msgspec.structs import replace

from meterline.events import UNCOUNTED, Flag, Kind
from meterline_sidecar.fleet.elsewhere import Parts, below, is_within
from meterline_sidecar.ledger.archived import Archived
from meterline_sidecar.store.edge import roll_ups as store
from meterline_sidecar.store.edge import usage as counting
from meterline_sidecar.store.edge.events import EventRow
from meterline_sidecar.store.edge.roll_ups import RollUp
from meterline_sidecar.store.edge.usage import EventFacts
from meterline_sidecar.store.port import Tx
from meterline_sidecar.usage import rolled_up
from meterline_sidecar.usage.counted import WINDOW_MS
from meterline_sidecar.usage.definition import Definition, Step, decode
from meterline_sidecar.usage.fold import Delta, Folder, Place
from meterline_sidecar.usage.rolled_up import RolledUp
from meterline_sidecar.usage.step import Endpoints, events_of
from meterline_sidecar.usage.values import Values


@dataclass(slots=True)
class Sum:
    """What events come to that are rolled up at once."""

    roll_up: RollUp
    folder: Folder
    values: Values
    endpoints: Endpoints
    cursor: int
    is_all: bool = False
    """Whether nothing was behind them."""
    covers: dict[str, int] = field(default_factory=dict[str, int])
    """Up to which number of each producer they go."""
    deltas: dict[Place, Delta] = field(default_factory=dict[Place, Delta])
    last_ms: dict[tuple[int, int], int] = field(
        default_factory=dict[tuple[int, int], int]
    )
    n_events: Counter[tuple[int, int]] = field(default_factory=Counter[tuple[int, int]])
    """By subject and window: when the last of them happened, and how many there are."""
    elsewhere: Parts = field(default_factory=dict[str, Sequence[tuple[int, int]]])
    """Numbers of producers that are left out: another edge has counted them."""

    def add_covers(self, covers: Mapping[str, int]) -> None:
        """Note up to which number of each producer all is read."""
        for producer, seq in covers.items():
            own = below(seq, self.elsewhere.get(producer, ()))
            if own:
                self.covers[producer] = max(own, self.covers.get(producer, 0))

    def add(self, events: list[EventFacts]) -> None:
        """Add events."""
        for place, delta in self.folder.fold(events).items():
            known = self.deltas.setdefault(place, Delta())
            self.folder.merge(known.totals, more=delta.totals)
            for meter, values in delta.unique.items():
                known.unique.setdefault(meter, set()).update(values)
        for event in events:
            key = (event.subject_id, event.time_ms // WINDOW_MS * WINDOW_MS)
            self.last_ms[key] = max(self.last_ms.get(key, 0), event.time_ms)
            self.n_events[key] += event.n_events

    def time_of(self, place: Place) -> int:
        """Return when the last event of a place's subject and window happened."""
        return self.last_ms[place.subject_id, place.window_ms]


async def add_step(tx: Tx, definition: Definition, found: Sum, *, limit: int) -> None:
    """Read and add the next events, at most so many."""
    span = await counting.span_after(tx, found.cursor, limit=limit)
    found.is_all = span.n_ids < limit
    if not span.n_ids:
        return
    after = next(reversed(found.endpoints), 0)
    found.endpoints |= await counting.endpoints(tx, after=after)
    covers = await store.covered(tx, span.after_id, span.last_id)
    found.add_covers(covers)
    before: set[int] = set()
    for producer in covers.keys() & found.elsewhere.keys():
        for part in found.elsewhere[producer]:
            among = (span.after_id, span.last_id)
            before |= await store.events_of_part(tx, producer, part, among)
    if await store.has_rolled_up_before(tx):
        before |= await store.rolled_up_before(tx, span.after_id, span.last_id)
    events = await events_of(
        tx,
        definition,
        span,
        [],
        is_corrected=bool(before),
        skips_rolled_up=True,
    )
    if before:
        events = [event for event in events if event.id not in before]
    found.add(events)
    found.cursor = span.last_id


async def add_archived_step(
    tx: Tx, found: Sum, archived: Archived, *, limit: int
) -> None:
    """Add the next events where they left the ledger, at most so many of a file.

    Raises:
        ArchiveFailed: the file cannot be read.
    """
    numbered = await archived.numbered_after(tx, found.cursor, limit=limit)
    after = next(reversed(found.endpoints), 0)
    found.endpoints |= await counting.endpoints(tx, after=after)
    before = await store.all_rolled_up_before(tx)
    events = [
        facts
        for facts, producer, seq in numbered
        if not facts.flags & UNCOUNTED
        and seq > before.get(producer, 0)
        and not is_within(seq, found.elsewhere.get(producer, ()))
    ]
    await asyncio.to_thread(found.add, events)  # as long as reading the file
    for _, producer, seq in numbered:
        found.add_covers({producer: seq})
    found.cursor = numbered[-1].facts.id


def as_counted_here(
    wanted: Definition, known: RollUp | None, is_the_same: bool
) -> Definition:
    """Return what the centre's meters measure, by the numbers of this ledger's events.

    What holds there from the first event on does so here. What holds behind one that was
    counted when it was learned holds here behind what is rolled up.

    Args:
        known: the same counting as it was followed, or the newest other one.
    """
    before = {} if known is None else decode(known.definition).meters
    cursor = 0 if known is None else known.cursor

    def here(name: str, i: int, step: Step) -> Step:
        of_before = before.get(name, ())
        is_known = i < len(of_before) and (
            is_the_same
            or (of_before[i].from_ms, of_before[i].meter) == (step.from_ms, step.meter)
        )
        if is_known and (is_the_same or step.after_event_id):
            return of_before[i]
        return replace(step, after_event_id=cursor if step.after_event_id else 0)

    return replace(
        wanted,
        meters={
            name: tuple(here(name, i, step) for i, step in enumerate(steps))
            for name, steps in wanted.meters.items()
        },
    )


def pieces_of(found: Sum, *, epoch: str) -> list[tuple[Place, RolledUp]]:
    """Return what is stored of each place; what is too large is several."""
    by_subject = {
        name
        for name, steps in decode(found.roll_up.definition).meters.items()
        if any(
            step.meter is not None and step.meter.value == "subject" for step in steps
        )
    }
    pieces: list[tuple[Place, RolledUp]] = []
    told: set[tuple[int, int]] = set()
    for place, delta in sorted(found.deltas.items()):
        key = (place.subject_id, place.window_ms)
        whole = RolledUp(
            generation=found.roll_up.generation,
            epoch=epoch[: rolled_up.EPOCH_CHARS],
            events=0 if key in told else found.n_events[key],
            labels=place.labels,
            totals=delta.totals,
            unique=_values_of(delta.unique, by_subject, place.subject_id),
        )
        told.add(key)
        pieces += [(place, piece) for piece in rolled_up.in_pieces(whole)]
    return pieces


def rows_of(
    found: Sum,
    names: Mapping[int, str],
    *,
    epoch: str,
    own: Set[str],
    after_seq: int,
) -> list[EventRow]:
    """Return what is stored of a sum, as events of an epoch.

    Args:
        found: of it there is something.
        names: of subjects, by their ids.
        epoch: its producer.
        own: producers of the ledger's own, of which nothing is covered.
        after_seq: the last number of the epoch.
    """
    pieces = pieces_of(found, epoch=epoch)
    covers = [cover for cover in found.covers.items() if cover[0] not in own]
    texts = rolled_up.covering([piece for _, piece in pieces], covers)
    subjects = [names.get(place.subject_id) for place, _ in pieces]
    times = [found.time_of(place) for place, _ in pieces]
    n_more = len(texts) - len(pieces)
    subjects += subjects[-1:] * n_more
    times += times[-1:] * n_more
    return [
        EventRow(
            seq=after_seq + 1 + i,
            time_ms=at_ms,
            kind=int(Kind.USE),
            subject=subject,
            method="",
            route=rolled_up.SHOWN_AS,
            status=0,
            duration_us=0,
            bytes_in=0,
            bytes_out=0,
            flags=int(Flag.ROLLED_UP),
            quantities=None,
            properties=rolled_up.stored(rolled_up.encode(text)),
        )
        for i, (subject, at_ms, text) in enumerate(
            zip(subjects, times, texts, strict=True)
        )
    ]


def _values_of(
    unique: Mapping[str, set[str]], by_subject: set[str], subject_id: int
) -> dict[str, list[str | None]]:
    found: dict[str, list[str | None]] = {}
    for meter, values in unique.items():
        found[meter] = [*sorted(values)]
        if meter in by_subject and str(subject_id) in values:
            # Its number here means nothing at the centre.
            others = sorted(values - {str(subject_id)})
            found[meter] = [rolled_up.SUBJECT, *others]
    return found
