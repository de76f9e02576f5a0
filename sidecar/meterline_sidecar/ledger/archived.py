"""Reads what left the ledger: each file is checked before anything in it is believed."""

import asyncio
from collections.abc import Callable
from hashlib import sha256
from typing import Final, NamedTuple

from meterline_sidecar.errors import ArchiveFailed
from meterline_sidecar.ledger import bundle_lines, bundle_parquet
from meterline_sidecar.ledger.bundle import Bundle
from meterline_sidecar.ledger.shelf import FileMissing, OwnShelf, Shelf
from meterline_sidecar.store.edge import archive as store
from meterline_sidecar.store.edge import events as event_store
from meterline_sidecar.store.edge import parquet
from meterline_sidecar.store.edge import usage as counting
from meterline_sidecar.store.edge.archive import NewMove
from meterline_sidecar.store.edge.begin import begin
from meterline_sidecar.store.edge.usage import EventFacts
from meterline_sidecar.store.port import Tx


class Form(NamedTuple):
    """A form in which bundles are written."""

    suffix: str
    encode: Callable[[Bundle], bytes]
    decode: Callable[[bytes], Bundle]


class Numbered(NamedTuple):
    """An event as it is counted, and by which number it has its place."""

    facts: EventFacts
    producer: str
    """The random id."""
    seq: int


class FileChanged(ArchiveFailed):
    """What is there is not what was written."""


WANTED: Final = "put it there from a copy, or set archive.url to the place that has it"
"""What to do where a file is missing, or another one."""
WANTED_OF_EDGE: Final = (
    "put it there from a copy, or add the place that has it to archive.edges"
)
LINES: Final = Form(bundle_lines.SUFFIX, bundle_lines.encode, bundle_lines.decode)
PARQUET: Final = Form(
    bundle_parquet.SUFFIX, bundle_parquet.encode, bundle_parquet.decode
)


def usual_form() -> Form:
    """Return Parquet where the extra ``archive`` is installed, else JSON Lines."""
    return PARQUET if parquet.is_installed() else LINES


def form_of(file: str) -> Form:
    """Return the form of a file, by the end of its name.

    Raises:
        ArchiveFailed: it ends otherwise.
    """
    for form in (LINES, PARQUET):
        if file.endswith(form.suffix):
            return form
    raise ArchiveFailed(f"{file} is of a form that this Meterline does not know")


class Archived:
    """The files of one ledger's archive.

    Args:
        shelf: where they lie; ``None`` where nobody says.
        key: of the chain.
        of_edges: where those lie that edges of this ledger wrote; ``None``: nowhere that
            can be reached from here.
    """

    def __init__(
        self, shelf: OwnShelf | None, key: bytes, *, of_edges: Shelf | None = None
    ) -> None:
        self.shelf = shelf
        self.of_edges = of_edges
        self.key = key
        self.changing = asyncio.Lock()
        """Held by whoever writes files, or moves what is in them."""
        self._read: tuple[str, list[Numbered]] | None = None
        """The events of the file that was read last: they are asked for step by step."""

    async def bundle(self, move: NewMove, *, is_own: bool = True) -> Bundle:
        """Return what a file holds, after it was compared with what left for it.

        Args:
            is_own: of another ledger, whose key nobody has here, the links are compared
                at both ends alone: what is between has the digest that was noted.

        Raises:
            ArchiveFailed: it cannot be read, or is not the file that was written; the
                text names it, and says what to do.
        """
        try:
            return await self.read_back(move, is_own=is_own)
        except (FileMissing, FileChanged) as error:
            wanted = WANTED if is_own else WANTED_OF_EDGE
            raise type(error)(f"{error}; {wanted}") from error

    async def read_back(self, move: NewMove, *, is_own: bool = True) -> Bundle:
        """Return the same of a file that was just written: nobody has another one.

        Raises:
            ArchiveFailed: as ``bundle``, but for what to do.
        """
        shelf = self.shelf if is_own else self.of_edges
        if shelf is None:
            key_of_place = "archive.url" if is_own else "archive.edges"
            raise ArchiveFailed(
                f"{move.file} is needed, with events {move.first_event_id} to"
                f" {move.last_event_id}: say where it lies with {key_of_place}"
            )
        content = await shelf.get(move.file)
        try:
            # In a thread: it takes as long as counting the events does.
            key = self.key if is_own else None
            return await asyncio.to_thread(_read, move, content, key)
        except ArchiveFailed as error:
            raise type(error)(f"{move.file} at {shelf.place}: {error}") from error

    async def bundle_anew(self, move: NewMove, file: str) -> Bundle:
        """Return what another file holds of what left by a move.

        It proves itself: whatever differs from what left is under seals.

        Raises:
            ArchiveFailed: as ``bundle``.
        """
        if self.shelf is None:
            raise ArchiveFailed(f"{move.file} is needed: say where it lies")
        content = await self.shelf.get(file)
        digest = sha256(content).hexdigest()
        return await self.bundle(move._replace(file=file, digest=digest))

    async def events_after(
        self, tx: Tx, cursor: int, *, skip_flags: int, limit: int
    ) -> tuple[list[EventFacts], int]:
        """Return events behind one as the ledger does, wherever they are.

        Raises:
            ArchiveFailed: as ``bundle``.
        """
        if cursor >= (await begin(tx)).event_id:
            return await counting.events_after(
                tx, cursor, skip_flags=skip_flags, limit=limit
            )
        found = await self.numbered_after(tx, cursor, limit=limit)
        events = [one.facts for one in found if not one.facts.flags & skip_flags]
        return events, found[-1].facts.id

    async def numbered_after(
        self, tx: Tx, cursor: int, *, limit: int
    ) -> list[Numbered]:
        """Return events behind one that left the ledger, of one file.

        Raises:
            ArchiveFailed: as ``bundle``.
        """
        move = await store.file_of_event(tx, cursor + 1)
        if move is None:
            raise ArchiveFailed(f"no file is noted of event {cursor + 1}")
        numbered = await self._numbered(tx, move)
        skip = cursor + 1 - move.first_event_id
        found = numbered[skip : skip + limit]
        if found[-1].facts.id == move.last_event_id:
            self._read = None  # The next ones are asked for.
        return found

    async def _numbered(self, tx: Tx, move: NewMove) -> list[Numbered]:
        if self._read is not None and self._read[0] == move.file:
            return self._read[1]
        bundle = await self.bundle(move)
        names = {
            event.subject for _, event in bundle.numbered() if event.subject is not None
        }
        subjects: dict[str | None, int] = {None: 0}
        subjects.update(await event_store.subjects_of(tx, sorted(names)))
        routes = {
            (method, route): number
            for number, (method, route) in (await counting.endpoints(tx)).items()
        }
        numbered = [
            Numbered(
                EventFacts(
                    event_id,
                    event.time_ms,
                    event.kind,
                    subjects[event.subject],
                    routes[event.method, event.route],
                    event.status,
                    event.duration_us,
                    event.bytes_in,
                    event.bytes_out,
                    event.flags,
                    event.quantities,
                    event.properties,
                ),
                stored.producer,
                event.seq,
            )
            for stored in bundle.batches
            for event_id, event in enumerate(stored.events, stored.batch.first_event_id)
        ]
        self._read = (move.file, numbered)
        return numbered


def _read(move: NewMove, content: bytes, key: bytes | None) -> Bundle:
    if sha256(content).hexdigest() != move.digest:
        raise FileChanged(
            f"it is not the file that was written there, whose SHA-256 is {move.digest}"
        )
    bundle = form_of(move.file).decode(content)
    wrong = bundle.wrong(key)
    if wrong is None and not _fits(bundle, move):
        wrong = "it holds other batches than those that left for it"
    if wrong is not None:
        raise ArchiveFailed(wrong)
    return bundle


def _fits(bundle: Bundle, move: NewMove) -> bool:
    """Say whether a bundle is what left by a move: its ends, and so all between."""
    first, last = bundle.batches[0], bundle.batches[-1]
    return (
        (bundle.previous_mac, last.mac) == (move.previous_mac, move.mac)
        and (first.batch.id, last.batch.id) == (move.first_batch_id, move.last_batch_id)
        and first.batch.first_event_id == move.first_event_id
        and first.batch.first_loss_id == move.first_loss_id
        and (bundle.n_events, bundle.n_losses) == (move.events, move.losses)
    )
