"""In which order an invoice is calculated, and how the known systems do it."""

from typing import Final, Literal, get_args

from meterline_pricing.errors import NotFound, PricingError, Problem, unknown
from meterline_pricing.fields import Checked

StepName = Literal[
    "usage_discount",
    "price",
    "amount_discount",
    "percent_discount",
    "minimum",
    "maximum",
    "commitment",
    "coupon",
    "credits",
    "tax",
]
STEPS: Final[tuple[StepName, ...]] = get_args(StepName)


class Order(Checked, frozen=True):
    """The steps of an invoice, first to last."""

    steps: tuple[StepName, ...] = STEPS
    credits_lower_tax: bool = False
    """Whether credits that come before tax make the tax less. Where they count as
    money, as in most tax laws, they do not."""
    taxes_together: bool = False
    """Whether all taxes are one line, rounded once, and not a line each."""

    def __post_init__(self) -> None:
        """Check that every step is there once, and that prices come before the rest.

        Raises:
            PricingError: otherwise, as ``steps[i]``.
        """
        super().__post_init__()
        problems = [
            Problem(f"{step} stands here twice", f"steps[{i}]")
            for i, step in enumerate(self.steps)
            if step in self.steps[:i]
        ]
        missing = [step for step in STEPS if step not in self.steps]
        if missing and not problems:
            problems.append(Problem(f"missing: {', '.join(missing)}", "steps"))
        if not problems and self.steps[:2] != STEPS[:2]:
            message = "expected usage_discount and price first"
            problems.append(Problem(message, "steps"))
        if problems:
            raise PricingError(problems)


_LINES: Final[tuple[StepName, ...]] = STEPS[:7]  # up to the commitment, as Orb has them

ORDERS: Final[dict[str, Order]] = {
    "default": Order(),
    # Discounts, then billing credits, then tax on what is left: both are "pretax
    # credit amounts" of an invoice line.
    # Source: docs.stripe.com/api/invoice-line-item, read 2026-11.
    "stripe": Order(STEPS, credits_lower_tax=True),
    # True-ups before coupons, coupons before tax, prepaid credits after it. The taxes
    # are added up before they are rounded.
    # Source: docs.getlago.com/guide/plans/commitment, /guide/prepaid-credits;
    # getlago/lago-api, app/services/invoices/apply_taxes_service.rb.
    "lago": Order((*_LINES, "coupon", "tax", "credits"), taxes_together=True),
    # Percent discounts, then the maximum, then the minimum on the last part.
    # Source: openmeterio/openmeter, billing/service/lineservice (post calculation).
    "openmeter": Order(
        (
            "usage_discount",
            "price",
            "amount_discount",
            "percent_discount",
            "maximum",
            "minimum",
            "commitment",
            "coupon",
            "credits",
            "tax",
        )
    ),
    # Usage, amount and percent discounts, minimum, maximum, prepaid credits, and tax
    # on what is left.
    # Source: docs.withorb.com/invoicing/invoice-calculation-examples.
    "orb": Order(STEPS, credits_lower_tax=True),
    # Commitments are part of the line; coupons; wallet credits, which leave the
    # taxable amount alone; tax.
    # Source: docs.flexprice.io/docs/invoices/calculation.
    "flexprice": Order(
        (
            "usage_discount",
            "price",
            "commitment",
            "amount_discount",
            "percent_discount",
            "minimum",
            "maximum",
            "coupon",
            "credits",
            "tax",
        )
    ),
}
"""The presets, by their name in ``pricing.toml``."""


def preset(name: str) -> Order:
    """Return the order of this name.

    Raises:
        NotFound: there is none; names the nearest.
    """
    if name not in ORDERS:
        raise NotFound(Problem(unknown("order", name, ORDERS), "order"))
    return ORDERS[name]
