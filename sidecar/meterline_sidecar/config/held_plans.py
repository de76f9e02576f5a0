"""The plans that a customer has beside their plan: add-ons, from a day to a day."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from typing import Annotated

import msgspec
from msgspec import Meta

from meterline_pricing import Plan, PricingError
from meterline_pricing.combined import combined


class HeldPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A plan that a customer has in addition to their main plan."""

    plan: Annotated[str, Meta(description="A plan in `pricing.toml`.")]
    from_day: Annotated[
        date | None,
        Meta(
            description="The first day on which it applies, in the customer's time"
            " zone; by default from when it is loaded.",
            extra={"key": "from"},
        ),
    ] = msgspec.field(default=None, name="from")
    to: Annotated[
        date | None,
        Meta(description="The last day on which it applies; none by default."),
    ] = None

    def __str__(self) -> str:
        """Return it in words: ``addon from 2026-11-10``."""
        begin = f" from {self.from_day}" if self.from_day else ""
        return f"{self.plan}{begin}" + (f" to {self.to}" if self.to else "")

    def holds_on(self, day: date) -> bool:
        """Say whether it holds on a day, where it is agreed."""
        return (self.from_day or day) <= day <= (self.to or day)

    def meets(self, other: "HeldPlan") -> bool:
        """Say whether there is a day on which both may hold."""
        first = max(self.from_day or date.min, other.from_day or date.min)
        return first <= min(self.to or date.max, other.to or date.max)


def with_first(
    plan: str | None, plans: tuple[HeldPlan, ...]
) -> tuple[str | None, tuple[HeldPlan, ...]]:
    """Return a customer's plan and the others, where it may be written among them."""
    if plan is None:
        for i, held in enumerate(plans):
            if held.from_day is None and held.to is None:
                return held.plan, (*plans[:i], *plans[i + 1 :])
    return plan, plans


def clashes(
    plan: str | None, plans: Sequence[HeldPlan], newest: Callable[[str], Plan | None]
) -> Iterator[str]:
    """Yield why plans cannot be had at one time.

    Args:
        plan: what the others come on top of.
        newest: a plan by its name, as the customer has it; ``None``: it is not known.
    """
    if plans and plan is None:
        yield "plans: of several plans one without dates is the customer's `plan`"
    for held in plans:
        if held.from_day and held.to and held.to < held.from_day:
            yield f"plans: `{held.plan}` ends on {held.to}, before {held.from_day}"
    first = [] if plan is None else [HeldPlan(plan=plan)]
    for one, other in itertools.combinations((*first, *plans), 2):
        if not one.meets(other):
            continue
        if one.plan == other.plan:
            yield f"plans: `{one.plan}` is there twice at one time"
            continue
        both = newest(one.plan), newest(other.plan)
        try:
            combined([each for each in both if each is not None] or [_NONE])
        except PricingError as error:
            yield str(error)


_NONE = Plan(name="none", currency="usd")
