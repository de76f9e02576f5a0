"""Takes a subject's name out of the ledger, and keeps every sum and both chains.

An alias, which nobody can read a name from, takes its place. Events are of a subject by
its number, so the name stands once, beside that number; but links of the chain were made
over it. So first every batch in which it stands is sealed, some to a step (``erased``).
Then, in one transaction, the name is replaced wherever it stands, and a row says that
this was done, by whom and why. Whoever is killed in between goes on at the next start:
what is not done yet is kept until it is.
"""

import asyncio
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import msgspec

from meterline_sidecar.clock import Clock
from meterline_sidecar.files import LedgerFiles
from meterline_sidecar.ledger.archived import Archived
from meterline_sidecar.ledger.bundle import Stored
from meterline_sidecar.ledger.erase_step import BATCHES_PER_STEP, read_step
from meterline_sidecar.ledger.erased import (
    UNDER_WAY,
    EraseRefused,
    Erasing,
    name_digest,
    row_seal,
    under_way,
)
from meterline_sidecar.ledger.traces import files_with
from meterline_sidecar.store import facts, journal
from meterline_sidecar.store.edge import archive as archive_store
from meterline_sidecar.store.edge import erase as store
from meterline_sidecar.store.edge import events as event_store
from meterline_sidecar.store.edge.begin import begin
from meterline_sidecar.store.edge.erase import NewErasure
from meterline_sidecar.store.port import Ledger, Tx
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.terms.change import decode, encode, renamed
from meterline_sidecar.terms.claims import MARK

FILES_NAMED_MAX: Final = 20


class Journal(Protocol):
    """Links rows, so that one that is changed later is found."""

    async def link(self, tx: Tx, entry: str, row_id: int) -> None:
        """Link a row that was written in this transaction."""
        ...


class Holds(NamedTuple):
    """What holds a name."""

    events: int
    mentions: dict[str, int]
    """In how many rows it stands in other texts, by table: these stay as they are."""
    spools: tuple[str, ...]
    """Spools in which workers keep what they recorded lately."""


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
        self._working = asyncio.Lock()

    async def look(self, subject: str) -> Holds:
        """Return what holds a name.

        Raises:
            EraseRefused: it cannot be erased; the text says why.
        """
        async with self._database.reading() as tx:
            subject_id = await self._check(tx, subject)
            last = (await event_store.marks(tx)).event_id
            n_events = await store.events_before(
                tx, last, subject_id=subject_id, limit=last
            )
        await self._check_archive(subject)
        return Holds(n_events, await self.mentions(subject), await self.spools(subject))

    async def erase(self, subject: str, *, author: str, reason: str) -> NewErasure:
        """Erase a name, or go on with it where that was interrupted.

        Raises:
            EraseRefused: it cannot be erased; the text says why.
        """
        async with self._working:
            async with self._database.reading() as tx:
                erasing = await under_way(tx)
            if erasing is None:
                erasing = await self._begin(subject, author, reason)
            elif erasing.subject != subject:
                raise EraseRefused("another erasure is under way; try again soon")
            return await self._finish(erasing)

    async def resume(self) -> int:
        """Go on with what was interrupted; return how many names were erased."""
        async with self._working:
            async with self._database.reading() as tx:
                erasing = await under_way(tx)
            if erasing is None:
                return 0
            await self._finish(erasing)
            return 1

    async def remains(self, subject: str) -> int:
        """Fold all in, and return how often a name still stands in the ledger's files.

        That is in free room, where a row was before; nobody reads it.
        """
        await self._database.empty_wal()
        paths = (self._files.database, self._files.wal)
        return sum((await asyncio.to_thread(files_with, paths, subject)).values())

    async def _check(self, tx: Tx, subject: str) -> int:
        """Return the number of a subject whose name can be erased."""
        if subject.endswith(MARK):
            raise EraseRefused(
                f"{subject} is a pattern: name one subject, as it stands in events"
            )
        claimants = self._terms.claims.claimants(subject)
        if claimants and claimants[-1][1] is not None:
            raise EraseRefused(
                f"customer {claimants[-1][1]} claims this subject by its name: take it"
                " out of their `subjects` first, and erase it then"
            )
        if subject in self._terms.claims.prefix_of(subject):
            raise EraseRefused(
                "a pattern of a customer holds the whole name, and patterns stay: this"
                " name cannot be erased"
            )
        found = await event_store.subjects_of(tx, [subject])
        if not found:
            raise EraseRefused(
                "no event in the ledger is of such a subject; names are as they stand"
                " in events, to the letter"
            )
        waiting = await store.waiting_imports(tx, subject)
        if waiting:
            raise EraseRefused(
                f"lines of the import {waiting[0]} wait aside and hold this name: commit"
                f" it or throw it away (`meterline import discard {waiting[0]}`), and"
                " erase the name then"
            )
        return found[subject]

    async def _check_archive(self, subject: str) -> None:
        """Make sure that no file of the archive has events of a subject."""
        async with self._database.reading() as tx:
            moves = await archive_store.files(tx)
        name = subject.encode()
        found: list[str] = []
        for move in moves:
            bundle = await self._archived.bundle(move)
            if any(_holds(stored, subject, name) for stored in bundle.batches):
                found.append(move.file)
        if found:
            raise EraseRefused(
                f"{', '.join(found[:FILES_NAMED_MAX])} of the archive hold events of this"
                f" subject: bring them back with `meterline archive restore {found[0]}`,"
                " erase the name, and let them leave again"
            )

    def _alias(self, subject: str) -> str:
        """Return a new name that the same patterns take as the old one."""
        claims = self._terms.claims
        alias = f"{claims.prefix_of(subject)}erased-{secrets.token_hex(8)}"
        if claims.prefix_of(alias) != claims.prefix_of(subject):
            raise EraseRefused(
                f"a pattern takes names such as {alias}: take it out first"
            )
        return alias

    async def _begin(self, subject: str, author: str, reason: str) -> Erasing:
        await self._check_archive(subject)
        async with self._database.transaction() as tx:
            subject_id = await self._check(tx, subject)
            erasing = Erasing(
                id=await store.next_id(tx),
                subject=subject,
                subject_id=subject_id,
                alias=self._alias(subject),
                author=author,
                reason=reason,
                begins_behind=(await begin(tx)).event_id,
                batch_id=(await begin(tx)).batch_id,
            )
            await _keep(tx, erasing)
        return erasing

    async def _finish(self, erasing: Erasing) -> NewErasure:
        while True:
            async with self._database.reading() as tx:
                newest = (await event_store.marks(tx)).batch_id
            if newest - erasing.batch_id <= BATCHES_PER_STEP:
                return await self._rename(erasing)
            erasing = await self._seal_step(erasing)

    async def _seal_step(self, erasing: Erasing) -> Erasing:
        """Seal the batches of one step, while the name still stands in them."""
        async with self._database.reading() as tx:
            step = await read_step(tx, self._key, erasing)
            rows = await step.names(tx, self._key, erasing)
        seals = await asyncio.to_thread(step.seals, self._key, erasing)
        after = step.after(erasing)
        async with self._database.transaction() as tx:
            await store.put_seals(tx, erasing.id, "batches", seals)
            await store.rename_external(tx, rows)
            await _keep(tx, after)
        return after

    async def _rename(self, erasing: Erasing) -> NewErasure:
        """Seal the last batches, and replace the name: all of it at once."""
        async with self._database.transaction() as tx:
            if (await begin(tx)).event_id != erasing.begins_behind:
                raise EraseRefused(
                    "events left for the archive, or came back, since the erasure began:"
                    " bring back what left since, and erase again"
                )
            step = await read_step(tx, self._key, erasing)
            rows = await step.names(tx, self._key, erasing)
            erasing = step.after(erasing)
            await store.put_seals(
                tx, erasing.id, "batches", step.seals(self._key, erasing)
            )
            await store.rename_external(tx, rows)
            await store.rename_subject(tx, erasing.subject_id, erasing.alias)
            await store.rename_losses(tx, erasing.subject, erasing.alias)
            await self._rename_terms(tx, erasing)
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
            await facts.drop_fact(tx, UNDER_WAY)
            # Before anybody else writes: who ingests would store the name's events
            # under the number that is the alias's by now.
            self._forget()
        self._terms.rename_subject(erasing.subject, erasing.alias)
        return row

    async def _rename_terms(self, tx: Tx, erasing: Erasing) -> None:
        seals: list[tuple[int, bytes]] = []
        for row_id, change in await store.terms_with(tx, erasing.subject):
            before = decode("customer", change)
            after = renamed(before, erasing.subject, erasing.alias)
            if after == before:
                continue  # It stands in another word.
            await store.put_change(tx, row_id, encode(after))
            link = await journal.link_of(tx, "terms", row_id)
            row = await journal.covered_row(tx, "terms", row_id)
            assert link is not None
            assert row is not None
            seals.append((row_id, row_seal(self._key, "terms", link.mac, row)))
        await store.put_seals(tx, erasing.id, "terms", seals)

    async def mentions(self, subject: str) -> dict[str, int]:
        """Return in how many rows a name stands in other texts, by table."""
        async with self._database.reading() as tx:
            return await store.mentions(tx, subject)

    async def spools(self, subject: str) -> tuple[str, ...]:
        """Return the spools that hold a name: until their events are stored and gone."""

        def look() -> tuple[str, ...]:
            paths = [path for path in self._spool_dir.rglob("*") if path.is_file()]
            return tuple(sorted(map(str, files_with(paths, subject))))

        return await asyncio.to_thread(look)


async def _keep(tx: Tx, erasing: Erasing) -> None:
    await facts.put_fact(tx, UNDER_WAY, msgspec.json.encode(erasing).decode())


def _holds(stored: Stored, subject: str, name: bytes) -> bool:
    return any(event.subject == subject for event in stored.events) or any(
        loss.payload is not None and name in loss.payload for loss in stored.losses
    )
