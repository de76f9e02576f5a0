"""Looks whether the files of the archive are where they were put, without reading them.

What it finds is kept, so that whoever asks waits for no bucket. That a file has the bytes
that were written, and not as many others, only ``archive_check`` can tell.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from meterline_sidecar.errors import ArchiveFailed
from meterline_sidecar.ledger.archived import Archived
from meterline_sidecar.ledger.shelf import Calls, Shelf, Sizes, Unreadable
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
OTHER_SIZE: Final = "not of the size that was written"


class ArchiveWatch:
    """Knows which files of the archive were not found the last time.

    Args:
        archived: says where they lie.
        answer_s: for how long a place may say nothing.
    """

    def __init__(
        self, database: Readable, archived: Archived, *, answer_s: float = ANSWER_S
    ) -> None:
        self._database = database
        self._own = _Place(archived.shelf, "", answer_s=answer_s)
        self._copies = _Place(archived.shelf, " of edges", answer_s=answer_s)
        self._of_edges = _Place(archived.of_edges, " of edges", answer_s=answer_s)
        self._looked_s: float | None = None
        self.trouble: str | None = None
        """What was not found, where, and why; ``None``: nothing."""

    @property
    def n_files(self) -> int:
        """How many files should be there."""
        return sum(len(place.files) for place in self._places)

    @property
    def where(self) -> str:
        """The places where they should be, in words for people."""
        places = {place.where: None for place in self._places if place.files}
        return " and ".join(places)

    @property
    def n_left(self) -> int:
        """How many of them the next looks are for: a bucket is asked only so often."""
        return sum(place.n_left for place in self._places)

    @property
    def _places(self) -> tuple["_Place", ...]:
        return self._own, self._copies, self._of_edges

    async def run(self) -> None:
        """Look, unless all was well a short time ago."""
        now_s = asyncio.get_running_loop().time()
        is_recent = self._looked_s is not None and now_s - self._looked_s < EVERY_S
        if self.trouble is not None or not is_recent:
            await self.look()
            self._looked_s = now_s

    async def look(self) -> None:
        """Compare what is there with what was written, by name and size."""
        await self._note_wanted()
        for place in self._places:
            await place.look()
        if any(place.wrong() for place in self._places):
            # An erasure may have written files anew meanwhile, under other names.
            await self._note_wanted()
        told = [text for place in self._places if (text := place.wrong())]
        self.trouble = "; ".join(told) or None

    async def _note_wanted(self) -> None:
        async with self._database.reading() as tx:
            left = await store.kept(tx, limit=FILES_MAX)
            known = {one.file for one in left}
            copies = await _copies(tx, is_own=True)
            of_edges = await _copies(tx, is_own=False)
        self._own.files = left
        # Copies are of use only where somebody has them.
        if self._copies.is_known:
            self._copies.files = [one for one in copies if one.file not in known]
        if self._of_edges.is_known:
            self._of_edges.files = of_edges


async def _copies(tx: Tx, *, is_own: bool) -> list[Kept]:
    return await edge_files.kept(tx, is_own=is_own, limit=FILES_MAX)


class _Place:
    """A place, and the files of one kind that should be there.

    Args:
        of: whose they are, in words that follow on "files".
    """

    def __init__(self, shelf: Shelf | None, of: str, *, answer_s: float) -> None:
        self._shelf = shelf
        self._of = of
        self._answer_s = answer_s
        self._calls = Calls(self.where)
        self._failed: str | None = None
        self._well: set[str] = set()
        """Those that were found, while others were not looked for yet."""
        self._found: Sizes = {}
        """What is known of those that were not found as they were written."""
        self.files: Sequence[Kept] = ()
        self.n_left = 0

    @property
    def is_known(self) -> bool:
        """Whether anybody says where it is."""
        return self._shelf is not None

    @property
    def where(self) -> str:
        """Where it is, in words for people."""
        return "nowhere" if self._shelf is None else self._shelf.place

    async def look(self) -> None:
        """Look for all that should be there, or go on where the last look ended."""
        self.n_left = 0
        if not self.files:
            return
        wanted = {one.file: one.file_bytes for one in self.files}
        todo = wanted.keys() - self._well
        try:
            sizes = await self._sizes(todo)
        except ArchiveFailed as error:
            self._failed = str(error)
            return
        self._failed = None
        for name, size in sizes.items():
            self._found.pop(name, None)
            if size == wanted[name]:
                self._well.add(name)
            else:
                self._found[name] = size
        self._found = {
            name: size for name, size in self._found.items() if name in wanted
        }
        self.n_left = len(todo) - len(sizes)
        if not self.n_left:
            self._well.clear()

    def wrong(self) -> str:
        """Return in words what is not as it was written; empty for nothing."""
        if not self.files:
            return ""
        if self._failed is not None:
            counted = _counted(self._of, self.files)
            return f"{self._failed}; {counted} should be there: {_named(self.files)}"
        differing = "; ".join(self._differing())
        return f"at {self.where}, {differing}" if differing else ""

    def _differing(self) -> Iterator[str]:
        for state in (*Unreadable, OTHER_SIZE):
            these = [one for one in self.files if self._state(one) == state]
            if these:
                be = "is" if len(these) == 1 else "are"
                yield f"{_counted(self._of, these)} {be} {state}: {_named(these)}"

    def _state(self, one: Kept) -> str | None:
        found = self._found.get(one.file)
        return OTHER_SIZE if isinstance(found, int) else found

    async def _sizes(self, names: Iterable[str]) -> Sizes:
        """Ask the place, and wait for a while.

        Raises:
            ArchiveFailed: it cannot be looked at, or does not answer.
        """
        shelf = self._shelf
        if shelf is None:
            raise ArchiveFailed("archive.url is not set")
        return await self._calls.done(
            lambda: shelf.sizes(names), answer_s=self._answer_s
        )


def _counted(of: str, files: Sequence[Kept]) -> str:
    n_events = sum(one.events for one in files)
    return f"{n_of(len(files), 'file')}{of} with {n_of(n_events, 'event')}"


def _named(files: Sequence[Kept]) -> str:
    """Return the names of some files, those that hold the oldest first."""
    names = [one.file for one in reversed(files)]
    return such_as(names[:NAMED], n_all=len(names))
