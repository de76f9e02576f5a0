"""One step of counting: which events it takes, and what there is to know of them.

Most events are like others: of the same subject in the same window, with the same route
and the same quantities. So the ledger is asked how many there are of each sort, and what
meters, filters and groups say of a sort is found out once. Where it matters which event
was first, or at which moment it happened, each is read by itself.
"""

from collections.abc import Set
from functools import partial
from typing import Final, NamedTuple

from meterline.events import UNCOUNTED
from meterline_sidecar.store import usage as usage_store
from meterline_sidecar.store.edge import alike, corrections
from meterline_sidecar.store.edge import usage as store
from meterline_sidecar.store.edge.corrections import CorrectionRow, Mark
from meterline_sidecar.store.edge.event_log import last_event_id
from meterline_sidecar.store.edge.usage import Cut, EventFacts, ReadEvents, Span
from meterline_sidecar.store.port import Tx
from meterline_sidecar.store.usage import Generation
from meterline_sidecar.usage import rolled_up
from meterline_sidecar.usage.corrected import fold
from meterline_sidecar.usage.counted import WINDOW_MS
from meterline_sidecar.usage.definition import Definition, decode, looked_at_of
from meterline_sidecar.usage.fold import ROLLED_UP, Delta, Folder, Place
from meterline_sidecar.usage.values import Values, read_values

STEP_EVENTS: Final = 20_000
"""In one transaction, which ingest waits for: of events that are alike, at most 0.1 s."""
STEP_PLACES: Final = 1_500
"""Where a step comes to more than so many, the next one has fewer events: each place is
written thrice, in 20 us. What is imported can be of any subject and time."""
STEP_PLACES_MAX: Final = 2 * STEP_PLACES
"""What comes to more is read again, fewer events of it, before anything is written."""
UNREAD_EVENTS: Final = 1 << 53
"""In a step where there is no meter: all that there are, as none of them is read."""
TRIED_EVENTS: Final = 500
"""Of a long step so many show whether most are like others. Where they are not, such as
numbers of tokens, to sort them takes twice as long as to read each. Of ``n`` events of
``N`` sorts ``n * n / 2 / N`` are like one before, by chance."""

Endpoints = dict[int, tuple[str, str]]
"""Method and route of each, by its id, in order."""


class Step(NamedTuple):
    """Events to be counted in one transaction, and what they come to."""

    before: Generation
    span: Span
    cuts: list[Cut]
    definition: Definition
    values: Values
    folder: Folder
    deltas: dict[Place, Delta]
    is_full: bool
    """Whether there may be more events behind these."""
    is_counted_again: bool
    """Whether another generation counts beside the one that is read."""
    marks: dict[int, Mark]
    """What corrections say of the events."""
    correction: CorrectionRow | None
    """The correction that holds from behind this step on, which is all of it."""


class Pace:
    """How many events the next step takes: few at first, as nobody knows yet how it goes."""

    def __init__(self) -> None:
        self.n_events = STEP_PLACES

    def admits(self, step: Step) -> bool:
        """Say whether a step may be written: all that comes meanwhile waits for it."""
        return len(step.deltas) <= STEP_PLACES_MAX or step.span.n_ids <= 1

    def note(self, step: Step) -> None:
        """Go slower behind a step that came to many places, faster behind one of few."""
        n_places = len(step.deltas)
        if n_places > STEP_PLACES:
            self.n_events = max(1, step.span.n_ids * STEP_PLACES // n_places)
        elif step.is_full and n_places < STEP_PLACES // 2:
            self.n_events = min(STEP_EVENTS, 2 * self.n_events)


class Read(NamedTuple):
    """A step before its events are folded, which may be done in another thread."""

    step: Step
    events: list[EventFacts]

    def folded(self) -> Step:
        """Return the step with what its events come to."""
        deltas = fold(self.step.folder, self.events, self.step.marks)
        return self.step._replace(deltas=deltas)


async def read_step(
    tx: Tx,
    *,
    beside: bool,
    endpoints: Endpoints,
    n_events: int = STEP_EVENTS,
    read_events: ReadEvents | None = None,
) -> Read | None:
    """Return the next step of the generation that is read, or of the one beside it.

    ``None`` where there is none beside it.

    Args:
        n_events: at most so many, and never more than ``STEP_EVENTS``.
        endpoints: those that are known, to which new ones are added.
        read_events: reads each event by itself, also where it left the ledger.

    Raises:
        EventsArchived: without ``read_events``, where events did.
    """
    # Never from memory: a step that was cancelled during COMMIT may be there.
    served, again = await _generations(tx)
    before = again if beside else served
    if before is None:
        return None
    definition = decode(before.definition)
    most = min(n_events, STEP_EVENTS) if definition.meters else UNREAD_EVENTS
    limit, correction = await how_far(tx, before.cursor, served.cursor, n_events=most)
    is_unread = not definition.meters and correction is None
    marks: dict[int, Mark] = {}
    if beside and not is_unread:
        marks = await corrections.marks_in(
            *(tx, before.cursor, before.cursor + limit), up_to_event=served.cursor
        )
    if is_unread:
        # An edge that sends usage counts by its centre's meters, in `fleet`, and has none.
        span, cuts, events = await _none_behind(tx, before.cursor, limit=limit)
    else:
        span, cuts, events = await _events_behind(
            *(tx, before.cursor, definition, read_events),
            limit=limit,
            is_corrected=bool(marks),
        )
    if events or correction is not None:
        endpoints |= await store.endpoints(tx, after=next(reversed(endpoints), 0))
    values = await read_values(tx, definition)
    folder = Folder(definition, endpoints, cuts, values=values, generation=before.id)
    step = Step(
        *(before, span, cuts, definition, values, folder),
        deltas={},
        is_full=span.n_ids >= limit,
        is_counted_again=again is not None,
        marks=marks,
        correction=correction,
    )
    return Read(step, events)


async def _events_behind(
    tx: Tx,
    cursor: int,
    definition: Definition,
    read_events: ReadEvents | None,
    *,
    limit: int,
    is_corrected: bool,
) -> tuple[Span, list[Cut], list[EventFacts]]:
    """Return where the next events are, where windows are cut there, and the events."""
    if read_events is None:
        span = await store.span_after(tx, cursor, limit=limit)
        cuts = await cuts_in(tx, span)
        events = await events_of(tx, definition, span, cuts, is_corrected=is_corrected)
        return span, cuts, events
    events, last_id = await read_events(tx, cursor, skip_flags=UNCOUNTED, limit=limit)
    span = _span(cursor, last_id, events)
    return span, await cuts_in(tx, span), events


async def _none_behind(
    tx: Tx, cursor: int, *, limit: int
) -> tuple[Span, list[Cut], list[EventFacts]]:
    """Return the same where there is nothing to count: none is read, nor its time."""
    last_id = min(max(cursor, await last_event_id(tx)), cursor + limit)
    return Span(cursor, last_id, 0, 0), [], []


async def _generations(tx: Tx) -> tuple[Generation, Generation | None]:
    """Return the generation that is read, and the one beside it."""
    served = await usage_store.newest_generation(tx)
    assert served is not None, "Aggregator.start() comes first"
    return served, await usage_store.generation_beside(tx, served.id)


async def how_far(
    tx: Tx, cursor: int, known_up_to: int, *, n_events: int
) -> tuple[int, CorrectionRow | None]:
    """Return how many events a step takes at most, and the correction that it is.

    A correction is a step by itself: all that it comes to is there at once. Events
    before it are counted before.

    Args:
        known_up_to: corrections up to this event are known from the first event on.
        n_events: what a step takes where there is none.
    """
    following = await corrections.correction_in(
        tx, max(cursor, known_up_to), cursor + n_events
    )
    if following is None:
        return n_events, None
    if following.first_event_id > cursor + 1:
        return following.first_event_id - 1 - cursor, None
    return following.event_id - cursor, following


async def cuts_in(tx: Tx, span: Span) -> list[Cut]:
    """Return where the windows of events are cut; few, as a cut is in one window."""
    if not span.n_ids:
        return []
    first_ms = span.first_ms // WINDOW_MS * WINDOW_MS
    return await store.cuts_between(tx, first_ms, span.last_ms + 1)


async def events_of(
    tx: Tx,
    definition: Definition,
    span: Span,
    cuts: list[Cut],
    *,
    is_corrected: bool,
    skips_rolled_up: bool = False,
) -> list[EventFacts]:
    """Return the events of a span as they are folded: those that are alike as one.

    Args:
        is_corrected: whether corrections are about some of them.
        skips_rolled_up: without those into which others are rolled up.
    """
    looked_at = looked_at_of(definition, span)
    if not cuts and not is_corrected and looked_at is not None:
        alike_in = partial(
            _alike_in,
            tx,
            looked_at=looked_at,
            added_up=definition.added_up,
            skips_rolled_up=skips_rolled_up,
        )
        if span.n_ids <= 2 * TRIED_EVENTS:
            return await alike_in(span)
        tried = span._replace(last_id=span.after_id + TRIED_EVENTS)
        n_alike = TRIED_EVENTS - len(await alike_in(tried))
        if n_alike * span.n_ids >= TRIED_EVENTS**2:  # of half as many sorts, or fewer
            return await alike_in(span)
    skip_flags = UNCOUNTED | ROLLED_UP if skips_rolled_up else UNCOUNTED
    return await store.events_in(tx, span, skip_flags=skip_flags)


async def _alike_in(
    tx: Tx,
    span: Span,
    *,
    looked_at: Set[str],
    added_up: Set[str],
    skips_rolled_up: bool,
) -> list[EventFacts]:
    """Return the events of a span, those that are alike as one; none is rolled up.

    Those that are rolled up stand for others already, and are read one by one.
    """
    skip_flags = UNCOUNTED | ROLLED_UP
    found = await alike.alike_in(
        tx,
        span,
        skip_flags=skip_flags,
        looked_at=looked_at,
        added_up=added_up,
        window_ms=WINDOW_MS,
    )
    if not skips_rolled_up and await store.has_endpoint(tx, rolled_up.SHOWN_AS):
        found += await store.events_in(
            tx, span, skip_flags=UNCOUNTED, only_flags=ROLLED_UP
        )
    return found


def _span(after_id: int, last_id: int, events: list[EventFacts]) -> Span:
    times = [event.time_ms for event in events] or [0]
    return Span(after_id, last_id, min(times), max(times))
