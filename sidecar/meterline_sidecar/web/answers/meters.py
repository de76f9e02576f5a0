"""What the API answers about counting a meter again."""

import msgspec

from meterline_sidecar.decimals import Number
from meterline_sidecar.web.answers.money import MoneyChange


class DefinedMeter(msgspec.Struct, frozen=True, kw_only=True):
    """A meter, and how people are shown it."""

    meter: str
    title: str
    """What people call it."""
    unit: str
    """What its quantities are in; empty where nobody says."""
    aggregation: str
    event_name: str | None
    """That of the meter at Stripe; ``None`` where nothing is told there."""


class Meters(msgspec.Struct, frozen=True, kw_only=True):
    """All meters."""

    meters: tuple[DefinedMeter, ...]


class RecountedUsage(msgspec.Struct, frozen=True):
    """What a customer's usage of a month is, and what it would be."""

    customer: str | None
    """``None``: nobody pays for it."""
    month: str
    before: Number
    after: Number


class RecountPreview(msgspec.Struct, frozen=True, kw_only=True):
    """What counting a meter again would change; nothing is changed yet."""

    meter: str
    since: str
    changes: tuple[RecountedUsage, ...]
    money: MoneyChange
    refused: tuple[str, ...]
    """Why it would be refused without a reason; empty: it would not be."""


class RecountGivenUp(msgspec.Struct, frozen=True, kw_only=True):
    """That nothing is counted again any more; what was counted stays."""

    meters: tuple[str, ...]
    """Those that were being counted again, together."""


class RecountBegun(msgspec.Struct, frozen=True, kw_only=True):
    """That a meter is counted again; what was counted before is read meanwhile."""

    meter: str
    agreed: tuple[str, ...]
    recounting_percent: int | None
    """``None``: nothing was counted since then, so nothing is counted again."""
