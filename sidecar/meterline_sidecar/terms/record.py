"""Writes changes of terms as rows, and supposes what they would come to."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple, Protocol

from meterline_sidecar.store import terms as store
from meterline_sidecar.store.port import Tx
from meterline_sidecar.store.terms import NewTerm, Source, TermRow
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.terms.change import Change, encode, kind_of

ROWS_PER_STEP: Final = 500


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
