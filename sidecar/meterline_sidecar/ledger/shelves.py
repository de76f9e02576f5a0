"""Opens the places where files of the archive lie: one, or several to read from."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from meterline_sidecar.config.archive import ArchiveConfig
from meterline_sidecar.config.places import BUCKET
from meterline_sidecar.errors import ArchiveFailed
from meterline_sidecar.ledger.archived import Archived
from meterline_sidecar.ledger.bucket import BucketShelf
from meterline_sidecar.ledger.shelf import (
    DirectoryShelf,
    FileMissing,
    OwnShelf,
    Shelf,
    Sizes,
    Unreadable,
)


def open_shelf(url: str) -> OwnShelf:
    """Return the shelf at a URL, or at the path of a directory.

    One that cannot be reached is found out when it is asked for something.
    """
    return BucketShelf(url) if BUCKET in url else DirectoryShelf(Path(url))


def open_to_read(urls: Sequence[str]) -> Shelf | None:
    """Return what reads at several places; ``None`` for none."""
    shelves = [open_shelf(url) for url in urls]
    return Shelves(shelves) if len(shelves) > 1 else next(iter(shelves), None)


def open_archived(config: ArchiveConfig, key: bytes) -> Archived:
    """Return what reads the files of the archive where the configuration says.

    Args:
        key: of the chain.
    """
    return Archived(
        None if config.url is None else open_shelf(config.url),
        key,
        of_edges=open_to_read(config.of_edges),
    )


class Shelves:
    """Several places to read from, of which each may have a file.

    Names are of one file for ever, so whichever has it has the right one, or shows that
    it was changed.
    """

    def __init__(self, shelves: Sequence[Shelf]) -> None:
        self._shelves = shelves

    @property
    def place(self) -> str:
        """Return all of them."""
        return " or ".join(shelf.place for shelf in self._shelves)

    async def get(self, name: str) -> bytes:
        """Read a file from the first place that has it."""
        failed: list[ArchiveFailed] = []
        for shelf in self._shelves:
            try:
                return await shelf.get(name)
            except ArchiveFailed as error:
                failed.append(error)
        for one in failed:
            if not isinstance(one, FileMissing):
                raise one  # Whether the file is at that place, nobody knows.
        raise FileMissing(f"{name} is not at {self.place}")

    def sizes(self, names: Iterable[str]) -> Sizes:
        """Look at each place for what none before it has."""
        found: Sizes = {}
        left = list(names)
        for shelf in self._shelves:
            there = {n: found[n] for n in found if found[n] is not Unreadable.GONE}
            found = there | shelf.sizes(left)
            left = [n for n in found if found[n] is Unreadable.GONE]
        return found
