"""Words that people use for what is called otherwise here: ``dollar`` for ``usd``."""

import re
from collections.abc import Mapping
from typing import Final

_BETWEEN: Final = re.compile(r"[\s._-]+")

CALLED: Final[Mapping[str, Mapping[str, str]]] = {
    "currency": {
        "usd": "$ us$ dollar dollars us_dollar us_dollars",
        "eur": "€ euro euros",
        "gbp": "£ pound pounds pound_sterling sterling quid",
        "jpy": "¥ yen",
        "cny": "rmb cnh yuan renminbi",
        "inr": "₹ rupee rupees rs",
        "krw": "₩ won",
        "chf": "franc francs franken sfr swiss_franc",
        "brl": "real reais r$",
        "pln": "zloty zł",
        "ils": "₪ shekel nis",
        "try": "₺ lira",
        "uah": "₴ hryvnia",
        "cad": "canadian_dollar c$",
        "aud": "australian_dollar a$",
    },
    "time zone": {
        "America/Los_Angeles": "pst pdt pacific",
        "America/Denver": "mdt mountain",
        "America/Chicago": "cdt central",
        "America/New_York": "edt eastern",
        "Europe/London": "bst uk england",
        "Europe/Berlin": "mez mesz cest germany deutschland",
        "Asia/Kolkata": "ist india",
        "Asia/Tokyo": "jst",
        "Australia/Sydney": "aest aedt",
        "UTC": "z zulu",
    },
    "period": {
        "day": "daily",
        "week": "weekly",
        "month": "monthly",
        "quarter": "quarterly quaterly",
        "year": "yearly annual annually",
    },
    "rounding": {
        "half_up": "round nearest half half_away_from_zero",
        "half_even": "bankers banker bankers_rounding even",
        "up": "ceil ceiling",
        "down": "floor truncate trunc",
    },
    "model": {
        "graduated": "tier tiers tiered",
        "per_unit": "unit units standard",
        "flat": "fee fixed flatrate flat_rate flat_fee",
        "percentage": "percent",
        "stairstep": "stairs staircase",
    },
    "aggregation": {
        "count": "cnt number",
        "sum": "total",
        "max": "maximum peak",
        "min": "minimum",
        "latest": "last gauge",
        "unique": "distinct count_distinct unique_count",
    },
    "mode": {"send": "live on real production", "dry_run": "test off sandbox"},
    "close": {"by_hand": "manual manually never", "auto": "automatic automatically"},
    "kind": {
        "limit": "threshold budget quota",
        "jump": "spike anomaly",
        "silence": "silent quiet",
    },
    "stripe_mode": {"set": "last latest", "delta": "sum increment"},
}
"""By what is named: what it is called here, and what it is called elsewhere.

Also of what stands in files beside the price list, which is read by the same shapes.
"""
_MEANT: Final = {
    what: {word: name for name, words in names.items() for word in words.split()}
    for what, names in CALLED.items()
}
EXPECTED: Final = {
    "currency": "expected a code of ISO 4217, such as `usd` or `eur`",
    "time zone": "expected the name of a place, such as `Europe/Berlin`",
}
"""What is said in place of a list that would be too long."""


def meant_by(what: str, name: str) -> str | None:
    """Return what somebody meant who uses another word for it."""
    word = _BETWEEN.sub("_", name.strip().lower())
    return _MEANT.get(what, {}).get(word)
