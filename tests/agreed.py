"""Terms for tests that need meters and no files."""

from typing import Final

from msgspec import UNSET, UnsetType

from meterline_sidecar.ledger.journal import Journal
from meterline_sidecar.meters import Meter
from meterline_sidecar.store.port import Database
from meterline_sidecar.store.terms import Kind, NewTerm, TermRow, add_terms
from meterline_sidecar.terms.book import Entry, Terms
from meterline_sidecar.terms.change import CustomerChange, MeterChange, encode
from meterline_sidecar.terms.settle import settle_owners

KINDS: Final[tuple[Kind, ...]] = ("customer", "plan", "meter", "rule")


def agree_to(
    terms: Terms,
    name: str,
    meter: Meter | None,
    *,
    from_ms: int,
    learned_ms: int | None = None,
) -> Terms:
    """Add a row about a meter, learned when it begins to hold unless said otherwise."""
    row = TermRow(
        id=terms.row_id + 1,
        kind="meter",
        name=name,
        change=encode(MeterChange(meter=meter)),
        from_ms=from_ms,
        learned_ms=from_ms if learned_ms is None else learned_ms,
        source="file",
        author="test",
        reason="",
        reaches_final=0,
    )
    terms.add([row])
    return terms


def terms_of(*meters: Meter) -> Terms:
    """Return terms in which these meters held from the beginning."""
    terms = Terms()
    for meter in meters:
        agree_to(terms, meter.name, meter, from_ms=0)
    return terms


def claim(
    terms: Terms,
    customer: str,
    *subjects: str,
    from_ms: int = 0,
    time_zone: str | UnsetType = UNSET,
) -> Terms:
    """Add a row by which a customer pays for subjects from a time on."""
    row = TermRow(
        id=terms.row_id + 1,
        kind="customer",
        name=customer,
        change=encode(CustomerChange(subjects=subjects, time_zone=time_zone)),
        from_ms=from_ms,
        learned_ms=from_ms,
        source="file",
        author="test",
        reason="",
        reaches_final=0,
    )
    terms.add([row])
    return terms


async def keep(database: Database, terms: Terms, *, key: bytes) -> None:
    """Write terms that the ledger does not know, as the sidecar's keeper does."""
    async with database.transaction() as tx:
        known = Terms()
        await known.catch_up(tx)
        entries: list[tuple[Entry, Kind, str]] = [
            (entry, kind, name)
            for kind in KINDS
            for name in terms.names(kind)
            for entry in terms.entries(kind, name)
            if entry.row_id > known.row_id
        ]
        for entry, kind, name in sorted(entries, key=lambda found: found[0].row_id):
            new = NewTerm(
                kind=kind,
                name=name,
                change=encode(entry.change),
                from_ms=entry.from_ms,
                learned_ms=entry.learned_ms,
                source=entry.source,
                author="test",
            )
            (row,) = await add_terms(tx, [new])
            assert row.id == entry.row_id
            await Journal(key).link(tx, "terms", row.id)
    await settle_owners(database, terms, since_ms=0)
