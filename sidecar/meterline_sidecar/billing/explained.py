"""What stands under a line of an invoice: its charges, and what became of them."""

from collections.abc import Iterator

from meterline_pricing import Charge, Line
from meterline_pricing.charge import explained
from meterline_pricing.tools import currency_of, money_text
from meterline_sidecar.decimals import readable


def words_under(line: Line, currency: str) -> tuple[list[str], str]:
    """Return a line's charges in words, and what they do not say.

    That is a conversion or a rounding: empty where the line is plainly their sum.
    """
    said = explained(line.charges)
    rest = line.explanation.removeprefix(said)
    is_plain = rest == f" = {money_text(line.amount, currency_of(currency))}"
    if len(line.charges) == 1 and rest != line.explanation and not is_plain:
        return [f"{_tier(line.charges[0])}{readable(line.explanation)}"], ""
    return list(_charges(line)), "" if is_plain else readable(rest.strip())


def _charges(line: Line) -> Iterator[str]:
    for charge in line.charges:
        yield f"{_tier(charge)}{readable(charge.explanation)}"


def _tier(charge: Charge) -> str:
    return "" if charge.tier is None else f"tier {charge.tier}: "
