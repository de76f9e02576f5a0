"""Closes some customers in one transaction, for as long as others may wait for it."""

import time
from collections.abc import Mapping, Sequence
from typing import Final

from meterline_pricing import PricingError
from meterline_sidecar.billing.close_run import Due, Wanted
from meterline_sidecar.billing.drafts import NotBillable
from meterline_sidecar.billing.invoices import Invoices
from meterline_sidecar.billing.lifecycle import Missing, note_accepted
from meterline_sidecar.billing.past import Past
from meterline_sidecar.billing.statement import Closing, Statement
from meterline_sidecar.clock import Clock
from meterline_sidecar.ledger.journal import Journal
from meterline_sidecar.store.port import Tx
from meterline_sidecar.terms.customers import CustomerIndex
from meterline_sidecar.usage.counted import counted_whole

PIECE_S_MAX: Final = 0.05
"""Of one transaction: ingest waits for it."""
AHEAD: Final = 16
"""Customers of whom what is to be known is read at once; of some it is in vain."""

Ready = tuple[Due, tuple[str, ...]]
"""What is due, with the gaps that are accepted, in words."""
Outcome = Statement | str
"""An invoice, or why there is none."""


async def close_some(
    invoices: Invoices,
    customers: CustomerIndex,
    journal: Journal,
    tx: Tx,
    *,
    wanted: Wanted,
    ready: Sequence[Ready],
    missing: Mapping[tuple[int, int], Missing],
    clock: Clock,
) -> list[Outcome]:
    """Close customers until it has taken as long as one transaction may.

    Args:
        ready: no customer twice.
        missing: by span, what has not arrived of it.
        clock: is asked once: all of them become final at one moment.

    Returns the outcomes of the first of them, in order.
    """
    end_s = time.monotonic() + PIECE_S_MAX
    now_ms = clock.now_ms()
    at = await counted_whole(tx)
    outcomes: list[Outcome] = []
    by_hand = f"by hand: {wanted.reason}" if wanted.reason else "by hand"
    cause = "its grace was over" if wanted.is_automatic else by_hand
    together = journal.together()
    pasts: dict[str, Past] = {}
    for i, (due, gaps) in enumerate(ready):
        if i % AHEAD == 0:
            ahead = [one[:2] for one, _ in ready[i : i + AHEAD]]
            pasts = await invoices.pasts(tx, at, ahead)
        customer, past = customers.get(due.customer, now_ms=now_ms), pasts[due.customer]
        assert customer is not None, "customers are never forgotten"
        among = (tx, at, customer, due.period)
        try:
            if wanted.is_dry:
                await invoices.check(*among, past)
                statement = await invoices.statement(*among, past=past, now_ms=now_ms)
            else:
                closing = Closing(now_ms, wanted.author, cause, gaps)
                statement = await invoices.close(
                    *among, closing, journal=together, past=past
                )
                if gaps:
                    found = missing[due.period.start, due.period.end]
                    await note_accepted(tx, found.gaps)
            outcomes.append(statement)
        except (NotBillable, PricingError) as error:
            outcomes.append(str(error))
        if time.monotonic() > end_s:
            break
    await together.link_noted(tx)
    return outcomes
