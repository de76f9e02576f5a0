"""What of a price list makes no sense together, though each key of it does.

Not in the structs themselves: a ledger keeps what was agreed before this was asked.
"""

from collections.abc import Iterable, Iterator

from meterline_pricing.catalogue import Override
from meterline_pricing.errors import Problem
from meterline_pricing.plan import Plan
from meterline_pricing.terms import Credit


def never_pays(credit: Credit) -> Iterator[Problem]:
    """Yield a credit whose last day is before its first."""
    if credit.starts and credit.expires and credit.expires < credit.starts:
        message = f"is before the first day on which it pays, {credit.starts}"
        yield Problem(message, "expires")


def of_one_name(holder: Plan | Override | None) -> Iterator[Problem]:
    """Yield credits that cannot be told apart: what is left of one goes by its name.

    ``None`` stands for what could not be read.
    """
    names: dict[str, set[str]] = {}
    for i, credit in enumerate((holder and holder.credits) or ()):
        every = names.setdefault(credit.name, set())
        if every and "once" in every | {credit.every}:
            message = (
                f"two credits with the same name `{credit.name}`: using one would use"
                " up both; give each its own name"
            )
            yield Problem(message, f"credit[{i}].name")
        every.add(credit.every)


def second_tables(overrides: Iterable[Override | None]) -> Iterator[Problem]:
    """Yield what one customer has otherwise of one plan, and is told of twice."""
    seen: set[tuple[str, str]] = set()
    for i, override in enumerate(overrides):
        if override is None:
            continue
        one = (override.customer, override.plan)
        if one in seen:
            message = f"a second table is for {override.customer} on `{override.plan}`"
            yield Problem(message, f"override[{i}].plan")
        seen.add(one)
