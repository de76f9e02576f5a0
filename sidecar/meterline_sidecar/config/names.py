"""What people call meters. Programs call them by their names, everywhere."""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

BYTES: Final = "bytes"
"""The unit that pages show as kB, MB and so on."""
DAYS: Final = re.compile(r" \(\d{4}-\d\d-\d\d to \d{4}-\d\d-\d\d\)$")
"""What pricing puts behind a line that is for some days of its period."""


class Name(msgspec.Struct, frozen=True, kw_only=True):
    """How one meter is shown."""

    title: str
    unit: str = ""
    is_hidden: bool = False


class Names:
    """How all meters are shown; one that nobody named is shown by its name.

    Args:
        named: by the meter's name.
    """

    def __init__(self, named: Mapping[str, Name]) -> None:
        self._named = named

    @property
    def titles(self) -> dict[str, str]:
        """What each meter is called, by its name."""
        return {meter: name.title for meter, name in self._named.items()}

    def name(self, meter: str) -> Name:
        """Return how a meter is shown."""
        return self._named.get(meter) or Name(title=meter)

    def title(self, meter: str) -> str:
        """Return what a meter is called."""
        return self.name(meter).title

    def unit(self, meter: str | None) -> str:
        """Return what a meter's quantities are in; empty where nobody says."""
        name = None if meter is None else self._named.get(meter)
        return "" if name is None else name.unit

    def of(self, meter: str) -> str:
        """Return what follows a quantity: ``API calls``, or ``bytes of Traffic``."""
        unit = self.unit(meter)
        return f"{unit} of {self.title(meter)}" if unit else self.title(meter)

    def line(self, description: str, meter: str | None) -> str:
        """Return what an invoice's line is called: as its price, or else its meter.

        The days that a line is for, where it is not for all of a period, stay behind it.
        """
        days = DAYS.search(description)
        called = description[: days.start()] if days else description
        if meter is None or called != meter:
            return description
        return self.title(meter) + description[len(called) :]

    def shows(self, meter: str) -> bool:
        """Say whether a meter is shown where nobody asks for it by name."""
        name = self._named.get(meter)
        return name is None or not name.is_hidden
