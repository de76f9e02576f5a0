"""Moves the oldest batches out of the ledger into files, and back.

What leaves is the beginning of the chain: batches whole and in order, so that numbers
stay without a hole and the chain goes on from the last link that left. A file is
written, read back and compared before anything is deleted; the row that names it and
the deletion are one transaction. Whoever is killed before it leaves a file that the
next run writes again under the same name, and behind it all is done.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple, Protocol

from meterline.events import UNCOUNTED
from meterline_sidecar.clock import DAY_MS, Clock, format_time_ms
from meterline_sidecar.errors import ArchiveFailed, MeterlineError
from meterline_sidecar.ledger.archived import Archived, Form
from meterline_sidecar.ledger.bundle import Bundle, Stored
from meterline_sidecar.ledger.chain import GENESIS
from meterline_sidecar.ledger.erased import is_erasing
from meterline_sidecar.ledger.writing import (
    BATCHES_MAX,
    BYTES_MAX,
    ROWS_MAX,
    Writer,
    n_bytes_of,
    read_stored,
)
from meterline_sidecar.store import usage as usage_store
from meterline_sidecar.store.edge import archive as store
from meterline_sidecar.store.edge import corrections, edge_files
from meterline_sidecar.store.edge import events as event_store
from meterline_sidecar.store.edge.archive import NewMove
from meterline_sidecar.store.edge.begin import Begin, begin
from meterline_sidecar.store.edge.events import BatchRow, mac_of_batch
from meterline_sidecar.store.journal import ID_MAX
from meterline_sidecar.store.port import Ledger, Tx

ERASING: Final = "a name is being erased, and files of the archive are being rewritten"
STAYS_MS: Final = 7 * DAY_MS
"""What was brought back stays that long, whatever the retention is."""

Judge = Callable[[str | None, int], str | None]
"""Says why an event of a subject at a time must stay; ``None``: it may leave."""
Judging = Callable[[Tx], Awaitable[Judge]]
"""Returns a judge for one snapshot of the ledger."""


class Journal(Protocol):
    """Links rows, so that one that is changed later is found."""

    async def link(self, tx: Tx, entry: str, row_id: int) -> None:
        """Link a row that was written in this transaction."""
        ...


class Copies(Protocol):
    """The files that an edge wrote, for which alone anything leaves its ledger.

    Its centre has noted them, so that one list says what lies where.
    """

    async def oldest(
        self, tx: Tx, start: Begin, before_ms: int
    ) -> tuple[NewMove | None, str | None]:
        """Return the next one, and why something that is old enough stays."""
        ...

    async def why_stays(self, tx: Tx, move: NewMove) -> str | None:
        """Return why what one holds must stay; ``None``: it may leave."""
        ...


class NoSuchFile(MeterlineError):
    """No file of this name holds anything that is away."""


class Step(NamedTuple):
    """What one step of moving did."""

    moved: NewMove | None
    """``None``: nothing is left to do for now."""
    waits: str | None
    """Why something that is old enough stays for now."""


class Archive:
    """Moves what is old enough and settled out of the ledger, a file to a step.

    Args:
        before: returns before when events leave, UTC ms; ``None`` where none do.
        judging: which events are settled as far as money goes.
        copies: at an edge, what its events leave for; no other file is written then.
    """

    def __init__(
        self,
        database: Ledger,
        archived: Archived,
        journal: Journal,
        *,
        form: Form,
        clock: Clock,
        before: Callable[[], int | None],
        judging: Judging,
        copies: Copies | None = None,
    ) -> None:
        self._database = database
        self.archived = archived
        self._journal = journal
        self._clock = clock
        self._writer = Writer(archived, form, clock=clock)
        self._before = before
        self._judging = judging
        self._copies = copies
        self.waits: str | None = None
        """Why something that is old enough stays, as the last step found."""
        self.trouble: str | None = None
        """Why the last file could not be written; ``None`` after a good one."""

    async def run(self) -> int:
        """Move what may leave, gently; return how many files that were.

        What cannot be written stays where it is, and ``trouble`` says why.
        """
        n_files = 0
        loop = asyncio.get_running_loop()
        while True:
            begun_s = loop.time()
            try:
                step = await self.step(by_hand=False)
            except ArchiveFailed:
                return n_files  # it is noted, and the next run tries again
            if step.moved is not None:
                n_files += 1
            elif not await self._database.give_back():
                return n_files
            # Half of the time is the others'.
            await asyncio.sleep(loop.time() - begun_s)

    async def step(self, *, by_hand: bool) -> Step:
        """Move one file out, if there is anything to move.

        Args:
            by_hand: also what was brought back lately.

        Raises:
            ArchiveFailed: the file cannot be written, or read back; nothing was deleted.
        """
        async with self.archived.changing:
            try:
                step = await self._step(by_hand=by_hand)
            except ArchiveFailed as error:
                self.trouble = str(error)
                raise
            self.trouble, self.waits = None, step.waits
        return step

    async def _step(self, *, by_hand: bool) -> Step:
        before_ms = self._before()
        if before_ms is None or self.archived.shelf is None:
            return Step(None, None)
        async with self._database.reading() as tx:
            start = await begin(tx)
            waits = await self._why_not_now(tx, start, by_hand=by_hand)
            if waits is not None:
                return Step(None, waits)
            bundle, move = None, None
            if self._copies is None:
                bundle, waits = await self._oldest(tx, start, before_ms)
            else:
                move, waits = await self._copies.oldest(tx, start, before_ms)
        if bundle is not None and bundle.batches:
            move = await self._writer.write(bundle)
        elif move is not None:
            await self._read_back(move)
        if move is None:
            return Step(None, waits)
        await self._take_out(start, move)
        await self._database.give_back()
        return Step(move, waits)

    async def _why_not_now(self, tx: Tx, start: Begin, *, by_hand: bool) -> str | None:
        """Return why nothing may leave now, whatever it is."""
        if await is_erasing(tx):
            return ERASING
        back = await store.last_back(tx)
        if by_hand or back is None or back.first_batch_id != start.batch_id + 1:
            return None  # What had come back left again since.
        stays_ms = back.moved_ms + STAYS_MS
        if self._clock.now_ms() >= stays_ms:
            return None
        return f"events that were brought back stay until {format_time_ms(stays_ms)}"

    async def _oldest(
        self, tx: Tx, start: Begin, before_ms: int
    ) -> tuple[Bundle, str | None]:
        """Return what may leave next, and why not more of what is old enough."""
        found: list[Stored] = []
        bundle = Bundle(start.mac or GENESIS, found)
        newest = (await event_store.marks(tx)).batch_id
        judge = await self._judging(tx)
        rows = n_bytes = 0
        batches = await event_store.batches_after(tx, start.batch_id, limit=BATCHES_MAX)
        for batch, producer, mac in batches:
            # The newest one stays: by it a ledger that lost its end is told.
            if batch.learned_ms >= before_ms or batch.id == newest:
                break
            day = batch.learned_ms // DAY_MS
            rows += batch.events + batch.losses
            if found and (
                rows > ROWS_MAX
                or n_bytes > BYTES_MAX
                or day != found[0].batch.learned_ms // DAY_MS
            ):
                break
            stored = await read_stored(tx, batch, producer, mac)
            waits = await self._why_stays(tx, batch, stored, before_ms, judge)
            if waits is not None:
                return bundle, waits
            n_bytes += n_bytes_of(stored)
            found.append(stored)
        return bundle, None

    async def _why_stays(
        self, tx: Tx, batch: BatchRow, stored: Stored, before_ms: int, judge: Judge
    ) -> str | None:
        """Return why a batch that is old enough stays; ``None``: it may leave."""
        last_id = batch.first_event_id + batch.events - 1
        waits = await why_not_settled(tx, batch.first_event_id, last_id)
        if waits is not None:
            return waits
        for event_id, event in enumerate(stored.events, batch.first_event_id):
            if event.flags & UNCOUNTED:
                continue
            if event.time_ms >= before_ms:
                at = format_time_ms(event.time_ms)
                return f"event {event_id} came before its time, {at}"
            waits = judge(event.subject, event.time_ms)
            if waits is not None:
                return waits
        return None

    async def _read_back(self, move: NewMove) -> None:
        """Make sure that a copy is what the ledger holds, and is there still.

        Each link in it is proved by the key, and the last one is that of the ledger: so
        all that is in it is what was committed.
        """
        await self.archived.bundle(move)
        async with self._database.reading() as tx:
            if await mac_of_batch(tx, move.last_batch_id) != move.mac:
                raise ArchiveFailed(
                    f"{move.file} is not of the batches of this ledger: run `meterline"
                    " verify`"
                )

    async def _take_out(self, start: Begin, move: NewMove) -> None:
        """Delete what the file holds, and note where it is: both or neither."""
        expected = (
            move.last_batch_id - move.first_batch_id + 1,
            move.events,
            move.losses,
        )
        async with self._database.transaction() as tx:
            unsettled = await why_not_settled(
                tx, move.first_event_id, move.last_event_id
            )
            if self._copies is not None:
                unsettled = unsettled or await self._copies.why_stays(tx, move)
            if await begin(tx) != start or unsettled is not None:
                raise ArchiveFailed("the ledger changed in the meantime; try again")
            deleted = await store.take_out(tx, move)
            if deleted != expected:
                raise ArchiveFailed(
                    f"{deleted} batches, events and losses are where {expected} should"
                    " be: run `meterline verify`"
                )
            await self._journal.link(
                tx, "archive_moves", await store.add_move(tx, move)
            )

    async def bring_back(self, file: str) -> NewMove:
        """Put the newest file back into the ledger, on the way to ``file``; return it.

        The ledger has no hole: whoever wants an older one has all newer ones back, too.

        Raises:
            NoSuchFile: nothing that is away is in a file of that name.
            ArchiveFailed: the file cannot be read, or is not what was written.
        """
        async with self.archived.changing:
            async with self._database.reading() as tx:
                if await is_erasing(tx):
                    raise ArchiveFailed(f"{ERASING}; try again when it is done")
                files = await store.files(tx)
                is_back = await store.came_back(tx, file)
                of_edge = await edge_files.is_of_an_edge(tx, file)
            if file not in {move.file for move in files}:
                why = f"no file {file} holds what is away"
                if is_back:
                    why = f"what {file} holds is in the ledger already"
                elif of_edge:
                    why = (
                        f"what {file} holds was never in this ledger: an edge wrote it,"
                        " and brings it back there"
                    )
                raise NoSuchFile(f"{why}; `meterline archive list` names what is away")
            newest = files[-1]
            bundle = await self.archived.bundle(newest)
            back = newest._replace(is_out=0, moved_ms=self._clock.now_ms())
            async with self._database.transaction() as tx:
                await _put_back(tx, bundle)
                row_id = await store.add_move(tx, back)
                await self._journal.link(tx, "archive_moves", row_id)
        return back


async def why_not_settled(tx: Tx, first_id: int, last_id: int) -> str | None:
    """Return why events cannot leave yet, whoever they are of."""
    served = await usage_store.newest_generation(tx)
    if served is None or served.cursor < last_id:
        return "usage is not counted up to there"
    beside = await usage_store.generation_beside(tx, served.id)
    if beside is not None and beside.cursor < last_id:
        return "the recount has not come that far"
    if await corrections.correction_in(tx, served.cursor, ID_MAX) is not None:
        return "a correction is not counted yet"
    held = await store.undecided(tx, first_id, last_id)
    if held is not None:
        return (
            f"event {held} is held, and nobody has decided about it: `meterline held`"
        )
    return None


async def _put_back(tx: Tx, bundle: Bundle) -> None:
    """Store batches again as they were, by the numbers that names have here."""
    events = [event for _, event in bundle.numbered()]
    names = sorted({event.subject for event in events if event.subject is not None})
    routes = sorted({(event.method, event.route) for event in events})
    subjects: dict[str | None, int] = {None: 0}
    subjects.update(await event_store.subjects_of(tx, names))
    endpoints = await event_store.intern_endpoints(tx, routes)
    producers: dict[str, int] = {}
    for stored in bundle.batches:
        if stored.producer not in producers:
            row = await event_store.find_producer(tx, stored.producer)
            if row is None:
                raise ArchiveFailed(
                    f"producer {stored.producer} is not in this ledger any more: run"
                    " `meterline verify`"
                )
            producers[stored.producer] = row.id
    for batch, producer, _, rows, _, _ in bundle.batches:
        await event_store.add_events(
            tx,
            [
                (
                    event_id,
                    producers[producer],
                    *event[:3],
                    subjects[event.subject],
                    endpoints[event.method, event.route],
                    *event[6:],
                )
                for event_id, event in enumerate(rows, batch.first_event_id)
            ],
        )
    await store.put_back(
        tx,
        [
            (stored.batch._replace(producer_id=producers[stored.producer]), stored.mac)
            for stored in bundle.batches
        ],
        [
            (loss_id, producers[stored.producer], loss)
            for stored in bundle.batches
            for loss_id, loss in enumerate(stored.losses, stored.batch.first_loss_id)
        ],
    )
