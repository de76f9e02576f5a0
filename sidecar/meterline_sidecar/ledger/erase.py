"""Takes a subject's name out of the ledger, and keeps every sum and both chains.

An alias, which nobody can read a name from, takes its place. Events are of a subject by
its number, so the name stands once, beside that number; but links of the chain were made
over it. So first files of the archive are written anew (``erase_archive``), texts are
replaced (``erase_texts``), and every batch in which the name stands is sealed, some to a
step (``erase_step``). Then, in one transaction, the name is replaced wherever it stands,
and a row says that this was done, by whom and why. Old files are deleted last. Whoever is
killed in between goes on at the next start: what is not done yet is kept until it is.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from meterline_sidecar.clock import Clock
from meterline_sidecar.files import LedgerFiles
from meterline_sidecar.ledger import erased_list
from meterline_sidecar.ledger.archived import Archived
from meterline_sidecar.ledger.erase_archive import FilesAnew
from meterline_sidecar.ledger.erase_begin import Wanted, new_erasure
from meterline_sidecar.ledger.erase_step import next_step
from meterline_sidecar.ledger.erase_texts import Mention, mentions, replace_texts
from meterline_sidecar.ledger.erased import (
    UNDER_WAY,
    ErasedWord,
    EraseRefused,
    Erasing,
    keep,
    name_digest,
    under_way,
)
from meterline_sidecar.ledger.erased_list import Listed
from meterline_sidecar.ledger.erased_words import (
    Missing,
    known_aliases,
    missing_words,
    note_words,
)
from meterline_sidecar.ledger.journal import is_as_written, seal_erased
from meterline_sidecar.ledger.traces import files_with
from meterline_sidecar.store import facts
from meterline_sidecar.store.edge import erase as store
from meterline_sidecar.store.edge import erasing_files
from meterline_sidecar.store.edge import events as event_store
from meterline_sidecar.store.edge.erase import NewErasure
from meterline_sidecar.store.port import Ledger, Tx
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.terms.change import decode, encode, renamed

SPOOLS_LOOK_S: Final = 0.25
SPOOLS_LOOKS: Final = 60
"""15 s: living workers ship within one, and what dead ones left is taken in every five."""

log = logging.getLogger(__name__)


class Journal(Protocol):
    """Links rows, so that one that is changed later is found."""

    async def link(self, tx: Tx, entry: str, row_id: int) -> None:
        """Link a row that was written in this transaction."""
        ...


class Holds(NamedTuple):
    """What holds a name."""

    events: int
    files: tuple[str, ...]
    """Files of the archive."""
    unread: tuple[str, ...]
    """Files that cannot be read now, and why."""
    mentions: tuple[Mention, ...]
    """In how many rows it stands in texts, by table."""
    spools: tuple[str, ...]
    """Spools in which workers keep what they recorded lately."""


class Done(NamedTuple):
    """A name that was erased, and what became of it."""

    row: NewErasure
    texts: dict[str, int]
    """In how many rows of which tables texts were replaced."""


class Eraser:
    """Erases names, one after the other.

    Args:
        archived: the files of what left the ledger.
        terms: what was agreed, in which a name may be claimed.
        files: of the ledger.
        forget: forgets under which number whoever ingests knows a name.
        spool_dir: where workers keep what is not stored yet.
        key: of the chain.
    """

    def __init__(
        self,
        database: Ledger,
        archived: Archived,
        journal: Journal,
        *,
        terms: Terms,
        forget: Callable[[], None],
        files: LedgerFiles,
        spool_dir: Path,
        clock: Clock,
        key: bytes,
    ) -> None:
        self._database = database
        self._archived = archived
        self._journal = journal
        self._terms = terms
        self._forget = forget
        self._files = files
        self._spool_dir = spool_dir
        self._clock = clock
        self._key = key
        self._anew = FilesAnew(database, archived, clock=clock)
        self._working = asyncio.Lock()
        self._is_compared = False
        """Whether this ledger was compared with the list beside it."""
        self.missing: Missing = {}
        """Words that have to be named again, as far as it was compared."""

    async def look(self, wanted: Wanted) -> Holds:
        """Return what holds a name.

        Raises:
            EraseRefused: it cannot be erased; the text says why.
        """
        async with self._database.reading() as tx:
            erasing = await new_erasure(tx, self._terms, wanted)
            last = (await event_store.marks(tx)).event_id
            n_events = await store.events_before(
                tx, last, subject_id=erasing.subject_id, limit=last
            )
        in_files = await self._anew.look(erasing)
        return Holds(
            n_events + in_files.events,
            in_files.files,
            in_files.unread,
            await self.mentions(wanted),
            await self.spools(wanted),
        )

    async def erase(self, wanted: Wanted) -> Done:
        """Erase a name, or go on with it where that was interrupted.

        Raises:
            EraseRefused: it cannot be erased; the text says why.
            ArchiveFailed: a file of the archive cannot be read, written or deleted; the
                text names it. The erasure stays open, and goes on when it is tried again.
        """
        async with self._working:
            erasing, row = await self._open(wanted)
            if erasing is not None:
                return await self._finish(erasing)
            if row is not None:  # only old files were left
                return Done(row, {})
            await self._wait_for_spools(wanted)
            async with self._archived.changing, self._database.transaction() as tx:
                known = await known_aliases(tx, self._key, wanted.also)
                erasing = await new_erasure(tx, self._terms, wanted, known=known)
                await keep(tx, erasing)
            return await self._finish(erasing)

    async def _open(self, wanted: Wanted) -> tuple[Erasing | None, NewErasure | None]:
        """Return what of this erasure is open, or was until old files were deleted."""
        async with self._database.reading() as tx:
            erasing = await under_way(tx)
            digest = name_digest(self._key, wanted.subject)
            row = await store.last_erasure(tx)
            is_left = row is not None and row.digest == digest
            is_left = is_left and bool(await erasing_files.waiting(tx))
        if erasing is not None and erasing.subject != wanted.subject:
            raise EraseRefused("another erasure is under way; try again soon")
        if erasing is None:
            await self._anew.clear()
        return erasing, row if is_left else None

    async def resume(self) -> int:
        """Go on with what is open, and do again what a restore undid.

        Returns how many names were erased.

        Raises:
            EraseRefused, ArchiveFailed: as ``erase``.
        """
        async with self._working:
            async with self._database.reading() as tx:
                erasing = await under_way(tx)
                has_erased = await store.last_erasure(tx) is not None
            n_names = 0
            if erasing is None:
                await self._anew.clear()
                if has_erased and not self._is_compared:
                    # Whoever was killed behind an erasure may have left it there.
                    await self._database.empty_wal()
            else:
                await self._finish(erasing)
                n_names += 1
            # An alias may have been erased, too: it is here once its name is not.
            while undone := await self._undone():
                for listed, subject in undone:
                    log.warning(
                        "erasure %s was undone, and is done again", listed.alias
                    )
                    await self._again(listed, subject)
                    n_names += 1
            self._is_compared = True
            async with self._database.reading() as tx:
                self.missing = await missing_words(tx)
            return n_names

    async def _undone(self) -> list[tuple[Listed, str]]:
        """Return names that were erased and are here again, by what lies beside."""
        if self._is_compared:
            return []
        listed = await asyncio.to_thread(erased_list.read, self._files.erased)
        async with self._database.reading() as tx:
            return await erased_list.undone(tx, self._key, listed)

    async def _again(self, listed: Listed, subject: str) -> None:
        marks = await asyncio.to_thread(erased_list.marks, self._files.erased)
        wanted = Wanted(subject, (), listed.author, listed.reason)
        async with self._archived.changing, self._database.transaction() as tx:
            erasing = await new_erasure(
                *(tx, self._terms, wanted),
                alias=listed.alias,
                again=listed.also,
                marks=marks,
            )
            await keep(tx, erasing)
        await self._finish(erasing)

    async def remains(self, wanted: Wanted) -> int:
        """Fold all in, and return how often it still stands in the ledger's files.

        That is in rows that stay, or in free room, where a row was before.
        """
        await self._database.empty_wal()
        paths = (self._files.database, self._files.wal)
        words = (wanted.subject, *wanted.also)
        found = [await asyncio.to_thread(files_with, paths, word) for word in words]
        return sum(n for files in found for n in files.values())

    async def _finish(self, erasing: Erasing) -> Done:
        async with self._archived.changing:
            erasing = await self._anew.write(erasing)
            texts = await replace_texts(self._database, self._key, erasing)
            while True:
                async with self._database.reading() as tx:
                    newest = (await event_store.marks(tx)).batch_id
                erasing = await self._seal_step(erasing)
                if erasing.batch_id >= newest:
                    break  # What is left came just now, and is little.
            await asyncio.to_thread(self._list, erasing)
            row = await self._rename(erasing)
            await self._anew.clear()
        await self._database.empty_wal()
        return Done(row, texts)

    def _list(self, erasing: Erasing) -> None:
        """Note beside the ledger that this is erased, for one that is put back."""
        words = (
            ErasedWord(name_digest(self._key, word).hex(), alias)
            for word, alias in erasing.also.items()
        )
        made = Listed(
            digest=name_digest(self._key, erasing.subject).hex(),
            alias=erasing.alias,
            author=erasing.author,
            reason=erasing.text(erasing.reason),
            also=(*words, *(erasing.again or ())),
        )
        erased_list.add(self._files.erased, made)

    async def _seal_step(self, erasing: Erasing) -> Erasing:
        """Seal the batches of one step, while the name still stands in them."""
        async with self._database.reading() as tx:
            step = await next_step(tx, self._key, erasing)
        async with self._database.transaction() as tx:
            await step.write(tx)
            await keep(tx, step.after)
        return step.after

    async def _rename(self, erasing: Erasing) -> NewErasure:
        """Seal the last batches, and replace the name: all of it at once."""
        async with self._database.transaction() as tx:
            step = await next_step(tx, self._key, erasing)
            await step.write(tx)
            erasing = step.after
            await store.rename_subject(tx, erasing.subject_id, erasing.alias)
            words = [erasing.subject, *erasing.words]
            await store.rename_losses(tx, words, erasing.alias)
            await self._rename_terms(tx, erasing)
            await self._anew.put_in_place(tx, self._journal.link)
            row = NewErasure(
                erasing.id,
                erasing.alias,
                name_digest(self._key, erasing.subject),
                erasing.events,
                erasing.batches,
                self._clock.now_ms(),
                erasing.author,
                erasing.reason,
            )
            await store.add_erasure(tx, row)
            await self._journal.link(tx, "erasures", row.id)
            await note_words(tx, self._key, erasing)
            missing = await missing_words(tx)
            await facts.drop_fact(tx, UNDER_WAY)
            # Before anybody else writes: who ingests would store the name's events
            # under the number that is the alias's by now.
            self._forget()
        self._terms.rename_subject(erasing.subject, erasing.alias)
        self.missing = missing
        return row

    async def _rename_terms(self, tx: Tx, erasing: Erasing) -> None:
        changed: list[int] = []
        for row_id, change in await store.terms_with(tx, erasing.subject):
            before = decode("customer", change)
            after = renamed(before, erasing.subject, erasing.alias)
            if after == before:
                continue  # It stands in another word.
            if not await is_as_written(tx, self._key, "terms", row_id):
                raise EraseRefused(
                    f"row {row_id} of terms is not what was written, and an erasure would"
                    " hide that: run `meterline verify`"
                )
            await store.put_change(tx, row_id, encode(after))
            changed.append(row_id)
        await seal_erased(tx, self._key, erasing.id, "terms", changed)

    async def mentions(self, wanted: Wanted) -> tuple[Mention, ...]:
        """Return in how many rows of which tables it stands in texts."""
        return await mentions(self._database, wanted.subject, wanted.also)

    async def is_back(self, wanted: Wanted) -> bool:
        """Say whether events came under the name again."""
        async with self._database.reading() as tx:
            return bool(await event_store.subjects_of(tx, [wanted.subject]))

    async def _wait_for_spools(self, wanted: Wanted) -> None:
        """Let workers send what they recorded under the name, for a while.

        What they delete in that time is stored, and erased with the rest. What a dead
        worker left is taken in meanwhile, as ever.
        """
        for _ in range(SPOOLS_LOOKS):
            if not await self.spools(wanted):
                return
            await asyncio.sleep(SPOOLS_LOOK_S)

    async def spools(self, wanted: Wanted) -> tuple[str, ...]:
        """Return the spools that hold it: until their events are stored and gone."""

        def look() -> tuple[str, ...]:
            paths = [path for path in self._spool_dir.rglob("*") if path.is_file()]
            words = (wanted.subject, *wanted.also)
            found = {path for word in words for path in files_with(paths, word)}
            return tuple(sorted(map(str, found)))

        return await asyncio.to_thread(look)
