"""Terms for tests that need meters and no files."""

from meterline_sidecar.meters import Meter
from meterline_sidecar.store.terms import TermRow
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.terms.change import MeterChange, encode


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
