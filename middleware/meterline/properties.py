"""What quantities are told apart by: properties of an event, and of parts of it."""

import operator
import re
from collections.abc import Mapping
from typing import Final

import msgspec

from meterline.events import (
    DECIMALS_MAX,
    PARTS_MAX,
    PROPERTIES_MAX,
    PROPERTY_CHARS_MAX,
    PROPERTY_NAME_CHARS_MAX,
    RESERVED_NAMES,
)
from meterline.quantities import (
    GOOD_NAMES_MAX,
    class_name,
    exact_text,
    is_unicode,
    summed,
    with_share,
)

BYTES_MAX: Final = 4096
"""Of all properties of one event as they are encoded, so that it fits into a record."""

_INT_MAX: Final = 10**PROPERTY_CHARS_MAX  # more digits than a value may have
_NAME: Final = r"[a-z_][a-z0-9_]*"
_good_names: Final[set[str]] = set()
"""Names that were checked before, as those of quantities."""
_encode: Final = msgspec.msgpack.Encoder().encode

LONGEST: Final = "0" * (2 * DECIMALS_MAX + 1)  # as long as an amount can be
TOO_MANY: Final = f"more than {PROPERTIES_MAX} properties in one event"
TOO_MANY_PARTS: Final = (
    f"more than {PARTS_MAX} quantities with different properties in one request"
)
TOO_LONG: Final = f"the properties of one event are over {BYTES_MAX} bytes"

Part = list[str | int | dict[str, str]]
"""A name, an amount and its properties: ``usage_event.Part`` as it is encoded."""


class Properties:
    """The properties of one event that is being filled, and those of its parts."""

    __slots__ = ("n_bytes", "parts", "whole")

    def __init__(self, whole: dict[str, str] | None = None) -> None:
        self.whole = whole or {}
        """Of the whole event. Never changed, but replaced: others may be reading it."""
        self.parts: list[Part] = []
        self.n_bytes = 0  # of the parts

    def put(self, given: Mapping[str, object]) -> str:
        """Give the whole event more properties; return why not all, or nothing."""
        own, problem = exact_properties(given)
        merged = self.whole | own
        if len(merged) > PROPERTIES_MAX:
            kept = [*merged.items()][:PROPERTIES_MAX]
            merged, problem = dict(kept), TOO_MANY
        if self.n_bytes + len(_encode(merged)) > BYTES_MAX:
            return TOO_LONG
        self.whole = merged
        return problem

    def add(self, quantity: str, amount: int | str, given: Mapping[str, object]) -> str:
        """Tell ``amount`` from the rest of a quantity; return why not, or nothing.

        Args:
            quantity: its name, and its amount, as ``checked_quantity`` has them.
            given: as the app says it.
        """
        part, problem = self.part(quantity, given)
        if part is not None:
            total = summed(part[1], amount)  # type: ignore[arg-type]  # the amount
            assert total is not None, "that of the whole event is no smaller"
            part[1] = total
        return problem

    def part(
        self, quantity: str, given: Mapping[str, object]
    ) -> tuple[Part | None, str]:
        """Return the part of a quantity that has these properties, at first of 0.

        ``None`` where it cannot be told apart; and why not, or not all, or nothing.
        """
        own, problem = exact_properties(given)
        room = PROPERTIES_MAX - len(self.whole)
        if len(own) > room:
            new = [name for name in own if name not in self.whole]
            for name in new[room:]:
                del own[name]
                problem = TOO_MANY
        if not own:
            return None, problem
        for part in self.parts:
            if part[2] == own and part[0] == quantity:
                return part, problem
        if len(self.parts) >= PARTS_MAX:
            return None, TOO_MANY_PARTS
        n_bytes = self.n_bytes + len(_encode((quantity, LONGEST, own)))
        if n_bytes + len(_encode(self.whole)) > BYTES_MAX:
            return None, TOO_LONG
        self.n_bytes = n_bytes
        self.parts.append([quantity, 0, own])
        return self.parts[-1], problem

    def rest(self, quantity: str, total: int | str) -> int | str:
        """Return how much of a quantity's total has no properties of its own."""
        for name, amount, _ in self.parts:
            if name == quantity:
                left = with_share(total, before=amount, after=0)  # type: ignore[arg-type]  # the amount
                assert left is not None, "it is no larger"
                total = left
        return total

    def take(self) -> tuple[dict[str, str] | None, list[Part] | None]:
        """Return both as an event has them, and keep only those of the whole."""
        parts, self.parts, self.n_bytes = self.parts, [], 0
        return self.whole or None, parts or None


def exact_properties(given: Mapping[str, object]) -> tuple[dict[str, str], str]:
    """Return properties as they are recorded, and why one was left out; empty if none.

    Values are texts, whole numbers and truth values. Raises nothing, whatever is given.
    """
    own: dict[str, str] = {}
    problem = ""
    for name, value in given.items():
        if (
            type(value) is str
            and 0 < len(value) <= PROPERTY_CHARS_MAX
            and value.isascii()
            and type(name) is str
            and name in _good_names
        ):
            own[name] = value  # what is nearly always so, without a call
            continue
        exact_name, text, why = _checked(name, value)
        if why:
            problem = why
        else:
            own[exact_name] = text
    return own, problem


def _checked(name: object, value: object) -> tuple[str, str, str]:
    """Return a name and a value as they are recorded, and why they cannot be."""
    exact = exact_text(name) or ""
    if len(exact) > PROPERTY_NAME_CHARS_MAX:
        limit = PROPERTY_NAME_CHARS_MAX
        return "", "", f"a property's name is over {limit} characters"
    if not re.fullmatch(_NAME, exact):
        return "", "", "a property's name must be small letters, digits and _"
    if exact in RESERVED_NAMES:
        return "", "", f"no property can be called {exact}: an event has that already"
    try:
        text = _text_of(value)
    except Exception:  # noqa: BLE001 - edge: a class of the app's, which does as it likes
        kind = class_name(value)
        return "", "", f"a property must be text or a whole number, not {kind}"
    if not 0 < len(text) <= PROPERTY_CHARS_MAX:
        return "", "", f"a property must have 1 to {PROPERTY_CHARS_MAX} characters"
    if not is_unicode(text):
        return "", "", "a property must be valid Unicode"
    if len(_good_names) < GOOD_NAMES_MAX:
        _good_names.add(exact)
    return exact, text, ""


def _text_of(value: object) -> str:
    """Return the text that a value is. Raises whatever it likes where it is none."""
    if type(value) is bool:
        return "true" if value else "false"
    text = exact_text(value)
    if text is not None:
        return text
    exact = operator.index(value)  # type: ignore[arg-type]  # it says so if it is none
    # Asked before it is a text: Python makes none of one with very many digits.
    return str(exact) if -_INT_MAX < exact < _INT_MAX else ""
