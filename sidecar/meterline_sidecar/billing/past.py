"""What the ledger knows of customers before an invoice of theirs is drawn."""

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from typing import NamedTuple

from meterline_sidecar.billing.balances import Balances
from meterline_sidecar.billing.credits import grants_of
from meterline_sidecar.billing.statement import Final, Grant, finals_with
from meterline_sidecar.store import invoices as store
from meterline_sidecar.store.invoices import Adjusted, NewUse
from meterline_sidecar.store.past import What, having
from meterline_sidecar.store.port import Tx
from meterline_sidecar.usage.customer_usage import CustomerUsage


class Past(NamedTuple):
    """Of one customer, as of one transaction."""

    finals: dict[str, Final]
    """Their final invoices by the name of their period, in its order."""
    adjusted: Mapping[str, Adjusted]
    """What was billed of each period on other invoices."""
    uses: Sequence[NewUse]
    """Everything that they used up of credits and coupons."""
    grants: tuple[Grant, ...]
    """Credits that may pay for what is drawn now."""
    may_be_held: bool
    """Whether any event of theirs waits for a decision."""
    usage: CustomerUsage | None = None
    """Of the period that is to be drawn, where it was read already."""

    def balances(self) -> Balances:
        """Return what is left of credits and coupons; whoever draws takes from it."""
        return Balances(self.uses)


async def past_of(tx: Tx, customer: str) -> Past:
    """Return the past of one customer."""
    return (await pasts_of(tx, [customer]))[customer]


async def pasts_of(tx: Tx, customers: Sequence[str]) -> dict[str, Past]:
    """Return the past of each of several customers, for fewer statements than one each."""
    kinds: defaultdict[str, set[What]] = defaultdict(set)
    for kind, customer in await having(tx, customers):
        kinds[customer].add(kind)
    return {
        customer: await _past(tx, customer, kinds[customer]) for customer in customers
    }


async def _past(tx: Tx, customer: str, kinds: Set[What]) -> Past:
    def any_of(*asked: What) -> bool:
        return not kinds.isdisjoint(asked)

    adjusted: dict[str, Adjusted] = {}
    if any_of("adjustments"):
        adjusted = await store.adjusted_of(tx, customer)
    finals: dict[str, Final] = {}
    if any_of("invoices"):
        touched: frozenset[str] = frozenset()
        if any_of("adjustments", "uses"):
            touched = await store.touched_by_void(tx, customer)
        finals = await finals_with(tx, customer, adjusted, touched)
    return Past(
        finals=finals,
        adjusted=adjusted,
        uses=await store.uses_of(tx, customer) if any_of("uses") else (),
        grants=await grants_of(tx, customer) if any_of("credits") else (),
        may_be_held=any_of("held"),
    )
