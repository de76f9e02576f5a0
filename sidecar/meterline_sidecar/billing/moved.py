"""Which subjects would change hands for a time that is past, and who would pay then."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from msgspec import UNSET

from meterline_sidecar.store import terms as store
from meterline_sidecar.store.port import Readable, Tx
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.terms.change import CustomerChange
from meterline_sidecar.terms.claims import Claims, Step
from meterline_sidecar.terms.diff import Diff
from meterline_sidecar.terms.record import Planned
from meterline_sidecar.terms.settle import Meant
from meterline_sidecar.usage.recount import Moves

SUBJECTS_MAX: Final = 20_000
"""Whose usage is compared: a second of looking up who pays."""


SUBJECTS_PER_READ: Final = 500


class Moving(NamedTuple):
    """What would change hands."""

    moves: Moves | None
    """``None``: nothing, or more than is looked at."""
    not_looked_at: int
    """How many subjects that are claimed otherwise are more than is looked at."""


async def moving(database: Readable, terms: Terms, diff: Diff) -> Moving:
    """Return which subjects would have had another payer by now."""
    # In a thread: very many changes take longer than an ack may wait.
    meant = await asyncio.to_thread(lambda: Meant(_texts(terms, diff)))
    subjects: dict[int, str] = {}
    n_subjects = 0
    async with database.reading() as tx:
        async for some in meant.all(tx):
            n_subjects += len(some)
            if n_subjects <= SUBJECTS_MAX:
                subjects.update(some)
    if n_subjects > SUBJECTS_MAX:
        return Moving(None, n_subjects)
    if not subjects:
        return Moving(None, 0)
    # In a thread: a copy of very many claims takes longer than an ack may wait.
    claims = await asyncio.to_thread(_supposed, terms, diff)
    async with database.reading() as tx:
        return Moving(await _moves(tx, claims, subjects), 0)


def _texts(terms: Terms, diff: Diff) -> set[str]:
    """Return what is claimed otherwise for a time that is past, as written."""
    return {
        text
        for one, change in _of_the_past(diff)
        for text in terms.claims.changed_by(
            one.name, _subjects(change), from_ms=one.from_ms
        )
    }


def _of_the_past(diff: Diff) -> Iterator[tuple[Planned, CustomerChange]]:
    for planned in diff.planned:
        change = planned.change
        if not isinstance(change, CustomerChange) or change.subjects is UNSET:
            continue
        since = [planned.from_ms, change.unclaimed_from_ms]
        if any(at_ms is not UNSET and at_ms < diff.at_ms for at_ms in since):
            yield planned, change


def _subjects(change: CustomerChange) -> Sequence[str]:
    return () if change.subjects is UNSET else change.subjects


def _supposed(terms: Terms, diff: Diff) -> Claims:
    """Return who would claim which subjects."""
    claims = terms.claims.copy()
    for planned in diff.planned:
        if isinstance(planned.change, CustomerChange):
            claims.change(
                planned.name, planned.from_ms, planned.change, learned_ms=diff.at_ms
            )
    return claims


async def _moves(tx: Tx, claims: Claims, subjects: dict[int, str]) -> Moves | None:
    histories: dict[int, list[Step]] = {}
    customers: set[str] = set()
    since: list[int] = []
    owners: dict[int, list[Step]] = {}
    ids = list(subjects)
    for i in range(0, len(ids), SUBJECTS_PER_READ):
        owners |= await store.owners_of(tx, ids[i : i + SUBJECTS_PER_READ])
    for subject_id, name in subjects.items():
        before, after = owners[subject_id], claims.history(name)
        at_ms = _first_difference(before, after)
        if at_ms is not None:
            histories[subject_id] = after
            since.append(at_ms)
            customers.update(who for _, who in (*before, *after) if who is not None)
    if not histories:
        return None
    return Moves(min(since), histories, frozenset(customers))


def _first_difference(one: Sequence[Step], other: Sequence[Step]) -> int | None:
    """Return from when on two histories differ; ``None``: they do not."""
    for at_ms in sorted({at_ms for at_ms, _ in (*one, *other)}):
        if _at(one, at_ms) != _at(other, at_ms):
            return at_ms
    return None


def _at(steps: Sequence[Step], at_ms: int) -> str | None:
    return next((who for from_ms, who in reversed(steps) if from_ms <= at_ms), None)
