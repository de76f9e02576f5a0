"""Imports: files of events that are put aside first, and counted when somebody says so.

The lines of a file come in chunks, in order. What can be read of a chunk is kept as it
will be stored, with a mac; nothing counts it. Once the file is whole, and somebody
commits it, its events take the way of those that come over HTTP, chunk by chunk: each is
stored in one transaction with the note that it is. So an import that is cut off at any
point goes on where it was, and nothing counts twice.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator
from typing import Final, NamedTuple, Protocol

from meterline_sidecar.clock import Clock
from meterline_sidecar.errors import MeterlineError, RetryLater
from meterline_sidecar.ingest.external import External, Taken
from meterline_sidecar.ingest.import_chunks import (
    ImportRefused,
    Line,
    Lines,
    closed,
    opened,
    waiting,
)
from meterline_sidecar.ingest.import_diff import Sorted, sorted_out
from meterline_sidecar.problems.problem import n_of
from meterline_sidecar.store.edge import imports as store
from meterline_sidecar.store.edge.events import EventRow
from meterline_sidecar.store.edge.imports import (
    Chunk,
    Fault,
    ImportRow,
    NewImport,
    State,
    Sums,
)
from meterline_sidecar.store.port import Database, Tx

FAULTS_MAX: Final = 1_000
"""Lines of an import that are named; of more of them the number is enough."""
FORGOTTEN_AT_ONCE: Final = 8  # chunks of a megabyte at most: some milliseconds

log = logging.getLogger(__name__)


class NoSuchImport(MeterlineError):
    """No import has this name; the text says where to look."""


class Journal(Protocol):
    """Links rows, so that one that is changed later is found."""

    async def link(self, tx: Tx, entry: str, row_id: int) -> None:
        """Link a row that was written in this transaction."""
        ...


class Found(NamedTuple):
    """An import, and how far it is."""

    row: ImportRow
    sums: Sums


class Imports:
    """What is imported: put aside, then counted or thrown away.

    Args:
        external: stores events by the names that they have.
        journal: links what was decided.
        key: of the ledger's chain.
    """

    def __init__(
        self,
        database: Database,
        external: External,
        journal: Journal,
        *,
        clock: Clock,
        key: bytes,
    ) -> None:
        self._database = database
        self._external = external
        self._journal = journal
        self._clock = clock
        self._key = key
        self._changing = asyncio.Lock()
        self._has_leftovers = True
        self.trouble: str | None = None
        """Why what is committed does not go on, in words."""

    # --- putting aside

    async def begin(self, name: str, *, file: str, author: str, reason: str) -> Found:
        """Begin an import, or return the one of this name that is not over."""
        async with self._database.transaction() as tx:
            known = await store.newest_named(tx, name)
            if known is None or known.is_over:
                new = NewImport(name, file, self._clock.now_ms(), author, reason)
                row_id = await store.add_import(tx, new)
                await self._journal.link(tx, "imports", row_id)
                known = await self._named(tx, name)
            return Found(known, await store.sums_of(tx, known))

    async def known(self, name: str, *, first_line: int, digest: bytes) -> Sums | None:
        """Return the numbers of lines that are put aside already; ``None``: they are new.

        Raises:
            NoSuchImport: there is none of this name.
            ImportRefused: other lines stand there, or none can be added any more.
        """
        async with self._database.reading() as tx:
            row = await self._named(tx, name)
            chunk = await store.chunk_at(tx, row.id, first_line)
            if chunk is not None and chunk.digest == digest:
                return Sums(chunk.lines, chunk.events, chunk.bad)
            if chunk is not None or row.state != "loading":
                raise _other_file(row, first_line)
        return None

    async def put_aside(self, name: str, lines: Lines) -> Sums:
        """Keep lines behind those that are there; return their numbers.

        Raises:
            NoSuchImport: there is none of this name.
            ImportRefused: it is whole already, or lines are missing before these.
        """
        async with self._database.reading() as tx:
            row = await self._named(tx, name)
        chunk = await closed(self._key, row.id, lines)
        async with self._changing, self._database.transaction() as tx:
            row = await self._named(tx, name)
            if row.state != "loading" or row.id != chunk.import_id:
                raise _other_file(row, lines.first_line)
            next_line = await store.last_line(tx, row.id) + 1
            if lines.first_line != next_line:
                raise ImportRefused(
                    f"line {lines.first_line} was sent where line {next_line} must"
                    f" follow: somebody else imports as {name}"
                )
            await store.add_chunk(tx, chunk)
            await store.add_faults(tx, row.id, lines.faults, faults_max=FAULTS_MAX)
        return Sums(chunk.lines, chunk.events, chunk.bad)

    async def stage(self, name: str, *, skip_bad: bool, author: str) -> Found:
        """Say that the file is whole; a second time changes nothing.

        Args:
            skip_bad: whether bad lines are left out; else there must be none.

        Raises:
            NoSuchImport: there is none of this name.
            ImportRefused: it has bad lines, or no event at all.
        """
        async with self._changing, self._database.transaction() as tx:
            found = await self._found(tx, name)
            if found.row.state != "loading":
                return found
            if found.sums.bad and not skip_bad:
                raise ImportRefused(
                    f"{n_of(found.sums.bad, 'bad line')} in {found.row.file}, so nothing"
                    " was imported; fix the file, or use --skip-bad"
                )
            if not found.sums.events:
                raise ImportRefused(f"there is no event in {found.row.file}")
            return await self._step(tx, found, "staged", author)

    # --- deciding

    async def commit(self, name: str, *, author: str) -> Found:
        """Let the events of an import be counted; a second time changes nothing.

        Raises:
            NoSuchImport: there is none of this name.
            ImportRefused: the file is not whole yet, or the import was discarded.
        """
        async with self._changing, self._database.transaction() as tx:
            found = await self._found(tx, name)
            match found.row.state:
                case "staged":
                    return await self._step(tx, found, "committing", author)
                case "committing" | "committed":
                    return found
                case _:
                    raise _not_now(found.row, "committed")

    async def discard(self, name: str, *, author: str) -> Found:
        """Throw an import away; a second time changes nothing.

        Raises:
            NoSuchImport: there is none of this name.
            ImportRefused: its events are counted, or are about to be.
        """
        async with self._changing, self._database.transaction() as tx:
            found = await self._found(tx, name)
            match found.row.state:
                case "loading" | "staged":
                    self._has_leftovers = True
                    return await self._step(tx, found, "discarded", author)
                case "discarded":
                    return found
                case _:
                    raise _not_now(found.row, "discarded")

    async def find(self, name: str) -> Found:
        """Return the newest import of a name.

        Raises:
            NoSuchImport: there is none.
        """
        async with self._database.reading() as tx:
            return await self._found(tx, name)

    async def _waiting(self, import_id: int) -> AsyncIterator[Chunk]:
        line = 0
        while True:
            async with self._database.reading() as tx:
                chunk = await store.next_chunk(tx, import_id, after=line)
            if chunk is None:
                return
            line = chunk.first_line
            yield chunk

    def sorted_out(self, import_id: int, into: Sorted) -> AsyncIterator[list[EventRow]]:
        """Yield what committing an import would add; see ``import_diff``."""
        return sorted_out(
            self._database, self._external.names, self._key, import_id, into
        )

    # --- counting

    async def run(self) -> None:
        """Store what is committed, chunk by chunk, and forget what is over.

        Raises:
            MeterlineError: it does not go on; the text says why, and so does
                ``trouble`` until it does.
        """
        try:
            async with self._database.reading() as tx:
                committing = await store.in_state(tx, "committing")
            for row in committing:
                await self._store_all(row)
            self.trouble = None
        except RetryLater as error:
            self.trouble = str(error)  # at the next run
        except MeterlineError as error:
            self.trouble = str(error)
            raise
        while self._has_leftovers:
            async with self._changing, self._database.transaction() as tx:
                n_rows = await store.forget_chunks(tx, limit=FORGOTTEN_AT_ONCE)
                self._has_leftovers = n_rows > 0

    async def _store_all(self, row: ImportRow) -> None:
        async for chunk in waiting(self._database, row.id):
            await self._store(row, chunk)
        async with self._changing, self._database.transaction() as tx:
            found = Found(row, await store.sums_of(tx, row))
            if found.sums.lines != await store.sealed_lines(tx, row.id):
                raise ImportRefused(
                    f"lines of import {row.name} have disappeared from the ledger"
                    " since it was staged: restore a backup from before; what is"
                    " already stored stays"
                )
            await self._step(tx, found, "committed", row.decided_by)
            self._has_leftovers = True
        log.info("import %s is counted: %d events", row.name, found.sums.accepted)

    async def _store(self, row: ImportRow, chunk: Chunk) -> None:
        events = await opened(self._key, chunk)

        async def note(tx: Tx, n_stored: int) -> None:
            await store.note_accepted(tx, row.id, chunk.first_line, accepted=n_stored)

        taken = await self._external.take(
            [one.event for one in events],
            n_bytes=len(chunk.content),
            is_backfill=True,
            when_stored=note,
        )
        n_of_each = Counter(one.verdict for one in taken)
        # Cut off behind their commit, events of this chunk are told as duplicates now.
        accepted = n_of_each["accepted"] + (chunk.accepted or 0)
        async with self._changing, self._database.transaction() as tx:
            await store.finish_chunk(
                tx,
                row.id,
                chunk.first_line,
                accepted=accepted,
                duplicates=n_of_each["duplicate"] - (chunk.accepted or 0),
                conflicts=n_of_each["conflict"],
                bad=n_of_each["refused"],
            )
            faults = [
                _fault(one, became)
                for one, became in zip(events, taken, strict=True)
                if became.verdict in ("conflict", "refused")
            ]
            await store.add_faults(tx, row.id, faults, faults_max=FAULTS_MAX)

    async def _step(self, tx: Tx, found: Found, state: State, author: str) -> Found:
        now_ms = self._clock.now_ms()
        row_id = await store.add_state(
            tx, found.row.id, state, found.sums, at_ms=now_ms, author=author
        )
        await self._journal.link(tx, "import_states", row_id)
        row = found.row._replace(state=state, at_ms=now_ms, decided_by=author)
        return found._replace(row=row)

    async def _found(self, tx: Tx, name: str) -> Found:
        row = await self._named(tx, name)
        return Found(row, await store.sums_of(tx, row))

    async def _named(self, tx: Tx, name: str) -> ImportRow:
        row = await store.newest_named(tx, name)
        if row is None:
            raise NoSuchImport(
                f"there is no import {name}; `meterline import list` has all"
            )
        return row


def _fault(one: Line, became: Taken) -> Fault:
    assert became.verdict in ("conflict", "refused")
    return Fault(
        one.line,
        "conflict" if became.verdict == "conflict" else "refused",
        *one.event.name,
        became.field,
        became.reason or "",
    )


def _other_file(row: ImportRow, first_line: int) -> ImportRefused:
    if row.state == "loading":
        return ImportRefused(
            f"import {row.name} was begun with other lines at {first_line}: discard it,"
            " or choose another name"
        )
    return ImportRefused(
        f"import {row.name} is {row.state} with other lines: commit or discard it"
        " first, or choose another name"
    )


def _not_now(row: ImportRow, wanted: str) -> ImportRefused:
    if row.state == "loading":
        return ImportRefused(
            f"import {row.name} is not whole yet: run the command that began it again"
        )
    return ImportRefused(f"import {row.name} is {row.state}; it cannot be {wanted}")
