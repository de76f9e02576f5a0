"""Stores again what files of the archive have behind the end of a ledger that was put back.

What came after a backup may have left the lost ledger for files since. Each batch in them
has its link of the chain, so it is proved by the key, and stored as it was the first time:
under its numbers, by its producer, with the same link. Whoever has it still and sends it
again is told that it is here.

Not all can be stored so: where an event has more in a ledger than its row, of which the
files have nothing, it ends, because that event might count twice later.
"""

from typing import Final

from meterline.events import LEFT_OUT, Flag
from meterline.wire import VERSION, Hello
from meterline_sidecar.errors import ArchiveFailed
from meterline_sidecar.ingest.commit import Committer, Piece, Producer
from meterline_sidecar.ingest.own_producer import OWN_PID
from meterline_sidecar.ingest.producer_row import new_row
from meterline_sidecar.ledger.archived import form_of
from meterline_sidecar.ledger.bundle import Bundle, Stored
from meterline_sidecar.ledger.chain import GENESIS
from meterline_sidecar.ledger.restore import Later
from meterline_sidecar.ledger.shelf import FILES_OF, OwnShelf, first_event_of
from meterline_sidecar.store import fleet
from meterline_sidecar.store.edge import events as event_store
from meterline_sidecar.store.edge.events import Marks, ProducerRow
from meterline_sidecar.store.port import Ledger
from meterline_sidecar.terms.book import Terms

REACH: Final = 1 << 18
"""So many events before the one that is looked for its file may begin: several times what
a file holds."""
LOOKED_AT_MAX: Final = 50
"""So many files are read to find the next one: others may have theirs in the same place."""
APP: Final = "from the archive"
"""What a producer is called of which the backup knows nothing."""

_NAMED: Final = Flag.EXTERNAL | Flag.NAMED | Flag.DUPLICATE | Flag.CONFLICT
_WHY: Final = (
    (
        _NAMED,
        "has an id of its sender's, which no file has: sent again, it would count",
    ),
    (Flag.RELEASED, "stands for one that was held, and whose decision is not here"),
    (Flag.CORRECTION, "is of a correction that is not here"),
    (Flag.ROLLED_UP, "is what an edge rolled up, which sends it again"),
)


class _Then:
    """The time at which a batch was stored the first time."""

    rehearsal: str | None = None

    def __init__(self) -> None:
        self.time_ms = 0

    def now_ms(self) -> int:
        return self.time_ms


async def store_from_files(ledger: Ledger, shelf: OwnShelf, key: bytes) -> Later:
    """Store what files have behind the last batch, as far as nothing can count twice.

    Nobody else writes the ledger meanwhile.

    Args:
        shelf: where the files of this ledger lie, perhaps among others.
        key: of the chain.
    """
    found = Later()
    async with ledger.reading() as tx:
        terms = Terms()
        await terms.catch_up(tx)
        is_centre = bool(await fleet.list_edges(tx))
    if is_centre:
        found.ended = "this is a centre, to which edges send what they have again"
        return found
    then = _Then()
    committer = Committer(
        ledger, clock=then, key=key, history_of=lambda name: terms.claims.history(name)
    )
    await committer.start()
    while found.ended is None:
        async with ledger.reading() as tx:
            marks = await event_store.marks(tx)
        name, batches, trouble = await _next(shelf, marks, key)
        if name is None:
            found.ended = trouble
            return found
        for stored in batches:
            found.ended = why_not(stored)
            if found.ended is not None:
                found.ended = f"{name}: {found.ended}"
                break
            then.time_ms = stored.batch.learned_ms
            await _store(ledger, committer, stored)
            found.events += len(stored.events)
            if name not in found.files:
                found.files.append(name)
    return found


async def _next(
    shelf: OwnShelf, marks: Marks, key: bytes
) -> tuple[str | None, list[Stored], str | None]:
    """Return the file that goes on, its batches from there, or what could not be read."""
    trouble: str | None = None
    wanted = marks.event_id + 1
    try:
        names = await _names_up_to(shelf, wanted)
    except ArchiveFailed as error:
        return None, [], str(error)
    begins = {
        name: first
        for name in names
        if (first := first_event_of(name)) is not None and first <= wanted
    }
    for name in sorted(begins, key=lambda name: -begins[name])[:LOOKED_AT_MAX]:
        try:
            content = await shelf.get(name)
        except ArchiveFailed as error:
            trouble = trouble or str(error)
            continue
        try:
            bundle = form_of(name).decode(content)
        except ArchiveFailed as error:
            trouble = trouble or f"{name} at {shelf.place}: {error}"
            continue
        batches = _behind(bundle, marks)
        if batches is None:
            continue
        if not batches:
            return None, [], trouble  # What goes on would begin where this one ends.
        wrong = Bundle(marks.mac or GENESIS, batches).wrong(key)
        if wrong is None:
            return name, batches, None
        trouble = f"{name} at {shelf.place}: {wrong}"
    if len(begins) > LOOKED_AT_MAX:
        trouble = trouble or (
            f"of {len(begins)} files at {shelf.place}, {LOOKED_AT_MAX} were read, and none"
            f" of them goes on with batch {marks.batch_id + 1}"
        )
    return None, [], trouble


async def _names_up_to(shelf: OwnShelf, wanted: int) -> list[str]:
    """Return the names of files that begin at an event, or up to ``REACH`` before it.

    There may be thousands: where few events come, each hour of them is a file.
    """
    names: list[str] = []
    place, end = (
        f"{FILES_OF}{max(0, wanted - REACH):012}",
        f"{FILES_OF}{wanted + 1:012}",
    )
    while place < end and (page := await shelf.names(place)):
        names += page
        place = page[-1]
    return names


def _behind(bundle: Bundle, marks: Marks) -> list[Stored] | None:
    """Return the batches behind the last one here; ``None``: it does not go on from there.

    Of a file that ends with that one there are none.
    """
    places = {stored.batch.id: i for i, stored in enumerate(bundle.batches)}
    first = places.get(marks.batch_id + 1, len(bundle.batches))
    previous = bundle.batches[first - 1].mac if first else bundle.previous_mac
    return list(bundle.batches[first:]) if previous == (marks.mac or GENESIS) else None


def why_not(stored: Stored) -> str | None:
    """Return why a batch cannot be stored from its file alone; ``None``: it can."""
    if stored.seal is not None:
        return f"a name was erased from batch {stored.batch.id} since"
    for event_id, event in enumerate(stored.events, stored.batch.first_event_id):
        for flags, why in _WHY:
            if event.flags & flags:
                return f"event {event_id} {why}"
    return None


async def _store(ledger: Ledger, committer: Committer, stored: Stored) -> None:
    """Store a batch as it was stored the first time.

    Raises:
        ArchiveFailed: it does not come to the same link.
    """
    row = await _producer_of(ledger, stored)
    events = stored.events
    piece = Piece(
        producer=Producer(row=row, next_seq=stored.batch.last_seq + 1),
        last_seq=stored.batch.last_seq,
        recorded_seq=stored.batch.last_seq,
        events=events,
        losses=stored.losses,
        unattributed=sum(event.subject is None for event in events),
        held=sum(event.flags & Flag.HELD != 0 for event in events),
        bad_quantities=sum(event.flags & LEFT_OUT != 0 for event in events),
    )
    head = await committer.write([piece])
    if head is None or head.mac != stored.mac:
        raise ArchiveFailed(
            f"batch {stored.batch.id} of a file does not follow on what is here: `meterline"
            " restore --without-archive` leaves the files aside"
        )


async def _producer_of(ledger: Ledger, stored: Stored) -> ProducerRow:
    async with ledger.transaction() as tx:
        row = await event_store.find_producer(tx, stored.producer)
        if row is None:
            hello = Hello(VERSION, stored.producer, APP, "", OWN_PID, started_ms=0)
            await event_store.add_producer(
                tx, new_row(hello, seen_ms=stored.batch.learned_ms, is_closed=True)
            )
            row = await event_store.find_producer(tx, stored.producer)
    assert row is not None, "it was added just now"
    return row
