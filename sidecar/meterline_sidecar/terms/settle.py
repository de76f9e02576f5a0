"""Brings the ledger's subjects up to what is claimed, in steps that others fit between."""

import asyncio
from bisect import bisect_right
from collections.abc import AsyncGenerator, Iterable, Sequence
from itertools import islice
from typing import Final

from msgspec import UNSET

from meterline_sidecar.store import facts, outbox_hours
from meterline_sidecar.store import terms as store
from meterline_sidecar.store.port import Database, Tx
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.terms.change import CustomerChange
from meterline_sidecar.terms.claims import MARK, turn

SUBJECTS_PER_STEP: Final = 500
"""Read, and brought up in one transaction: whoever ingests waits for it."""
OWNERS_ROW: Final = "owners_settled_row"
"""Up to which row of terms the subjects are brought; a fact of the ledger."""

Subjects = Sequence[tuple[int, str]]
"""The id and the name of each."""


class Meant:
    """The subjects that were seen and that texts, as written, mean; read in steps.

    Names and patterns are walked along in order, side by side with the subjects. One
    query passes over whatever lies between two of them, so that very many patterns
    cost no more queries than there are subjects to a step, and a last one.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        names: list[str] = []
        prefixes: list[str] = []
        for text in texts:
            if text.endswith(MARK):
                prefixes.append(text.removesuffix(MARK))
            else:
                names.append(text)
        self._names = iter(sorted(names))
        self._spans = _spans(sorted(prefixes))
        self._firsts = [first for first, _ in self._spans]
        self._after = ""
        self._is_done = not self._spans

    async def next(self, tx: Tx) -> Subjects | None:
        """Return some more of them, maybe none; ``None``: these were all.

        One comes twice where a text is its name, and another one a pattern of it.
        """
        if names := list(islice(self._names, SUBJECTS_PER_STEP)):
            return await store.subjects_named(tx, names)
        return None if self._is_done else await self._walk(tx)

    async def all(self, tx: Tx) -> AsyncGenerator[Subjects]:
        """Yield all of them, in steps."""
        while (some := await self.next(tx)) is not None:
            yield some

    async def _walk(self, tx: Tx) -> Subjects:
        i = self._span_of(self._after)
        if i is None:  # then the next one: what is read ends where the last one does
            i = bisect_right(self._firsts, self._after)
        subjects = await store.subjects_between(
            tx,
            self._firsts[i],
            self._spans[-1][1],
            after=self._after,
            limit=SUBJECTS_PER_STEP,
        )
        self._is_done = len(subjects) < SUBJECTS_PER_STEP
        if subjects:
            self._after = subjects[-1][1]
        return [one for one in subjects if self._span_of(one[1]) is not None]

    def _span_of(self, name: str) -> int | None:
        """Return in which span a name lies, if it does in one."""
        i = bisect_right(self._firsts, name) - 1
        if i < 0:
            return None
        beyond = self._spans[i][1]
        return i if beyond is None or name < beyond else None


async def settle_owners(database: Database, terms: Terms, *, since_ms: int) -> int:
    """Bring the ledger's subjects up to what is claimed; return how many changed.

    In steps that can be killed between any two: where one was, the next start goes
    on. Stripe hears of a subject that moved for the hours from ``since_ms`` on.
    """
    async with database.reading() as tx:
        done = int(await facts.get_fact(tx, OWNERS_ROW) or 0)
    if done >= terms.row_id:
        return 0
    # What is learned meanwhile is settled by whoever learns it.
    row_id = terms.row_id
    n_changed = 0
    # In a thread: of very many customers it takes longer than an ack may wait.
    meant = await asyncio.to_thread(lambda: Meant(_texts_after(terms, done)))
    while True:
        # Read where it is written: who is seen first meanwhile is stored with an owner
        # by what was learned before.
        async with database.transaction() as tx:
            subjects = await meant.next(tx)
            if subjects is None:
                await facts.put_fact(tx, OWNERS_ROW, str(row_id))
                return n_changed
            n_changed += await _own(tx, terms, subjects, since_ms=since_ms)


def _texts_after(terms: Terms, row_id: int) -> set[str]:
    """Return every subject and pattern, as written, that rows after an id concern."""
    found: set[str] = set()
    learned = {name for kind, name in terms.learned_after(row_id) if kind == "customer"}
    for name in learned:
        held: dict[str, int] = {}
        for entry in terms.entries("customer", name):
            assert isinstance(entry.change, CustomerChange)
            if entry.change.subjects is UNSET:
                continue
            changed = turn(held, entry.change.subjects, from_ms=entry.from_ms)
            if entry.row_id > row_id:
                found.update(changed.taken, changed.given_up)
            held = changed.held
    return found


async def _own(tx: Tx, terms: Terms, subjects: Subjects, *, since_ms: int) -> int:
    """Store who pays for these subjects; return for how many that changed."""
    if not subjects:
        return 0
    before = await store.owners_of(tx, [subject_id for subject_id, _ in subjects])
    changed = {
        subject_id: history
        for subject_id, name in subjects
        if (history := terms.claims.history(name)) != before[subject_id]
    }
    if changed:
        # For whoever paid before, and again for whoever pays from now on.
        await outbox_hours.note_subjects(tx, changed, since_ms=since_ms)
        await store.set_owners(tx, changed)
        await outbox_hours.note_subjects(tx, changed, since_ms=since_ms)
    return len(changed)


def _spans(prefixes: Iterable[str]) -> list[tuple[str, str | None]]:
    """Return ``[first, beyond)`` of all that begins with each of sorted prefixes.

    One that lies within another is left out.
    """
    found: list[tuple[str, str | None]] = []
    last: str | None = None
    for prefix in prefixes:
        if last is None or not prefix.startswith(last):
            found.append((prefix, _beyond(prefix)))
            last = prefix
    return found


def _beyond(prefix: str) -> str | None:
    """Return the first text behind all that begin with ``prefix``; ``None``: none.

    Python and SQLite both sort by code point, as UTF-8 keeps their order.
    """
    for i in reversed(range(len(prefix))):
        if ord(prefix[i]) < 0x10FFFF:
            code = ord(prefix[i]) + 1
            # Surrogates are no characters of a text that can be stored.
            return prefix[:i] + chr(0xE000 if 0xD800 <= code <= 0xDFFF else code)
    return None
