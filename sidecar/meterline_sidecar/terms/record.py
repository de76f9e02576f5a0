"""Writes changes of terms, with the subjects that change hands by them."""

from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from typing import Final, NamedTuple, Protocol

from msgspec import UNSET

from meterline_sidecar.store import facts, outbox_hours
from meterline_sidecar.store import terms as store
from meterline_sidecar.store.port import Database, Tx
from meterline_sidecar.store.terms import NewTerm, Source, TermRow
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.terms.change import Change, CustomerChange, encode, kind_of
from meterline_sidecar.terms.claims import MARK, Step, turn

SUBJECTS_PER_STEP: Final = 5_000
ROWS_PER_STEP: Final = 500
TEXTS_PER_STEP: Final = 500
"""Subjects that are written out, brought up in one transaction."""
OWNERS_ROW: Final = "owners_settled_row"
"""Up to which row of terms the subjects are brought; a fact of the ledger."""


class Planned(NamedTuple):
    """A change that is to be written."""

    name: str
    """Of the customer, the plan, the meter, or the pattern."""
    change: Change
    from_ms: int
    reason: str = ""
    reaches_final: bool = False


class Journal(Protocol):
    """Links rows, so that one that is changed later is found."""

    async def link_all(self, tx: Tx, entry: str, row_ids: Sequence[int]) -> None:
        """Link rows that were written in this transaction, in order."""
        ...


async def record(
    tx: Tx,
    planned: Iterable[Planned],
    *,
    journal: Journal,
    now_ms: int,
    source: Source,
    author: str,
) -> list[TermRow]:
    """Write changes as rows, in order, and return them.

    The caller takes them into ``Terms`` once the transaction has committed, and then
    brings the subjects up to them with ``settle_owners``.
    """
    new = list(_rows(planned, now_ms=now_ms, source=source, author=author))
    rows: list[TermRow] = []
    for i in range(0, len(new), ROWS_PER_STEP):
        written = await store.add_terms(tx, new[i : i + ROWS_PER_STEP])
        await journal.link_all(tx, "terms", [row.id for row in written])
        rows += written
    return rows


def _rows(
    planned: Iterable[Planned], *, now_ms: int, source: Source, author: str
) -> Iterator[NewTerm]:
    for change in planned:
        yield NewTerm(
            kind=kind_of(change.change),
            name=change.name,
            change=encode(change.change),
            from_ms=change.from_ms,
            learned_ms=now_ms,
            source=source,
            author=author,
            reason=change.reason,
            reaches_final=int(change.reaches_final),
        )


def supposed(terms: Terms, planned: Iterable[Planned], *, now_ms: int) -> Terms:
    """Return terms as they would be with changes that nobody has agreed to yet."""
    rows = _rows(planned, now_ms=now_ms, source="file", author="")
    first = terms.row_id + 1
    return terms.followed_by(TermRow(i, *row) for i, row in enumerate(rows, first))


async def settle_owners(database: Database, terms: Terms, *, since_ms: int) -> int:
    """Bring the ledger's subjects up to what is claimed; return how many changed.

    In steps that can be killed between any two: where one was, the next start goes
    on. Stripe hears of a subject that moved for the hours from ``since_ms`` on.
    """
    async with database.reading() as tx:
        done = int(await facts.get_fact(tx, OWNERS_ROW) or 0)
    if done >= terms.row_id:
        return 0
    n_changed = 0
    texts = sorted(_texts_after(terms, done))
    names = [text for text in texts if not text.endswith(MARK)]
    for i in range(0, len(names), TEXTS_PER_STEP):
        async with database.transaction() as tx:
            subjects = await store.subjects_named(tx, _step(names, i))
            n_changed += await _own(tx, terms, subjects, since_ms=since_ms)
    for text in texts:
        if text.endswith(MARK):
            n_changed += await _settle(database, terms, text, since_ms=since_ms)
    async with database.transaction() as tx:
        await facts.put_fact(tx, OWNERS_ROW, str(terms.row_id))
    return n_changed


async def subjects_meant(
    tx: Tx, texts: Iterable[str]
) -> AsyncGenerator[list[tuple[int, str]]]:
    """Yield the subjects that were seen and that texts, as written, mean, in pieces.

    One that several texts mean comes with each of them.
    """
    for text in texts:
        if not text.endswith(MARK):
            yield await store.subject_named(tx, text)
            continue
        prefix, after = text.removesuffix(MARK), ""
        while found := await store.subjects_between(
            tx, prefix, _beyond(prefix), after=after, limit=SUBJECTS_PER_STEP
        ):
            yield found
            after = found[-1][1]


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


def _step(names: list[str], start: int) -> list[str]:
    return names[start : start + TEXTS_PER_STEP]


async def _settle(
    database: Database, terms: Terms, pattern: str, *, since_ms: int
) -> int:
    """Bring up the subjects that begin with what stands before the mark."""
    prefix = pattern.removesuffix(MARK)
    n_changed, after = 0, ""
    while True:
        async with database.transaction() as tx:
            subjects = await store.subjects_between(
                tx, prefix, _beyond(prefix), after=after, limit=SUBJECTS_PER_STEP
            )
            n_changed += await _own(tx, terms, subjects, since_ms=since_ms)
        if len(subjects) < SUBJECTS_PER_STEP:
            return n_changed
        after = subjects[-1][1]


async def _own(
    tx: Tx, terms: Terms, subjects: Sequence[tuple[int, str]], *, since_ms: int
) -> int:
    """Store who pays for these subjects; return for how many that changed."""
    changed: list[tuple[int, list[Step]]] = []
    for subject_id, name in subjects:
        history = terms.claims.history(name)
        if history != await store.owner_of(tx, subject_id):
            changed.append((subject_id, history))
    ids = [subject_id for subject_id, _ in changed]
    # For whoever paid before, and again for whoever pays from now on.
    await outbox_hours.note_subjects(tx, ids, since_ms=since_ms)
    for subject_id, history in changed:
        await store.set_owner(tx, subject_id, history)
    await outbox_hours.note_subjects(tx, ids, since_ms=since_ms)
    return len(changed)


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
