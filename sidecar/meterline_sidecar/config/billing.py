"""``[billing]`` and ``[[grace]]``: when a period that is over becomes final."""

from collections.abc import Callable, Iterator
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from meterline_pricing import Problem
from meterline_sidecar.clock import HOUR_MS
from meterline_sidecar.config.kinds import CUSTOMER

GRACE_HOURS_MAX: Final = 60 * 24
GraceHours = Annotated[int, Meta(ge=0, le=GRACE_HOURS_MAX)]


class BillingConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How invoices become final; see docs/closing.md."""

    close: Annotated[
        Literal["auto", "by_hand"],
        Meta(
            description="`auto`: the invoice of a period becomes final by itself once"
            " its grace is over. `by_hand`: only `meterline close` and `meterline"
            " invoice --finalize` make invoices final. In either case, periods that"
            " ended before this was `auto` are left to people."
        ),
    ] = "auto"
    grace_hours: Annotated[
        GraceHours,
        Meta(
            description="How long a period waits after its end, for late events and"
            " for people to review its drafts, before its invoice becomes final."
        ),
    ] = 24


class GraceRule(msgspec.Struct, frozen=True, kw_only=True):
    """Another grace, for one plan or for one customer."""

    hours: Annotated[GraceHours, Meta(description="Like `billing.grace_hours`.")]
    plan: Annotated[
        str | None,
        Meta(
            description="For customers who are on this plan at the end of their period."
        ),
    ] = None
    customer: Annotated[
        str | None,
        Meta(
            description="For this customer, whatever their plan.",
            extra={"kind": CUSTOMER},
        ),
    ] = None


def check_grace(rule: GraceRule) -> Iterator[Problem]:
    """Yield what is wrong with a rule by itself."""
    if (rule.plan is None) == (rule.customer is None):
        yield Problem("name either a plan or a customer that it is for", "hours")


class Grace:
    """How long each customer's periods wait, by all that the file says of it."""

    def __init__(self, config: BillingConfig, rules: tuple[GraceRule, ...]) -> None:
        self._hours = config.grace_hours
        self._of_plan = {rule.plan: rule.hours for rule in rules if rule.plan}
        self._of_customer = {
            rule.customer: rule.hours for rule in rules if rule.customer
        }

    def of(self, customer: str, plan: Callable[[], str | None]) -> int:
        """Return a customer's grace in milliseconds.

        Args:
            plan: says which they are on at the end of the period; asked where the
                grace depends on it.
        """
        hours = self._of_customer.get(customer)
        if hours is None and self._of_plan:
            hours = self._of_plan.get(plan() or "")
        return (self._hours if hours is None else hours) * HOUR_MS
