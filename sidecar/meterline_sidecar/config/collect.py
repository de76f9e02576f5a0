"""``[[collect]]``: whose final invoices are collected through Stripe, and how."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, Protocol

import msgspec
from msgspec import Meta

from meterline_pricing import Problem
from meterline_sidecar.config.kinds import CUSTOMER

DAYS_MAX = 365


class Payer(Protocol):
    """A customer, as far as Stripe is concerned."""

    @property
    def id(self) -> str:
        """Return their id, as we know them."""
        ...

    @property
    def plan(self) -> str | None:
        """Return the name of their plan, if they have one."""
        ...

    @property
    def stripe_customer(self) -> str | None:
        """Return their id at Stripe, if they have one."""
        ...


class CollectRule(msgspec.Struct, frozen=True, kw_only=True):
    """How final invoices are collected: for everybody, for a plan, or for one
    customer."""

    bill_through: Annotated[
        Literal["invoice", "none"],
        Meta(
            description="`invoice`: each final invoice of a customer with a"
            " `stripe_customer` becomes an invoice at Stripe. `none`: people collect"
            " it."
        ),
    ] = "invoice"
    plan: Annotated[
        str | None, Meta(description="For invoices of this plan; all by default.")
    ] = None
    customer: Annotated[
        str | None,
        Meta(
            description="For this customer, whatever their plan.",
            extra={"kind": CUSTOMER},
        ),
    ] = None
    collection_method: Annotated[
        Literal["charge_automatically", "send_invoice"],
        Meta(
            description="Whether Stripe charges the customer's payment method, or sends"
            " them the invoice to pay."
        ),
    ] = "charge_automatically"
    days_until_due: Annotated[
        int,
        Meta(
            ge=0,
            le=DAYS_MAX,
            description="For invoices that are sent: how many days after becoming"
            " final they are due at Stripe.",
        ),
    ] = 14
    tax: Annotated[
        Literal["ours", "stripe"],
        Meta(
            description="`ours`: the taxes of the plan are lines of the invoice."
            " `stripe`: Stripe Tax adds its own, and the plan must have none."
        ),
    ] = "ours"

    @property
    def is_for_all(self) -> bool:
        """Whether it is for whoever has no rule of their own, or of their plan."""
        return self.customer is None and self.plan is None


def check_collect(rule: CollectRule) -> Iterator[Problem]:
    """Yield what is wrong with a rule by itself."""
    if rule.plan is not None and rule.customer is not None:
        yield Problem("name a plan or a customer that it is for, not both", "plan")


def rule_for(
    rules: Sequence[CollectRule], customer: str, plan: str | None
) -> CollectRule | None:
    """Return how a customer's invoice is collected; ``None``: nobody said.

    Their own rule comes first, then that of the plan, then that of all.
    """
    return (
        next((rule for rule in rules if rule.customer == customer), None)
        or next((rule for rule in rules if plan and rule.plan == plan), None)
        or next((rule for rule in rules if rule.is_for_all), None)
    )
