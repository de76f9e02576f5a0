"""The list of erased names beside the ledger, which no restore sets back.

It holds no name: a keyed digest of each, and the alias; likewise of the other words that
were given. A ledger that was put back from a
backup of before holds the name again, and does not know of its erasure: by the list that
is found out, and the name is erased again, under the same alias.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from meterline_sidecar.ledger import noted_lines
from meterline_sidecar.ledger.erased import ErasedWord, name_digest
from meterline_sidecar.store.edge import erase as store
from meterline_sidecar.store.port import Tx

SUBJECTS_PER_READ: Final = 10_000
MARK_CHARS: Final = 8
"""Of the alias, in the name of a file that was written anew."""


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """A name that was erased: a line of the list."""

    digest: str
    alias: str
    author: str
    reason: str
    also: tuple[ErasedWord, ...] = ()
    """Other words; not known of what is older than this field."""


def add(path: Path, listed: Listed) -> None:
    """Add a line, durably, unless it is there."""
    if listed not in read(path):
        noted_lines.append(path, listed)


def read(path: Path) -> list[Listed]:
    """Return what the list says, in order."""
    return noted_lines.read(path, Listed)


def mark_of(alias: str) -> str:
    """Return what marks the name of a file that was written anew for an erasure."""
    return f"-{alias[-MARK_CHARS:]}"


def marks(path: Path) -> tuple[str, ...]:
    """Return the marks of all that were ever written anew, the newest first."""
    return tuple(mark_of(listed.alias) for listed in reversed(read(path)))


async def undone(
    tx: Tx, key: bytes, listed: Iterable[Listed]
) -> list[tuple[Listed, str]]:
    """Return names that were erased, of which the ledger knows nothing and has them."""
    known = await store.aliases(tx)
    newest = {one.digest: one for one in listed}  # a name may be erased repeatedly
    missing = {digest: one for digest, one in newest.items() if one.alias not in known}
    found: list[tuple[Listed, str]] = []
    last = -1
    while missing and (
        subjects := await store.subjects_after(tx, last, limit=SUBJECTS_PER_READ)
    ):
        for _, name in subjects:
            one = missing.get(name_digest(key, name).hex())
            if one is not None:
                found.append((one, name))
        last = subjects[-1][0]
    order = [one.alias for one in missing.values()]
    return sorted(found, key=lambda pair: order.index(pair[0].alias))
