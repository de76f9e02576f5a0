"""Who changed what money stands on, and when: read from the journal, in its order.

Every decision has a row that is never changed, with its author and reason, and a link
of the journal's chain. This puts them into words; ``meterline verify`` proves them.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from meterline_sidecar.billing.documents import document_of, number_text
from meterline_sidecar.problems.problem import n_of
from meterline_sidecar.store import invoices, journal
from meterline_sidecar.store.documents import DocumentRow
from meterline_sidecar.store.edge import imports
from meterline_sidecar.store.journal import Link
from meterline_sidecar.store.port import Row, Tx
from meterline_sidecar.terms.change import decode
from meterline_sidecar.terms.words import worded

BY_ITSELF: Final = "schedule"
TERMS: Final = "terms"
STATES: Final = "invoice_states"
PAYMENTS: Final = "payments"
OF_INVOICES: Final = (STATES, PAYMENTS)
"""Tables whose rows name an invoice by its row, which people know by customer and period."""
IMPORT_STATES: Final = "import_states"
LINKS_PER_READ: Final = 100
READS_MAX: Final = 50  # 5,000 links: some 10 ms


class Act(NamedTuple):
    """Something that somebody decided, or that happened by itself."""

    link: int
    """Of the journal: acts are in its order."""
    at_ms: int
    author: str
    about: str
    """What it is about: ``customer acme``, ``plan basic``."""
    what: str
    reason: str
    change: str = ""
    """All that a change of terms says, in JSON."""


def _term(row: Row) -> tuple[int, str, str, str, str]:
    _id, kind, name, change, from_ms, learned_ms, _source, author, reason, *_ = row
    what = f"agreed: {worded(decode(kind, change), from_ms)}"
    return learned_ms, author, f"{kind} {name}", what, reason


def _credit(row: Row) -> tuple[int, str, str, str, str]:
    row_id, customer, _key, kind, _title, currency, amount, *_days = row[:7]
    at_ms, author, reason = row[10:13]
    what = f"credit {row_id} granted, {kind}: {amount} {currency.upper()}"
    return at_ms, author, f"customer {customer}", what, reason


def _credit_end(row: Row) -> tuple[int, str, str, str, str]:
    _id, credit_id, ended_ms, author, reason = row
    return ended_ms, author, f"credit {credit_id}", "ended", reason


def _decision(row: Row) -> tuple[int, str, str, str, str]:
    _id, event_id, is_accepted, decided_ms, author, reason = row
    what = "accepted" if is_accepted else "rejected"
    return decided_ms, author, f"held event {event_id}", what, reason


def _correction(row: Row) -> tuple[int, str, str, str, str]:
    row_id, kind, _key, query, reverts, _first, _own, n_events = row[:8]
    what = f"{kind}: {n_of(n_events, 'event')}, {query}"
    if reverts is not None:
        what = f"correction {reverts} taken back: {n_of(n_events, 'event')}"
    return row[9], row[10], f"correction {row_id}", what, row[11]


def _edge(row: Row) -> tuple[int, str, str, str, str]:
    _id, edge_id, decision, decided_ms, author, reason = row
    what = "retired" if decision == "retire" else "adopted, whatever ledger it has now"
    return decided_ms, author, f"edge {edge_id}", what, reason


def _late_rejection(row: Row) -> tuple[int, str, str, str, str]:
    _id, correction_id, rejected_ms, author, reason = row
    about = f"correction {correction_id}"
    return rejected_ms, author, about, "late usage rejected", reason


def _move(row: Row) -> tuple[int, str, str, str, str]:
    _id, is_out, file, *_ = row
    what = "left for the archive" if is_out else "came back from the archive"
    return row[-1], BY_ITSELF, f"file {file}", f"events {what}", ""


def _document(row: Row) -> tuple[int, str, str, str, str] | None:
    _id, series, number, kind, _invoice, customer, period, currency, amount = row[:9]
    if kind == "invoice":
        return None  # its state says so
    said = document_of(DocumentRow(*row)).details
    what = f"{number_text(series, number)}: {amount} {currency.upper()} credited"
    about = f"invoice of {customer} for {period}"
    return row[9], said.author or BY_ITSELF, about, what, said.reason


def _payment(row: Row) -> tuple[int, str, str, str, str]:
    _id, invoice_id, _customer, _key, currency, amount, paid_on, reference = row[:8]
    at_ms, author, reason = row[8:]
    is_back = amount.startswith("-")
    what = f"{amount.removeprefix('-')} {currency.upper()}"
    what += " given back" if is_back else f" paid on {paid_on}"
    words = f"{what}, {reference}" if reference else what
    return at_ms, author, f"invoice {invoice_id}", words, reason


def _generation_end(row: Row) -> tuple[int, str, str, str, str]:
    _id, generation, ended_ms, author, reason = row
    return ended_ms, author, f"count {generation}", "counting again given up", reason


def _import(row: Row) -> tuple[int, str, str, str, str]:
    _id, name, file, begun_ms, author, reason = row
    return begun_ms, author, f"import {name}", f"{file} begun", reason


def _import_state(row: Row) -> tuple[int, str, str, str, str]:
    _id, import_id, state, at_ms, author, lines, events, bad, *counts = row
    what = f"{state}: {lines} lines, {events} events, {bad} bad"
    if state == "committed":
        accepted, duplicates, conflicts = counts
        what += f"; {accepted} accepted, {duplicates} duplicates, {conflicts} conflicts"
    return at_ms, author, f"import {import_id}", what, ""


def _state(row: Row) -> tuple[int, str, str, str, str]:
    _id, invoice_id, state, at_ms, author, cause = row
    return at_ms, author, f"invoice {invoice_id}", state, cause


def _erasure(row: Row) -> tuple[int, str, str, str, str]:
    _id, alias, _digest, events, _batches, erased_ms, author, reason = row
    what = f"name erased, {n_of(events, 'event')} kept under {alias}"
    return erased_ms, author, f"subject {alias}", what, reason


WORDS: Final[Mapping[str, Callable[[Row], tuple[int, str, str, str, str] | None]]] = {
    TERMS: _term,
    STATES: _state,
    PAYMENTS: _payment,
    "documents": _document,
    "credits": _credit,
    "credit_ends": _credit_end,
    "held_decisions": _decision,
    "corrections": _correction,
    "edge_decisions": _edge,
    "late_rejections": _late_rejection,
    "archive_moves": _move,
    "generation_ends": _generation_end,
    "imports": _import,
    IMPORT_STATES: _import_state,
    "erasures": _erasure,
}
"""By table: when, who, about what, what, and why. What follows from these, such as an
invoice's adjustments, is not told once more."""


async def acts_before(
    tx: Tx, link: int, *, customer: str | None = None, limit: int
) -> tuple[list[Act], int | None]:
    """Return what was decided before a link of the journal, the newest first.

    And the link to go on before, unless that was all: not every link is an act, so that
    a page may have fewer than there are, and none behind a very large month end.

    Args:
        customer: only what was decided about them: their terms, invoices, payments and
            credits. Plans, and decisions about events, are about nobody alone.
    """
    acts: list[Act] = []
    n_read = max(limit, LINKS_PER_READ)
    for _ in range(READS_MAX):
        if customer is None:
            links = await journal.links_before(
                tx, link, entries=list(WORDS), limit=n_read
            )
        else:
            links = await journal.links_about(tx, customer, before=link, limit=n_read)
        acts += await _told(tx, links)
        if len(acts) > limit:
            return acts[:limit], acts[limit - 1].link
        if len(links) < n_read:
            return acts, None
        link = links[-1].id
        if len(acts) == limit:
            break
    return acts, link


async def _told(tx: Tx, links: Sequence[Link]) -> list[Act]:
    ids: dict[str, list[int]] = defaultdict(list)
    for one in links:
        ids[one.entry].append(one.row_id)
    rows: dict[tuple[str, int], Row] = {
        (entry, row[0]): row
        for entry, row_ids in ids.items()
        for row in await journal.covered_rows(tx, entry, row_ids)
    }
    invoice_ids = [row[1] for (entry, _), row in rows.items() if entry in OF_INVOICES]
    names = await invoices.names_of(tx, invoice_ids) if invoice_ids else {}
    import_ids = [row[1] for (entry, _), row in rows.items() if entry == IMPORT_STATES]
    files = await imports.names_of(tx, import_ids) if import_ids else {}
    acts: list[Act] = []
    for one in links:
        row = rows.get((one.entry, one.row_id))
        if row is None:
            continue  # it is gone, which `verify` tells
        said = WORDS[one.entry](row)
        if said is None:
            continue
        act = Act(one.id, *said, change=row[3] if one.entry == TERMS else "")
        if one.entry in OF_INVOICES and row[1] in names:
            customer, period = names[row[1]]
            act = act._replace(about=f"invoice of {customer} for {period}")
        if one.entry == IMPORT_STATES and row[1] in files:
            act = act._replace(about=f"import {files[row[1]]}")
        acts.append(act)
    return acts
