"""Numbers that were seen before, in a file of its own that is gone once it is closed.

However many there are, they take no more memory than SQLite's cache.
"""

import sqlite3
from collections.abc import Sequence
from typing import Self

from meterline_sidecar.store.columns import marks, pieces


class Seen:
    """Which numbers were seen, and what came first under each."""

    def __init__(self) -> None:
        # Without a name it is a temporary file; one thread at a time asks.
        self._db = sqlite3.connect("", check_same_thread=False)
        self._db.execute(
            "CREATE TABLE seen (number INTEGER PRIMARY KEY, said INTEGER) STRICT"
        )

    def __enter__(self) -> Self:
        """Return this."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Forget them."""
        self._db.close()

    def add(self, told: Sequence[tuple[int, int]]) -> list[int | None]:
        """Note numbers with what is said of each; return what was said of it before.

        ``None`` is the first time.
        """
        known: dict[int, int] = {}
        for part in pieces(told):
            rows = self._db.execute(
                f"SELECT number, said FROM seen WHERE number IN ({marks(len(part))})",  # noqa: S608 - only marks
                [number for number, _ in part],
            )
            known.update(rows.fetchall())
        new: dict[int, int] = {}
        found: list[int | None] = []
        for number, said in told:
            before = known.get(number)
            found.append(before)
            if before is None:
                known[number] = new[number] = said
        self._db.executemany(
            "INSERT INTO seen (number, said) VALUES (?, ?)", sorted(new.items())
        )
        return found
