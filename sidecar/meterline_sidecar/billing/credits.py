"""Credits: money that was given or paid in advance, and what is left of it.

A credit pays for whatever invoice of its customer becomes final next, in its currency
and between its days, until nothing is left of it. An invoice keeps which credits it
knew (``Agreement``), so that it comes to the same when it is worked out again.
"""

from datetime import date
from decimal import Decimal
from typing import Final, NamedTuple

import msgspec

from meterline_pricing.models import Credit
from meterline_sidecar.billing.balances import Balances
from meterline_sidecar.billing.statement import Grant, Journal
from meterline_sidecar.clock import Clock
from meterline_sidecar.errors import MeterlineError
from meterline_sidecar.store import grants as store
from meterline_sidecar.store.grants import CreditRow, Kind, NewCredit
from meterline_sidecar.store.port import Database, Tx

PRIORITY: Final = 100


class GrantRefused(MeterlineError):
    """A credit cannot be granted or ended so; the text says why."""


class NewGrant(msgspec.Struct, frozen=True, kw_only=True):
    """A credit that somebody grants."""

    customer: str
    amount: Decimal
    currency: str
    reason: str
    kind: Kind = "goodwill"
    title: str | None = None
    """``None``: what it is, with its day."""
    day: date
    """On which it is granted, in the customer's zone."""
    key: str | None = None
    priority: int = PRIORITY
    starts: date | None = None
    expires: date | None = None


class Balance(NamedTuple):
    """A credit, and what is left of it."""

    row: CreditRow
    used: Decimal
    """By invoices that are final."""
    left: Decimal
    """0 where it was ended or has expired."""


class Credits:
    """Grants credits, ends them, and knows what is left."""

    def __init__(self, database: Database, journal: Journal, *, clock: Clock) -> None:
        self._database = database
        self._journal = journal
        self._clock = clock

    async def grant(self, new: NewGrant, *, author: str) -> CreditRow:
        """Grant a credit; the same one a second time, by its key, changes nothing.

        Raises:
            GrantRefused: its key is that of another one.
        """
        row = NewCredit(
            customer=new.customer,
            key=new.key,
            kind=new.kind,
            title=new.title or _title(new),
            currency=new.currency,
            amount=str(new.amount),
            priority=new.priority,
            starts=_text(new.starts),
            expires=_text(new.expires),
            granted_ms=self._clock.now_ms(),
            author=author,
            reason=new.reason,
        )
        async with self._database.transaction() as tx:
            for known in await store.credits_of(tx, new.customer):
                if new.key is None or known.key != new.key:
                    continue
                # Said again on another day it is the same, unless a title was said.
                again = row if new.title else row._replace(title=known.title)
                if _said(known) == _said(again):
                    return known
                raise GrantRefused(
                    f"credit {known.id} of {new.customer} has the key {new.key} but is"
                    " different; nothing was granted"
                )
            row_id = await store.add_credit(tx, row)
            await self._journal.link(tx, "credits", row_id)
        return CreditRow(row_id, *row, None, None)

    async def end(
        self, customer: str, credit_id: int, *, author: str, reason: str
    ) -> CreditRow:
        """Let a credit pay for nothing more; a second time changes nothing.

        Raises:
            GrantRefused: the customer has none of that id.
        """
        async with self._database.transaction() as tx:
            found = await store.credits_of(tx, customer)
            known = next((row for row in found if row.id == credit_id), None)
            if known is None:
                raise GrantRefused(f"customer {customer} has no credit {credit_id}")
            if known.ended_ms is not None:
                return known
            now_ms = self._clock.now_ms()
            row_id = await store.end_credit(
                tx, credit_id, ended_ms=now_ms, author=author, reason=reason
            )
            await self._journal.link(tx, "credit_ends", row_id)
        return known._replace(ended_ms=now_ms, end_reason=reason)


async def balances_of(tx: Tx, customer: str, *, today: date) -> list[Balance]:
    """Return what a customer was granted, and what is left of each.

    Args:
        today: in the customer's zone; what expired before is gone.
    """
    uses = await Balances.of(tx, customer)
    found: list[Balance] = []
    for row in await store.credits_of(tx, customer):
        grant = _grant(row)
        used = uses.used(grant.credit, row.currency, but="")
        expires = grant.credit.expires
        is_over = row.ended_ms is not None or (expires is not None and expires < today)
        left = Decimal(0) if is_over else Decimal(row.amount) - used
        found.append(Balance(row, used, left))
    return found


async def grants_of(tx: Tx, customer: str) -> tuple[Grant, ...]:
    """Return the credits that may pay for an invoice that is drawn now."""
    rows = await store.credits_of(tx, customer)
    return tuple(_grant(row) for row in rows if row.ended_ms is None)


async def grants_again(
    tx: Tx, customer: str, known: tuple[Grant, ...], balances: Balances
) -> tuple[Grant, ...]:
    """Return the credits that a final invoice knew, as they pay when it is rated again.

    One that was ended since pays for no more than it has paid.
    """
    if not known:
        return ()
    running = {grant.credit.name for grant in await grants_of(tx, customer)}
    return tuple(
        grant
        if grant.credit.name in running
        else _of_amount(grant, balances.used(grant.credit, grant.currency, but=""))
        for grant in known
    )


def _of_amount(grant: Grant, amount: Decimal) -> Grant:
    credit = msgspec.structs.replace(grant.credit, amount=amount)
    return msgspec.structs.replace(grant, credit=credit)


def name_of(credit_id: int, title: str) -> str:
    """Return what a credit is called on invoices: no other one is called so."""
    return f"{title} (credit {credit_id})"


def _title(new: NewGrant) -> str:
    """Return what a credit is called where nobody said it."""
    what = "Prepaid credit" if new.kind == "prepaid" else "Credit"
    return f"{what} of {new.day.day} {new.day:%B %Y}"


def _grant(row: CreditRow) -> Grant:
    credit = Credit(
        name=name_of(row.id, row.title),
        amount=Decimal(row.amount),
        starts=date.fromisoformat(row.starts) if row.starts else None,
        expires=date.fromisoformat(row.expires) if row.expires else None,
        priority=row.priority,
    )
    return Grant(row.currency, credit)


def _said(row: NewCredit | CreditRow) -> tuple[object, ...]:
    amount = Decimal(row.amount)
    return (
        row.kind,
        row.title,
        row.currency,
        amount,
        row.priority,
        row.starts,
        row.expires,
    )


def _text(day: date | None) -> str:
    return "" if day is None else day.isoformat()
