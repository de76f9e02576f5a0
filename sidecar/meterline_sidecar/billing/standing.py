"""Where one customer stands in a period: what pages show of very many, kept packed."""

from decimal import Decimal
from typing import Final

import msgspec

from meterline_pricing import Invoice, Period
from meterline_sidecar.decimals import Number

RANK_MAX: Final = 2**63 - 1
"""Of totals above, nine million million, the order is that of names."""


class Standing(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Where one customer stands in their current billing period."""

    customer: str
    period: Period
    quantities: dict[str, Number]
    """Usage of each meter."""
    total: Decimal | None
    """What the draft comes to, with what is due for earlier periods; ``None`` where
    there is no draft."""
    currency: str | None
    why_not: str | None
    """Why there is no draft."""
    has_plan: bool = True
    meters_not_priced: tuple[str, ...] = ()
    """Used, and no part of the plan."""
    values_not_priced: tuple[str, ...] = ()
    """Used, and without a price in a part of the plan: ``calls: method PROPFIND``."""
    as_of_ms: int

    @property
    def is_odd(self) -> bool:
        """Whether the draft leaves out something that was used."""
        is_used = any(self.quantities.values())
        without = self.why_not is not None and (self.has_plan or is_used)
        return bool(without or self.meters_not_priced or self.values_not_priced)


def values_not_priced(drawn: Invoice) -> tuple[str, ...]:
    """Return the values that a draft has no price for, each once, as people read them."""
    texts = (
        f"{group.meter}: {', '.join(f'{k} {v}' for k, v in group.values.items())}"
        for group in drawn.unpriced_groups
    )
    return tuple(dict.fromkeys(texts))


def rank_of(standing: Standing) -> tuple[int, str]:
    """Return what standings are sorted by: the highest total first, in millionths."""
    number = -int((standing.total or Decimal(0)).scaleb(6))
    return max(-RANK_MAX, min(number, RANK_MAX)), standing.customer


encode: Final = msgspec.json.Encoder().encode  # whole numbers of any size
decode: Final = msgspec.json.Decoder(Standing).decode
