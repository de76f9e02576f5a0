"""Credits: granting them, ending them, and what is left."""

from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Annotated

import msgspec
from msgspec import Meta

from meterline_pricing import PricingError
from meterline_sidecar.billing.credits import Balance, NewGrant, balances_of, name_of
from meterline_sidecar.billing.drafts import NotBillable
from meterline_sidecar.clock import format_time_ms
from meterline_sidecar.config.shape import Customer
from meterline_sidecar.store.invoices import uses_of
from meterline_sidecar.store.port import Tx
from meterline_sidecar.terms.agreed import plan_of
from meterline_sidecar.terms.calendar import CustomerCalendar
from meterline_sidecar.usage.counted import Counted, snapshot
from meterline_sidecar.web.answers.credits import (
    CustomerCredits,
    NewCredit,
    ShownCredit,
    TermUse,
)
from meterline_sidecar.web.answers.reason import Reason
from meterline_sidecar.web.operations import Operation
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.problems import BadRequest
from meterline_sidecar.web.query import CustomerId, find_customer, read_amount


class CreditsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Whose credits."""

    customer: CustomerId


class EndCreditQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which credit pays for nothing more, and why."""

    customer: CustomerId
    credit: Annotated[int, Meta(ge=1, le=2**63 - 1)]
    reason: Reason


async def get_credits(parts: Parts, query: CreditsQuery) -> CustomerCredits:
    """Return a customer's credits, and what is left of each."""
    customer = find_customer(parts, query.customer)
    async with snapshot(parts.database) as (tx, at):
        found = await credits_shown(parts, tx, at, customer)
        uses = await uses_of(tx, customer.id)
    return CustomerCredits(
        customer=customer.id,
        credits=found,
        uses=tuple(
            TermUse(
                kind=use.kind,
                name=use.name,
                currency=use.currency,
                period=use.period,
                amount=Decimal(use.amount),
            )
            for use in uses
        ),
    )


async def grant_credit(
    parts: Parts, query: CreditsQuery, *, body: NewCredit, author: str
) -> CustomerCredits:
    """Grant a credit, which pays for the invoices that become final next."""
    customer = find_customer(parts, query.customer)
    await parts.credits.grant(_grant_of(parts, customer, body), author=author)
    parts.standings.note(customer.id)
    return await get_credits(parts, query)


async def end_credit(
    parts: Parts, query: EndCreditQuery, author: str
) -> CustomerCredits:
    """Let a credit pay for nothing more; what it has paid stays paid."""
    customer = find_customer(parts, query.customer)
    await parts.credits.end(
        customer.id, query.credit, author=author, reason=query.reason
    )
    parts.standings.note(customer.id)
    return await get_credits(parts, CreditsQuery(customer=customer.id))


def _grant_of(parts: Parts, customer: Customer, new: NewCredit) -> NewGrant:
    currency = (new.currency or _currency(parts, customer)).lower()
    try:
        amount = read_amount(new.amount, currency)
    except PricingError as error:
        raise BadRequest(str(error)) from error
    calendar = CustomerCalendar.of(parts.terms.terms, customer.id)
    today = calendar.day(parts.clock.now_ms())
    first = max(new.starts or today, today)
    if new.expires is not None and new.expires < first:
        raise BadRequest(
            f"expires: {new.expires} is before {first}, the first day on which this"
            " credit can pay; give that or a later day"
        )
    return NewGrant(
        customer=customer.id,
        amount=amount,
        currency=currency,
        reason=new.reason,
        kind=new.kind,
        title=new.title,
        day=today,
        key=new.key,
        priority=new.priority,
        starts=new.starts,
        expires=new.expires,
    )


def _currency(parts: Parts, customer: Customer) -> str:
    """Return the currency of a customer's plan."""
    calendar = CustomerCalendar.of(parts.terms.terms, customer.id)
    with suppress(PricingError):
        period = calendar.latest(parts.clock.now_ms())
        plan = plan_of(parts.terms.terms, customer.id, period)
        if plan is not None:
            return plan.currency
    raise BadRequest(f"customer {customer.id} has no plan: give the currency")


async def credits_shown(
    parts: Parts, tx: Tx, at: Counted, customer: Customer
) -> tuple[ShownCredit, ...]:
    """Return a customer's credits as they are shown, as of this snapshot."""
    now_ms = parts.clock.now_ms()
    calendar = CustomerCalendar.of(parts.terms.terms, customer.id)
    balances = await balances_of(tx, customer.id, today=calendar.day(now_ms))
    if not balances:
        return ()
    in_draft: Mapping[str, Decimal] = {}
    with suppress(NotBillable, PricingError):
        period = calendar.latest(now_ms)
        statement = await parts.invoices.statement(tx, at, customer, period)
        if statement.finalized_ms is None:
            in_draft = {
                line.name: -line.amount
                for line in statement.invoice.lines
                if line.kind == "credit"
            }
    return tuple(_shown(one, in_draft) for one in balances)


def _shown(balance: Balance, in_draft: Mapping[str, Decimal]) -> ShownCredit:
    row = balance.row
    return ShownCredit(
        credit=row.id,
        title=row.title,
        kind=row.kind,
        currency=row.currency,
        amount=Decimal(row.amount),
        used=balance.used,
        in_draft=in_draft.get(name_of(row.id, row.title), Decimal(0)),
        left=balance.left,
        priority=row.priority,
        starts=row.starts or None,
        expires=row.expires or None,
        granted=format_time_ms(row.granted_ms),
        author=row.author,
        reason=row.reason,
        key=row.key,
        ended=None if row.ended_ms is None else format_time_ms(row.ended_ms),
        end_reason=row.end_reason,
    )


OPERATIONS = (
    Operation("/v1/customers/{customer}/credits", get_credits),
    Operation("/v1/customers/{customer}/credits", grant_credit, method="POST"),
    Operation(
        "/v1/customers/{customer}/credits/{credit}/end", end_credit, method="POST"
    ),
)
