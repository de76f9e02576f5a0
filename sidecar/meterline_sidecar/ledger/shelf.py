"""Where the files of the archive lie, and the simplest such place: a directory.

A file is put there as a whole, under a name that no other ledger can have: the link of
its last batch, made with the chain's key, is part of it. So a run that was killed is
repeated by the next one, which puts the same file in the same place.
"""

import asyncio
import contextlib
import os
import stat
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from enum import StrEnum
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any, Final, Protocol, TypeVar

from meterline_sidecar.errors import ArchiveFailed
from meterline_sidecar.files import replace_file, scratch_of, sync
from meterline_sidecar.small_file import read_small_file

FILE_BYTES_MAX: Final = 256 << 20  # several times what the largest file can have
FILES_OF: Final = "events-"
"""What the names of all files begin with."""
NAMES_MAX: Final = 1_000
READ_S: Final = 60.0
"""How long a place may take to give a file: who waits often holds a snapshot meanwhile."""
WRITE_S: Final = 300.0
"""How long it may take for all else: 32 MiB at 110 kB/s."""

T = TypeVar("T")


class Unreadable(StrEnum):
    """Why a file cannot be read, in words that follow on "is"."""

    GONE = "missing"
    CLOSED = "there, but cannot be read"


Sizes = dict[str, int | Unreadable]
"""How many bytes files have, by name."""


class Shelf(Protocol):
    """Has files by name."""

    @property
    def place(self) -> str:
        """Where it is, in words for people."""
        ...

    async def get(self, name: str) -> bytes:
        """Return a file.

        Raises:
            FileMissing: it is not there.
            ArchiveFailed: it cannot be read.
        """
        ...

    def sizes(self, names: Iterable[str]) -> Sizes:
        """Return how many bytes some files have, without opening any.

        A file that is not in the answer was not looked for: a bucket is asked only so
        often at once. This waits for the other side: call it with ``Calls``.

        Raises:
            ArchiveFailed: the place cannot be looked at.
        """
        ...


class OwnShelf(Shelf, Protocol):
    """A shelf that a ledger puts its own files on."""

    async def names(self, behind: str) -> list[str]:
        """Return the first ``NAMES_MAX`` names that sort behind a text, in order.

        Raises:
            ArchiveFailed: the place cannot be looked at.
        """
        ...

    async def put(self, name: str, content: bytes) -> None:
        """Keep a file, durably and as a whole, in place of one of that name.

        Raises:
            ArchiveFailed: it cannot be written.
        """
        ...

    async def sync(self, name: str) -> None:
        """Make durable a file that is there: whoever put it may have been killed.

        Raises:
            ArchiveFailed: nobody can say that it is.
        """
        ...

    async def delete(self, name: str) -> None:
        """Delete a file, durably; one that is not there is no error.

        Raises:
            ArchiveFailed: it cannot be deleted.
        """
        ...


class FileMissing(ArchiveFailed):
    """The place can be reached, and there is no such file."""


def file_name(first_event_id: int, mac: bytes, suffix: str, *, anew: str = "") -> str:
    """Return the name of a file, in the order of the chain as far as names go.

    Args:
        mac: of its last batch.
        anew: tells it from the one that it was written anew of.
    """
    return f"{FILES_OF}{first_event_id:012}-{mac.hex()[:16]}{anew}{suffix}"


def first_event_of(name: str) -> int | None:
    """Return the number of a file's first event, by its name; ``None``: it is not ours."""
    number = name.removeprefix(FILES_OF).partition("-")[0]
    is_ours = name.startswith(FILES_OF) and number.isascii() and number.isdigit()
    return int(number) if is_ours and len(number) >= 12 else None


class DirectoryShelf:
    """Files in a directory, which somebody has made: one that is missing may be a disk
    that is not mounted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._calls = Calls(str(folder))

    @property
    def place(self) -> str:
        """Return the path."""
        return str(self._folder)

    async def put(self, name: str, content: bytes) -> None:
        """Write a file; it survives a power loss once this returns."""
        try:
            await self._calls.done(
                partial(replace_file, self._folder / name, content, durably=True),
                answer_s=WRITE_S,
            )
        except OSError as error:
            raise ArchiveFailed(
                f"{self._folder / name} cannot be written: {error.strerror}"
            ) from error

    async def get(self, name: str) -> bytes:
        """Read a file."""
        path = self._folder / name

        def read() -> bytes:
            try:
                return read_small_file(path, bytes_max=FILE_BYTES_MAX)
            except OSError as error:
                is_gone = isinstance(error, FileNotFoundError) and self._folder.is_dir()
                raise (FileMissing if is_gone else ArchiveFailed)(
                    f"{path} cannot be read: {error.strerror}"
                ) from error

        return await self._calls.done(read, answer_s=READ_S)

    async def names(self, behind: str) -> list[str]:
        """List the directory."""

        def listed() -> list[str]:
            try:
                found = os.listdir(self._folder)  # noqa: PTH208 - names are wanted
            except OSError as error:
                raise ArchiveFailed(
                    f"{self._folder} cannot be looked at: {error.strerror}"
                ) from error
            return sorted(name for name in found if name > behind)[:NAMES_MAX]

        return await self._calls.done(listed, answer_s=READ_S)

    async def sync(self, name: str) -> None:
        """Put a file and its name on disk."""
        path = self._folder / name
        try:
            for one in (path, self._folder):
                await self._calls.done(partial(sync, one), answer_s=WRITE_S)
        except OSError as error:
            raise ArchiveFailed(
                f"{path} cannot be put on disk: {error.strerror}"
            ) from error

    async def delete(self, name: str) -> None:
        """Delete a file, and what a run that was killed left of writing it."""
        path = self._folder / name

        def delete() -> None:
            for one in (path, scratch_of(path)):
                one.unlink(missing_ok=True)
            sync(self._folder)

        try:
            await self._calls.done(delete, answer_s=WRITE_S)
        except OSError as error:
            raise ArchiveFailed(
                f"{path} cannot be deleted: {error.strerror}"
            ) from error

    def sizes(self, names: Iterable[str]) -> Sizes:
        """Look at each file: others may have very many more in the directory."""
        try:
            os.stat(f"{self._folder}/")  # noqa: PTH116 - fails if it is no directory
            found: Sizes = {}
            for name in names:
                found[name] = Unreadable.GONE
                with contextlib.suppress(FileNotFoundError):
                    found[name] = _readable_bytes(self._folder / name)
        except OSError as error:
            raise ArchiveFailed(
                f"{error.filename} cannot be looked at: {error.strerror}"
            ) from error
        return found


def _readable_bytes(path: Path) -> int | Unreadable:
    status = path.stat()
    is_readable = stat.S_ISREG(status.st_mode) and os.access(path, os.R_OK)
    return status.st_size if is_readable else Unreadable.CLOSED


class Calls:
    """Calls to one place, each of which may never come back.

    Each is in a thread: what obstore leaves behind of its own waiting may bring down an
    interpreter that ends. In one of its own: for those of asyncio the end waits, and a
    bucket that does not answer, or a directory of another host, takes minutes or for ever.

    While one that was given up is still under way, nothing else is asked there: so no
    threads pile up, and it is overtaken by none, such as a write by what deletes the file.

    Args:
        place: where that is, in words for people.
    """

    def __init__(self, place: str) -> None:
        self._place = place
        self._given_up: Future[Any] | None = None

    async def done(self, work: Callable[[], T], *, answer_s: float) -> T:
        """Return what a call comes to.

        Args:
            answer_s: how long it is waited for.

        Raises:
            ArchiveFailed: it did not come back in time, or one before it still has not.
        """
        if self._given_up is None or self._given_up.done():
            self._given_up = None
            answer = in_thread(work)
            waiting = asyncio.wrap_future(answer)
            try:
                # A timeout of ours is told from one that the call itself comes to.
                await asyncio.wait((waiting,), timeout=answer_s)
                if waiting.done():
                    return waiting.result()
                self._given_up = answer
            finally:
                waiting.cancel()
        raise ArchiveFailed(f"{self._place} did not answer in {answer_s:.0f} s")


def in_thread(work: Callable[[], T]) -> Future[T]:
    """Call what may never come back, and return what will be its answer."""
    answer: Future[T] = Future()

    def run() -> None:
        if not answer.set_running_or_notify_cancel():
            return
        try:
            answer.set_result(work())
        except Exception as error:  # noqa: BLE001 - whoever waits handles it
            answer.set_exception(error)

    Thread(target=run, name="archive", daemon=True).start()
    return answer
