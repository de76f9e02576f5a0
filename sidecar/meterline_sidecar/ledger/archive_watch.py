"""Looks whether the files of the archive are where they were put, without reading them.

What it finds is kept, so that whoever asks waits for no bucket. That a file has the bytes
that were written, and not as many others, only ``archive_check`` can tell.
"""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import Final, NamedTuple

from meterline_sidecar.errors import ArchiveFailed
from meterline_sidecar.ledger.shelf import Shelf, in_thread
from meterline_sidecar.problems.problem import n_of, such_as
from meterline_sidecar.store.edge import archive as store
from meterline_sidecar.store.edge import edge_files
from meterline_sidecar.store.edge.archive import Kept
from meterline_sidecar.store.port import Readable, Tx

EVERY_S: Final = 600.0
"""While all is well: a bucket takes money for each list of 1,000 names."""
ANSWER_S: Final = 60.0
FILES_MAX: Final = 100_000
"""Of each kind, the newest: 5 billion events, and some 30 MB of names for a moment."""
NAMED: Final = 3
Sizes = dict[str, int | None]


class _Wanted(NamedTuple):
    """What should be there, by how its files are called."""

    left: list[Kept]
    """What events left for: the ledger has them no more."""
    copies: list[Kept]
    """What edges wrote, and nothing left for here."""

    def parts(self) -> Iterator[tuple[str, list[Kept]]]:
        """Yield files, and of what they are."""
        yield "", self.left
        yield " of edges", self.copies


class ArchiveWatch:
    """Knows which files of the archive were not found the last time.

    Args:
        shelf: where they lie; ``None`` where nobody says.
        answer_s: for how long a place may say nothing.
    """

    def __init__(
        self, database: Readable, shelf: Shelf | None, *, answer_s: float = ANSWER_S
    ) -> None:
        self._database = database
        self._shelf = shelf
        self._answer_s = answer_s
        self._asked: Future[Sizes] | None = None
        """What did not answer in time: nothing else is asked before it does."""
        self._looked_s: float | None = None
        self.trouble: str | None = None
        """What was not found, where, and why; ``None``: nothing."""
        self.n_files = 0
        """How many files should be there."""

    async def run(self) -> None:
        """Look, unless all was well a short time ago."""
        now_s = asyncio.get_running_loop().time()
        is_recent = self._looked_s is not None and now_s - self._looked_s < EVERY_S
        if self.trouble is not None or not is_recent:
            await self.look()
            self._looked_s = now_s

    async def look(self) -> None:
        """Compare what is there with what was written, by name and size."""
        wanted = await self._wanted()
        self.n_files = sum(len(files) for _, files in wanted.parts())
        if self.n_files == 0:
            self.trouble = None
        elif self._shelf is None:
            self.trouble = f"archive.url is not set; {_needed(wanted)}"
        else:
            self.trouble = await self._compared(self._shelf, wanted)

    async def _wanted(self) -> _Wanted:
        async with self._database.reading() as tx:
            return await _wanted(tx, has_place=self._shelf is not None)

    async def _compared(self, shelf: Shelf, wanted: _Wanted) -> str | None:
        names = {one.file for _, files in wanted.parts() for one in files}
        try:
            sizes = await self._sizes(shelf, names)
        except ArchiveFailed as error:
            return f"{error}; {_needed(wanted)}"
        if next(_differing(wanted, sizes), None) is None:
            return None
        # An erasure may have written files anew meanwhile, under other names.
        noted = {
            one.file for _, files in (await self._wanted()).parts() for one in files
        }
        still = _Wanted(*([one for one in of if one.file in noted] for of in wanted))
        found = "; ".join(_differing(still, sizes))
        return f"at {shelf.place}, {found}" if found else None

    async def _sizes(self, shelf: Shelf, names: set[str]) -> Sizes:
        """Ask the place, and wait for a while.

        Raises:
            ArchiveFailed: it cannot be looked at, or does not answer.
        """
        if self._asked is None or self._asked.done():
            self._asked = in_thread(lambda: shelf.sizes(names))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._answer_s):
                    return await asyncio.wrap_future(self._asked)
        raise ArchiveFailed(f"{shelf.place} did not answer in {self._answer_s:.0f} s")


async def _wanted(tx: Tx, *, has_place: bool) -> _Wanted:
    left = await store.kept(tx, limit=FILES_MAX)
    if not has_place:
        return _Wanted(left, [])  # copies are of use only where somebody has them
    known = {one.file for one in left}
    copies = await edge_files.kept(tx, limit=FILES_MAX)
    return _Wanted(left, [one for one in copies if one.file not in known])


def _needed(wanted: _Wanted) -> str:
    """Return what should be at a place that cannot be looked at."""
    said = [
        f"{_counted(of, files)} should be there: {_named(files)}"
        for of, files in wanted.parts()
        if files
    ]
    return "; ".join(said)


def _differing(wanted: _Wanted, sizes: Sizes) -> Iterator[str]:
    """Yield in words what is not there as it was written."""
    for of, files in wanted.parts():
        gone = [one for one in files if one.file not in sizes]
        there = [one for one in files if one.file in sizes]
        closed = [one for one in there if sizes[one.file] is None]
        other = [one for one in there if sizes[one.file] not in (None, one.file_bytes)]
        for these, state in (
            (gone, "missing"),
            (closed, "there, but cannot be read"),
            (other, "not of the size that was written"),
        ):
            if these:
                be = "is" if len(these) == 1 else "are"
                yield f"{_counted(of, these)} {be} {state}: {_named(these)}"


def _counted(of: str, files: Sequence[Kept]) -> str:
    n_events = sum(one.events for one in files)
    return f"{n_of(len(files), 'file')}{of} with {n_of(n_events, 'event')}"


def _named(files: Sequence[Kept]) -> str:
    """Return the names of some files, those that hold the oldest first."""
    names = [one.file for one in reversed(files)]
    return such_as(names[:NAMED], n_all=len(names))
