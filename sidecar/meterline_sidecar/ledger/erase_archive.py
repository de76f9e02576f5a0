"""Writes files of the archive anew, without a name that is being erased.

A new file lies beside the old one and is read back before anything else happens; a batch
that changed in it is sealed as in the ledger. The rows that name the new files are
written in the transaction that takes the name out of the ledger, so that both change at
once. The old files are deleted last. Whoever is killed in between goes on with the file
where that was.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Final, Literal, NamedTuple

from msgspec.structs import replace

from meterline_sidecar.clock import Clock
from meterline_sidecar.errors import ArchiveFailed
from meterline_sidecar.ledger.archived import Archived, form_of
from meterline_sidecar.ledger.bundle import Bundle
from meterline_sidecar.ledger.erase_step import (
    Name,
    holds,
    n_events,
    names_of,
    without_name,
)
from meterline_sidecar.ledger.erased import Erasing, keep
from meterline_sidecar.ledger.erased_list import mark_of
from meterline_sidecar.ledger.shelf import FileMissing, file_name
from meterline_sidecar.store.edge import archive as archive_store
from meterline_sidecar.store.edge import edge_files, erasing_files
from meterline_sidecar.store.edge import erase as store
from meterline_sidecar.store.edge.archive import Move, NewMove
from meterline_sidecar.store.edge.edge_files import OWN
from meterline_sidecar.store.edge.erasing_files import Anew
from meterline_sidecar.store.port import Ledger, Tx

FILES_PER_READ: Final = 100
State = Literal["away", "back", "copy"]
"""Whether what a file holds left the ledger, came back, or never left: an edge wrote it."""
Link = Callable[[Tx, str, int], Awaitable[None]]
"""Links a row of a table to the journal."""

log = logging.getLogger(__name__)


class InFiles(NamedTuple):
    """What files of the archive hold of a name."""

    events: int
    """Of those that are away."""
    files: tuple[str, ...]
    unread: tuple[str, ...]
    """What cannot be read, and why: it may hold the name."""


class FilesAnew:
    """The files of the archive that an erasure writes anew."""

    def __init__(self, database: Ledger, archived: Archived, *, clock: Clock) -> None:
        self._database = database
        self._archived = archived
        self._clock = clock

    async def look(self, erasing: Erasing) -> InFiles:
        """Return which files hold a name; nothing is changed."""
        found, unread, events = list[str](), list[str](), 0
        at = erasing
        while files := await self._files(at):
            for move, state in files:
                at, is_away = _behind(at, move, state), state == "away"
                try:
                    bundle = await self._archived.bundle(move.what)
                except FileMissing as error:
                    if is_away:
                        unread.append(str(error))
                    continue
                except ArchiveFailed as error:
                    unread.append(str(error))
                    continue
                changed = await asyncio.to_thread(_changed, bundle, erasing)
                if changed:
                    found.append(move.what.file)
                    of_name = [bundle.batches[i] for i in changed]
                    events += n_events(of_name, erasing) if is_away else 0
        return InFiles(events, tuple(found), tuple(unread))

    async def write(self, erasing: Erasing) -> Erasing:
        """Write all files anew that hold the name; return how far it is then.

        Raises:
            ArchiveFailed: one cannot be read or written; the text names it. What is
                done stays, and the next time goes on there.
        """
        while files := await self._files(erasing):
            for move, state in files:
                erasing = await self._write(erasing, move, state)
        return erasing

    async def put_in_place(self, tx: Tx, link: Link) -> None:
        """Let the new files take the place of the old ones, in the ledger."""
        for anew in await erasing_files.waiting(tx):
            if anew.is_away:
                row_id = await archive_store.add_move(tx, anew.move)
                await link(tx, "archive_moves", row_id)
            copy = await edge_files.file_named(tx, OWN, anew.old_file)
            if copy is not None:
                learned_ms = copy.what.learned_ms
                made = edge_files.file_of(anew.move, edge_id=OWN, learned_ms=learned_ms)
                await link(tx, "edge_files", await edge_files.add_file(tx, made))

    async def clear(self) -> int:
        """Delete the old files, once the new ones are in place; return how many.

        Raises:
            ArchiveFailed: one cannot be deleted, or the new one cannot be read.
        """
        async with self._database.reading() as tx:
            waiting = await erasing_files.waiting(tx)
        for anew in waiting:
            try:
                if anew.is_away:
                    await self._archived.bundle(anew.move)
                assert self._archived.shelf is not None
                await self._archived.shelf.delete(anew.old_file)
            except ArchiveFailed as error:
                raise ArchiveFailed(
                    f"the name is out of the ledger; {anew.old_file} holds it still:"
                    f" {error}. The sidecar tries again, and so does the same command"
                ) from error
            async with self._database.transaction() as tx:
                await erasing_files.drop(tx, anew.old_file)
        return len(waiting)

    async def _files(self, at: Erasing) -> list[tuple[Move, State]]:
        """Return the next files: of the archive, and then those that an edge wrote."""
        async with self._database.reading() as tx:
            written = await archive_store.ever_written(
                tx, after=at.file_id, limit=FILES_PER_READ
            )
            if written:
                return [(move, "away" if out else "back") for move, out in written]
            copies = await edge_files.copies_after(
                tx, at.edge_file_id, limit=FILES_PER_READ
            )
        return [(Move(file.id, file.what.as_move()), "copy") for file in copies]

    async def _write(self, erasing: Erasing, move: Move, state: State) -> Erasing:
        """Write one file anew, if it holds the name."""
        after, is_away = _behind(erasing, move, state), state == "away"
        try:
            old, is_known = await self._old(erasing, move.what, state)
        except ArchiveFailed as error:
            is_missing = isinstance(error, FileMissing)
            if is_away or (state == "copy" and not is_missing):
                raise
            if not is_missing:
                # Its events are in the ledger, and nobody needs it.
                log.warning("an erased name may be in a file: %s", error)
            return await self._done(after)
        key = self._archived.key
        changed = await asyncio.to_thread(_changed, old, erasing)
        names: list[Name] = []
        if is_away:
            async with self._database.reading() as tx:
                names = await names_of(tx, key, erasing, dict(old.numbered()))
        if not changed and is_known:
            return await self._done(after, names=names)
        batches = list(old.batches)
        for i in changed:
            batches[i] = without_name(batches[i], key, erasing)
        made = await self._put(erasing, move.what, Bundle(old.previous_mac, batches))
        anew = Anew(move.what.file, made, is_away)
        if not is_away:
            return await self._done(after, anew)
        after = replace(
            after,
            batches=erasing.batches + len(changed),
            events=erasing.events
            + n_events([old.batches[i] for i in changed], erasing),
        )
        seals = [
            (one.batch.id, one.seal)
            for i, one in enumerate(batches)
            if one.seal is not None and (i in changed or not is_known)
        ]
        return await self._done(after, anew, seals, names)

    async def _old(
        self, erasing: Erasing, move: NewMove, state: State
    ) -> tuple[Bundle, bool]:
        """Return what a file holds, and whether it is the one that the ledger knows.

        A ledger that was put back knows a file that was written anew since.
        """
        found, is_known = None, True
        try:
            found = await self._archived.bundle(move)
        except FileMissing:
            is_known = False
            for mark in () if state == "back" else erasing.marks:
                with contextlib.suppress(FileMissing):
                    name = _name(mark, move)
                    found = await self._archived.bundle_anew(move, name)
                    break
            if found is None:
                raise
        batches = [
            one._replace(events=erasing.as_before(one.events)) for one in found.batches
        ]
        return Bundle(found.previous_mac, batches), is_known

    async def _put(self, erasing: Erasing, move: NewMove, bundle: Bundle) -> NewMove:
        """Write a file beside the one that is there, and read it back."""
        shelf, form = self._archived.shelf, form_of(move.file)
        assert shelf is not None, "the old file was read from it"
        content = await asyncio.to_thread(form.encode, bundle)
        made = move._replace(
            file=_name(mark_of(erasing.alias), move),
            file_bytes=len(content),
            digest=sha256(content).hexdigest(),
            moved_ms=self._clock.now_ms(),
        )
        await shelf.put(made.file, content)
        if await self._archived.read_back(made) != bundle:
            raise ArchiveFailed(f"{made.file} does not read as it was written")
        return made

    async def _done(
        self,
        erasing: Erasing,
        anew: Anew | None = None,
        seals: list[tuple[int, bytes]] | None = None,
        names: list[Name] | None = None,
    ) -> Erasing:
        """Note that a file was looked at, and what follows from it."""
        async with self._database.transaction() as tx:
            if anew is not None:
                await erasing_files.add(tx, anew)
            await store.put_seals(tx, erasing.id, "batches", seals or [])
            await store.rename_external(tx, names or [])
            await keep(tx, erasing)
        return erasing


def _behind(at: Erasing, move: Move, state: State) -> Erasing:
    """Return how far an erasure is behind a file."""
    if state == "copy":
        return replace(at, edge_file_id=move.id)
    return replace(at, file_id=move.id)


def _changed(bundle: Bundle, erasing: Erasing) -> list[int]:
    """Return which batches an erasure changes, by their places."""
    return [i for i, one in enumerate(bundle.batches) if holds(one, erasing)]


def _name(mark: str, move: NewMove) -> str:
    suffix = form_of(move.file).suffix
    return file_name(move.first_event_id, move.mac, suffix, anew=mark)
