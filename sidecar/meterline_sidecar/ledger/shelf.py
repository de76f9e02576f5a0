"""Where the files of the archive lie: a directory, or a bucket of an object store.

A file is put there as a whole, under a name that no other ledger can have: the link of
its last batch, made with the chain's key, is part of it. So a run that was killed is
repeated by the next one, which puts the same file in the same place.
"""

import asyncio
import contextlib
import os
import stat
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future
from datetime import timedelta
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import urlsplit

from meterline_sidecar.config.places import BUCKET
from meterline_sidecar.errors import ArchiveFailed, installing
from meterline_sidecar.files import replace_file, scratch_of, sync
from meterline_sidecar.small_file import read_small_file

FILE_BYTES_MAX: Final = 256 << 20  # several times what the largest file can have
PACKAGE: Final = "obstore"
CLIENT: Final = {"timeout": "60s", "connect_timeout": "5s", "allow_http": True}
"""Without TLS only where somebody names such an endpoint: no store has one by itself."""
RETRY: Final = {"max_retries": 2, "retry_timeout": timedelta(seconds=30)}
"""Soon given up: what cannot be written stays, and the next run tries again."""
LISTED_AT_ONCE: Final = 1_000  # as many as S3 answers a request with

T = TypeVar("T")


class Shelf(Protocol):
    """Keeps files by name."""

    @property
    def place(self) -> str:
        """Where it is, in words for people."""
        ...

    async def put(self, name: str, content: bytes) -> None:
        """Keep a file, durably and as a whole, in place of one of that name.

        Raises:
            ArchiveFailed: it cannot be written.
        """
        ...

    async def get(self, name: str) -> bytes:
        """Return a file.

        Raises:
            FileMissing: it is not there.
            ArchiveFailed: it cannot be read.
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

    def sizes(self, names: Collection[str]) -> dict[str, int | None]:
        """Return how many bytes those of some files have that are there.

        ``None``: one is there and cannot be read. None is opened for that. This waits
        for the other side: call it with ``in_thread``.

        Raises:
            ArchiveFailed: the place cannot be looked at.
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
    return f"events-{first_event_id:012}-{mac.hex()[:16]}{anew}{suffix}"


def open_shelf(url: str) -> Shelf:
    """Return the shelf at a URL, or at the path of a directory.

    One that cannot be reached is found out when it is asked for something.
    """
    return BucketShelf(url) if BUCKET in url else DirectoryShelf(Path(url))


class DirectoryShelf:
    """Files in a directory, which somebody has made: one that is missing may be a disk
    that is not mounted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def place(self) -> str:
        """Return the path."""
        return str(self._folder)

    async def put(self, name: str, content: bytes) -> None:
        """Write a file; it survives a power loss once this returns."""
        try:
            await asyncio.to_thread(
                replace_file, self._folder / name, content, durably=True
            )
        except OSError as error:
            raise ArchiveFailed(
                f"{self._folder / name} cannot be written: {error.strerror}"
            ) from error

    async def get(self, name: str) -> bytes:
        """Read a file."""
        try:
            return await asyncio.to_thread(
                read_small_file, self._folder / name, bytes_max=FILE_BYTES_MAX
            )
        except OSError as error:
            is_gone = isinstance(error, FileNotFoundError) and self._folder.is_dir()
            raise (FileMissing if is_gone else ArchiveFailed)(
                f"{self._folder / name} cannot be read: {error.strerror}"
            ) from error

    async def sync(self, name: str) -> None:
        """Put a file and its name on disk."""
        path = self._folder / name
        try:
            for one in (path, self._folder):
                await asyncio.to_thread(sync, one)
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
            await asyncio.to_thread(delete)
        except OSError as error:
            raise ArchiveFailed(
                f"{path} cannot be deleted: {error.strerror}"
            ) from error

    def sizes(self, names: Collection[str]) -> dict[str, int | None]:
        """Look at each file: others may have very many more in the directory."""
        try:
            os.stat(f"{self._folder}/")  # noqa: PTH116 - fails if it is no directory
            found: dict[str, int | None] = {}
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    found[name] = _readable_bytes(self._folder / name)
        except OSError as error:
            raise ArchiveFailed(
                f"{error.filename} cannot be looked at: {error.strerror}"
            ) from error
        return found


def _readable_bytes(path: Path) -> int | None:
    status = path.stat()
    is_readable = stat.S_ISREG(status.st_mode) and os.access(path, os.R_OK)
    return status.st_size if is_readable else None


class BucketShelf:
    """Files in a bucket: S3 and what speaks like it, Google Cloud Storage, Azure.

    Keys and regions come from the environment, as every client of theirs reads them.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    @property
    def place(self) -> str:
        """Return the URL, without what may be secret in it."""
        parts = urlsplit(self._url)
        return f"{parts.scheme}://{parts.hostname or ''}{parts.path}"

    async def put(self, name: str, content: bytes) -> None:
        """Upload a file, which is there as a whole or not at all."""
        await self._asked("written", name, lambda of: of.put(content))

    async def get(self, name: str) -> bytes:
        """Download a file."""
        found: bytes = await self._asked("read", name, lambda of: of.get())
        return found

    async def sync(self, name: str) -> None:
        """Do nothing: what a bucket has, it keeps."""

    async def delete(self, name: str) -> None:
        """Delete a file; a bucket that keeps versions keeps what it was."""
        with contextlib.suppress(FileMissing):
            await self._asked("deleted", name, lambda of: of.delete())

    def sizes(self, names: Collection[str]) -> dict[str, int | None]:
        """List the bucket: to ask for each file would take a request for each."""
        self._check_package()
        wanted = frozenset(names)
        try:
            return {
                name: size
                for name, size in _InBucket(self._url).listed()
                if name in wanted
            }
        except _errors() as error:
            raise ArchiveFailed(
                f"{self.place} cannot be looked at: {_first_line(error)}"
            ) from error

    def _check_package(self) -> None:
        if find_spec(PACKAGE) is None:
            raise ArchiveFailed(
                f"{self.place} is a bucket, which needs obstore: {installing('archive')}"
            )

    async def _asked(
        self, what: str, name: str, ask: Callable[["_InBucket"], Any]
    ) -> Any:
        self._check_package()
        try:
            return await asyncio.wrap_future(
                in_thread(lambda: ask(_InBucket(self._url, name)))
            )
        except _errors() as error:
            is_gone = isinstance(error, FileNotFoundError)
            raise (FileMissing if is_gone else ArchiveFailed)(
                f"{name} cannot be {what} at {self.place}: {_first_line(error)}"
            ) from error


class _InBucket:
    """A bucket, and one file in it; every call waits for the other side."""

    def __init__(self, url: str, name: str = "") -> None:
        self._obstore: Any = import_module(PACKAGE)
        stores: Any = import_module(f"{PACKAGE}.store")
        self._store: Any = stores.from_url(
            url, client_options=CLIENT, retry_config=RETRY
        )
        self._name = name

    def put(self, content: bytes) -> None:
        self._obstore.put(self._store, self._name, content)

    def get(self) -> bytes:
        found = self._obstore.get(self._store, self._name)
        if found.meta["size"] > FILE_BYTES_MAX:
            raise ValueError(f"larger than {FILE_BYTES_MAX} bytes")
        return bytes(found.bytes())

    def delete(self) -> None:
        self._obstore.delete(self._store, self._name)

    def listed(self) -> Iterator[tuple[str, int]]:
        for page in self._obstore.list(self._store, chunk_size=LISTED_AT_ONCE):
            yield from ((one["path"], one["size"]) for one in page)


def in_thread(ask: Callable[[], T]) -> Future[T]:
    """Call what waits for the other side, and return what will be its answer.

    In a thread: what obstore leaves behind of its own waiting may bring down an
    interpreter that ends. In one of its own: for those of asyncio the end waits, and a
    bucket that does not answer, or a directory of another host, takes minutes.
    """
    answer: Future[T] = Future()

    def run() -> None:
        if not answer.set_running_or_notify_cancel():
            return
        try:
            answer.set_result(ask())
        except Exception as error:  # noqa: BLE001 - whoever waits handles it
            answer.set_exception(error)

    Thread(target=run, name="archive", daemon=True).start()
    return answer


def _errors() -> tuple[type[Exception], ...]:
    base: type[Exception] = import_module(f"{PACKAGE}.exceptions").BaseError
    return (base, OSError, ValueError)


def _first_line(error: Exception) -> str:
    """Return what an error says, without what is for its makers."""
    return str(error).partition("\n")[0]
