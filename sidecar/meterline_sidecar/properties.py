"""Properties of events as they are stored and shown: what an app says of a use.

A ledger keeps every value. What usage is told apart by is a *label*: the value itself,
or one of two words in brackets for what is no value.
"""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

from meterline.events import PROPERTY_NAME_CHARS_MAX, RESERVED_NAMES
from meterline_sidecar.decimals import Number, minus, number_of

NONE: Final = "(none)"
"""The label of what has no such property."""
OTHER: Final = "(other)"
"""The label of every value beyond those that are told apart."""
VALUES_MAX: Final = 1_000
"""How many values of one property are told apart unless the file says otherwise."""
CACHED_TEXTS: Final = 64  # of at most 16 KiB: several meters read one event in a row

_NAME: Final = re.compile("[a-z_][a-z0-9_]*")
_LIKE_OURS: Final = re.compile(r"\(+(none|other)\)")

Named = Mapping[str, str]
"""Properties: name to value."""


class Said(NamedTuple):
    """The properties of one event."""

    of_all: Named
    """Those of the whole event."""
    parts: Mapping[str, tuple[tuple[Number, Named], ...]]
    """Of each quantity the amounts that have properties of their own, with all of
    theirs: the event's, and over these their own."""


NOTHING: Final = Said({}, {})


class Stored(msgspec.Struct, frozen=True, rename={"whole": "all"}):
    """Properties as a row of the ledger has them; ``ingest.decode`` writes it."""

    whole: dict[str, str] = {}
    parts: tuple[tuple[str, int | str, dict[str, str]], ...] = ()
    """Name of a quantity, amount, and the properties of its own."""


_decode: Final = msgspec.json.Decoder(Stored).decode
_NOTHING_STORED: Final = Stored()


def stored_in(text: str | None) -> Stored:
    """Return what a row of the ledger has, where it has anything."""
    return _decode(text) if text else _NOTHING_STORED


@lru_cache(maxsize=CACHED_TEXTS)
def said_in(text: str) -> Said:
    """Return the properties that a row of the ledger has."""
    stored = _decode(text)
    parts: dict[str, list[tuple[Number, Named]]] = {}
    for quantity, amount, own in stored.parts:
        all_of_it = number_of(amount), {**stored.whole, **own}
        parts.setdefault(quantity, []).append(all_of_it)
    return Said(stored.whole, {name: tuple(these) for name, these in parts.items()})


def split(total: Number, quantity: str, said: Said) -> Iterator[tuple[Number, Named]]:
    """Yield what of a quantity that has parts has which properties: all of the total."""
    rest = total
    for amount, properties in said.parts[quantity]:
        rest = minus(rest, amount)
        yield amount, properties
    if rest:  # else all of it was recorded with properties
        yield rest, said.of_all


def label_of(value: str | None) -> str:
    """Return the label of a value.

    No value has the label of another, or one of ours: one that looks like ours gets a
    bracket more, so that an app's own ``(other)`` is ``((other)``.
    """
    if value is None:
        return NONE
    return f"({value}" if _LIKE_OURS.fullmatch(value) else value


def is_name(text: str) -> bool:
    """Say whether a property can be called so."""
    return (
        _NAME.fullmatch(text) is not None
        and len(text) <= PROPERTY_NAME_CHARS_MAX
        and text not in RESERVED_NAMES
    )
