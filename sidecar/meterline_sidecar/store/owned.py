"""Whose usage is: the words of queries that ask, and a list for who reads much.

A subject that had one payer belongs to them with all of its usage. One that changed
hands belongs to each payer for a time, and its usage of that time with it.
"""

from collections import defaultdict
from collections.abc import Container, Mapping, Sequence
from typing import Final

from meterline_sidecar.clock import DAY_MS
from meterline_sidecar.store.columns import marks
from meterline_sidecar.store.port import Tx, Value

Step = tuple[int, str | None]
"""From when on, and who pays."""
NOBODY: Final = "IS NULL"
"""A test of a payer: there is none."""
PAID: Final = "IS NOT NULL"
"""A test of a payer: there is one."""


def one_of(n_customers: int) -> str:
    """Return a test of a payer: one of so many customers, given as parameters."""
    return "= ?" if n_customers == 1 else f"IN ({marks(n_customers)})"


def whole(test: str) -> str:
    """Return the query for the subjects that belong to a payer with all they used.

    For nobody, 0 is among them: it stands for events that nobody could be named for.
    """
    subjects = f"SELECT id FROM subjects WHERE is_split = 0 AND customer {test}"  # noqa: S608 - our own words
    return f"SELECT 0 UNION ALL {subjects}" if test == NOBODY else subjects


def parts(test: str) -> str:
    """Return the query for the times in which subjects that changed hands are theirs.

    Cut to a span; ``first_ms`` and ``last_ms`` are the midnights that whole days lie
    between, where there are any. For ``parts_given``.
    """
    return (
        "SELECT subject_id, customer, start_ms, end_ms,"  # noqa: S608 - our own words
        f" (start_ms + {DAY_MS - 1}) / {DAY_MS} * {DAY_MS} AS first_ms,"
        f" end_ms / {DAY_MS} * {DAY_MS} AS last_ms FROM"
        " (SELECT subject_id, customer,"
        " CASE WHEN from_ms > ? THEN from_ms ELSE ? END AS start_ms,"
        " CASE WHEN end_ms < ? THEN end_ms ELSE ? END AS end_ms"
        f" FROM owners WHERE customer {test} AND from_ms < ? AND end_ms > ?) AS cut"
    )


def parts_given(*customers: str, start: int, end: int) -> tuple[Value, ...]:
    """Return the parameters of ``parts``."""
    return (start, start, end, end, *customers, end, start)


class Payers:
    """Who pays for every subject, at any time."""

    def __init__(self) -> None:
        self._whole: dict[int, str | None] = {}
        self._parts: dict[int, list[Step]] = defaultdict(list)

    def add(self, subject_id: int, customer: str | None) -> None:
        """Note who pays for all that a subject used."""
        self._whole[subject_id] = customer

    def add_part(self, subject_id: int, from_ms: int, customer: str | None) -> None:
        """Note who pays from a time on; in order of time."""
        self._parts[subject_id].append((from_ms, customer))

    def followed_by(self, histories: Mapping[int, Sequence[Step]]) -> "Payers":
        """Return who would pay if these subjects had other payers, in order of time."""
        copy = Payers()
        copy._whole = dict(self._whole)
        copy._parts.update(self._parts)
        for subject_id, history in histories.items():
            copy._whole.pop(subject_id, None)
            copy._parts[subject_id] = list(history)
        return copy

    def subjects_of(self, customers: Container[str]) -> set[int]:
        """Return the subjects that one of these customers pays for at any time."""
        found = {
            subject_id
            for subject_id, who in self._whole.items()
            if who is not None and who in customers
        }
        found.update(
            subject_id
            for subject_id, parts in self._parts.items()
            if any(who is not None and who in customers for _, who in parts)
        )
        return found

    def at(self, subject_id: int, time_ms: int) -> str | None:
        """Return who pays for what a subject used at a time."""
        parts = self._parts.get(subject_id)
        if parts is None:
            return self._whole.get(subject_id)
        return next((who for since, who in reversed(parts) if since <= time_ms), None)


async def times_of(tx: Tx, customer: str) -> dict[int, list[tuple[int, int]]]:
    """Return from when to when a customer pays for subjects that changed hands."""
    found: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for subject_id, from_ms, end_ms in await tx.fetch_all(
        "SELECT subject_id, from_ms, end_ms FROM owners WHERE customer = ?"
        " ORDER BY subject_id, from_ms",
        (customer,),
    ):
        found[subject_id].append((from_ms, end_ms))
    return dict(found)


async def read_payers(tx: Tx) -> Payers:
    """Return who pays for every subject."""
    payers = Payers()
    for subject_id, customer in await tx.fetch_all(
        "SELECT id, customer FROM subjects WHERE is_split = 0"
    ):
        payers.add(subject_id, customer)
    for subject_id, from_ms, customer in await tx.fetch_all(
        "SELECT subject_id, from_ms, customer FROM owners ORDER BY subject_id, from_ms"
    ):
        payers.add_part(subject_id, from_ms, customer)
    return payers
