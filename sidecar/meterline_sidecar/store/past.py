"""SQL that says which of several customers have anything at all in the ledger."""

from collections.abc import Sequence
from typing import Literal

from meterline_sidecar.store.columns import marks, pieces
from meterline_sidecar.store.port import Tx

What = Literal["invoices", "adjustments", "uses", "credits", "held"]


async def having(tx: Tx, customers: Sequence[str]) -> frozenset[tuple[What, str]]:
    """Return what each of some customers has rows of, and the customer.

    ``held`` are events that nobody has decided about, of subjects that a customer pays
    for or ever paid for. Most customers have nothing of most: who is to ask for many
    asks this first.
    """
    found: set[tuple[What, str]] = set()
    for part in pieces(customers):
        among = f"IN ({marks(len(part))})"
        rows = await tx.fetch_all(
            f"SELECT 'invoices', customer FROM invoices WHERE customer {among}"  # noqa: S608 - only marks
            f" UNION SELECT 'adjustments', customer FROM adjustments WHERE customer {among}"
            f" UNION SELECT 'uses', customer FROM term_uses WHERE customer {among}"
            f" UNION SELECT 'credits', customer FROM credits WHERE customer {among}"
            " UNION SELECT 'held', s.customer FROM held_events h"
            " JOIN subjects s ON s.id = h.subject_id"
            f" WHERE h.state = 'waiting' AND s.customer {among}"
            " UNION SELECT 'held', o.customer FROM held_events h"
            " JOIN owners o ON o.subject_id = h.subject_id"
            f" WHERE h.state = 'waiting' AND o.customer {among}",
            [*part] * 6,
        )
        found.update((row[0], row[1]) for row in rows)
    return frozenset(found)
