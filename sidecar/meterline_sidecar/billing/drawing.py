"""Draws an invoice with all that goes with it: what it adjusts, and what it uses up.

All of it follows from one snapshot, from what was agreed, and from the moment at which
it is drawn. So a final invoice can be drawn again, as of the moment when it became so.
"""

from typing import NamedTuple

import msgspec

from meterline_pricing import Period
from meterline_sidecar.billing.balances import Balances, uses_of
from meterline_sidecar.billing.drafts import Billing, Drawn
from meterline_sidecar.billing.first_day import first_ms
from meterline_sidecar.billing.in_order import open_periods
from meterline_sidecar.billing.late import (
    Difference,
    differences,
    said_of,
    stated,
    taken_back,
)
from meterline_sidecar.billing.past import Past
from meterline_sidecar.billing.statement import Final, Statement
from meterline_sidecar.config.shape import Customer
from meterline_sidecar.store.invoices import NewUse
from meterline_sidecar.store.port import Tx
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.terms.calendar import CustomerCalendar
from meterline_sidecar.usage.counted import Counted

Finals = dict[str, Final]
"""A customer's final invoices by the name of their period, in its order."""


class ToKeep(NamedTuple):
    """An invoice as it becomes final."""

    statement: Statement
    uses: list[NewUse]
    """What it uses up of credits and coupons; the invoice's id is not known yet."""


class Drawing:
    """Draws invoices."""

    def __init__(self, billing: Billing, terms: Terms) -> None:
        self._billing = billing
        self._terms = terms

    async def final(
        self,
        tx: Tx,
        at: Counted,
        customer: Customer,
        period: Period,
        past: Past,
        *,
        now_ms: int,
        gaps: tuple[str, ...],
        since_ms: int | None = None,
    ) -> ToKeep:
        """Return the invoice of a period that becomes final now.

        Args:
            at: of this snapshot; see ``counted``.
            past: of the customer, as of this snapshot.
            gaps: what is missing, and is accepted as missing.
            since_ms: from when on they are billed, where that was asked for already.

        Raises:
            NotBillable: there is no plan for this customer then.
        """
        balances = past.balances()
        # First what is older, which uses up credits before this period does.
        found = await self.differences(
            *(tx, at, customer, past.finals, balances), now_ms=now_ms
        )
        found += taken_back(past.adjusted, period.name, said_of(past.finals))
        drawn = await self._drawn(tx, at, customer, period, past, balances)
        statement = msgspec.structs.replace(
            stated(at, customer, drawn, found),
            finalized_ms=now_ms,
            accepted_gaps=gaps,
            open_before=await self.open_before(
                *(tx, at, customer, period, past.finals), since_ms=since_ms
            ),
        )
        uses = uses_of(
            drawn.invoice, drawn.plans, customer=customer.id, balances=balances
        )
        for difference in found:
            uses += difference.uses
        return ToKeep(statement, uses)

    async def draft(
        self,
        tx: Tx,
        at: Counted,
        customer: Customer,
        period: Period,
        past: Past,
        *,
        now_ms: int,
    ) -> Statement:
        """Return the draft of a period as of this snapshot.

        Raises:
            NotBillable: there is no plan for this customer then.
        """
        balances = past.balances()
        found: list[Difference] = []
        if await self._is_next(tx, at, customer, period, past.finals):
            found = await self.differences(
                *(tx, at, customer, past.finals, balances), now_ms=now_ms
            )
        drawn = await self._drawn(tx, at, customer, period, past, balances)
        found += taken_back(past.adjusted, period.name, said_of(past.finals))
        return stated(at, customer, drawn, found)

    async def _drawn(
        self,
        tx: Tx,
        at: Counted,
        customer: Customer,
        period: Period,
        past: Past,
        balances: Balances,
    ) -> Drawn:
        return await self._billing.draft(
            *(tx, at, customer, period),
            balances=balances,
            grants=past.grants,
            usage=past.usage,
        )

    async def _is_next(
        self,
        tx: Tx,
        at: Counted,
        customer: Customer,
        period: Period,
        finals: Finals,
    ) -> bool:
        """Say whether a period is the earliest that is not final: it has differences.

        One from before a customer was known counts only where a person makes it final.
        """
        if not finals:
            return False
        calendar = CustomerCalendar.of(self._terms, customer.id)
        name = calendar.before(period.name)
        while name in finals:
            name = calendar.before(name)
        earliest = next(iter(finals.values())).period
        known_ms = self._terms.learned_ms(customer.id)
        if calendar.starts is not None:
            known_ms = calendar.start_of(calendar.starts)
        if earliest.start <= known_ms:
            # What lies before that is of a time before they were known, and may have been
            # billed elsewhere. This is plain without asking for what they used first.
            if period.name < earliest.name:
                return False
            if name < earliest.name:
                return True
        return not await self.open_before(tx, at, customer, period, finals)

    async def differences(
        self,
        tx: Tx,
        at: Counted,
        customer: Customer,
        finals: Finals,
        balances: Balances,
        *,
        now_ms: int,
    ) -> list[Difference]:
        """Return what final periods came to since; see ``late``.

        Raises:
            NotBillable: one of them cannot be rated any more.
        """
        return await differences(
            *(tx, at, self._billing, self._terms, customer),
            finals=finals,
            balances=balances,
            now_ms=now_ms,
        )

    async def open_before(
        self,
        tx: Tx,
        at: Counted,
        customer: Customer,
        period: Period,
        finals: Finals,
        *,
        since_ms: int | None = None,
    ) -> tuple[str, ...]:
        """Return the periods before one that could be final and are not, in order.

        Args:
            since_ms: from when on they are billed, where that was asked for already.
        """
        if since_ms is None:
            since_ms = await first_ms(tx, at, self._terms, customer.id)
        earlier = open_periods(
            self._terms,
            customer.id,
            finals,
            since_ms=since_ms,
            before_ms=period.start,
        )
        return tuple(period.name for period in earlier)
