"""Files of the archive in a bucket of an object store."""

import contextlib
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final
from urllib.parse import urlsplit

from meterline_sidecar.errors import ArchiveFailed, installing
from meterline_sidecar.ledger.shelf import (
    FILE_BYTES_MAX,
    WRITE_S,
    Calls,
    FileMissing,
    Sizes,
    Unreadable,
)

PACKAGE: Final = "obstore"
# Each request by itself ends long before ``WRITE_S``.
CLIENT: Final = {"timeout": "60s", "connect_timeout": "5s", "allow_http": True}
"""Without TLS only where somebody names such an endpoint: no store has one by itself."""
RETRY: Final = {"max_retries": 2, "retry_timeout": timedelta(seconds=30)}
"""Soon given up: what cannot be written stays, and the next run tries again."""
LISTED_AT_ONCE: Final = 1_000  # as many as S3 answers a request with
LISTS_MAX: Final = 100
"""Of one look at a bucket: 100,000 files, if no others lie between."""


class BucketShelf:
    """Files in a bucket: S3 and what speaks like it, Google Cloud Storage, Azure.

    Keys and regions come from the environment, as every client of theirs reads them.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._calls = Calls(self.place)

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

    async def names(self, behind: str) -> list[str]:
        """List the bucket from there on."""
        listed: dict[str, int] = await self._asked(
            "looked for", behind, lambda of: of.listed(behind)
        )
        return sorted(listed)

    async def sync(self, name: str) -> None:
        """Do nothing: what a bucket has, it keeps."""

    async def delete(self, name: str) -> None:
        """Delete a file; a bucket that keeps versions keeps what it was."""
        with contextlib.suppress(FileMissing):
            await self._asked("deleted", name, lambda of: of.delete())

    def sizes(self, names: Iterable[str]) -> Sizes:
        """List the bucket where files should be, whatever others have there."""
        self._check_package()
        try:
            return _InBucket(self._url).sizes(sorted(names))
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
            return await self._calls.done(
                lambda: ask(_InBucket(self._url, name)), answer_s=WRITE_S
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

    def sizes(self, names: Sequence[str]) -> Sizes:
        """Return how large the first of some files are, whose names are in order.

        Each list begins with the first file that is not known yet: so however many
        objects of others lie before and between, no file takes more than one list.
        """
        found: Sizes = {}
        for _ in range(LISTS_MAX):
            left = names[len(found) :]
            if not left:
                break
            page = self.listed(_just_before(left[0]))
            is_last = len(page) < LISTED_AT_ONCE
            n_known = len(left) if is_last else bisect_right(left, max(page))
            found |= {name: page.get(name, Unreadable.GONE) for name in left[:n_known]}
        return found

    def listed(self, behind: str) -> dict[str, int]:
        """Return the sizes of the first files that sort behind a name."""
        pages = self._obstore.list(
            self._store, offset=behind, chunk_size=LISTED_AT_ONCE
        )
        return {one["path"]: one["size"] for one in next(iter(pages), ())}


def _just_before(name: str) -> str:
    """Return what sorts before a name, and behind nearly all others that do."""
    return f"{name[:-1]}{chr(ord(name[-1]) - 1)}z"


def _errors() -> tuple[type[Exception], ...]:
    base: type[Exception] = import_module(f"{PACKAGE}.exceptions").BaseError
    return (base, OSError, ValueError)


def _first_line(error: Exception) -> str:
    """Return what an error says, without what is for its makers."""
    return str(error).partition("\n")[0].rstrip(": ")
