"""What may be recorded, and what happens to the rest: said once, counted always."""

import logging
import re
from collections import Counter
from typing import Final

from meterline.events import (
    QUANTITIES_MAX,
    QUANTITY_MAX,
    QUANTITY_NAME_CHARS_MAX,
    ROUTE_CHARS_MAX,
    SUBJECT_CHARS_MAX,
)

REASONS_MAX: Final = 64  # different ones that are logged and counted by themselves
OTHER_REASONS: Final = "other"

_NAME: Final = re.compile(r"[\w.:-]+")

log = logging.getLogger(__name__)


class Complaints:
    """Counts what was left out; each reason is logged the first time only."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def add(self, reason: str) -> None:
        """Count one of ``reason``, a text without any data of a request in it."""
        if reason not in self.counts:
            if len(self.counts) >= REASONS_MAX:
                reason = OTHER_REASONS
            log.warning("%s; further ones are only counted", reason)
        self.counts[reason] += 1


def checked_quantity(name: object, quantity: object) -> str:
    """Return why ``quantity`` cannot be recorded under ``name``; empty if it can."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return "a quantity's name must be letters, digits and _ . : -"
    if len(name) > QUANTITY_NAME_CHARS_MAX:
        return f"a quantity's name is over {QUANTITY_NAME_CHARS_MAX} characters"
    # True is an int to Python, but never one that somebody meant to bill.
    if not isinstance(quantity, int) or isinstance(quantity, bool):
        return f"a quantity must be an integer, not {type(quantity).__name__}"
    if not 0 <= quantity <= QUANTITY_MAX:
        return f"a quantity must be from 0 to {QUANTITY_MAX}"
    return ""


def add_quantity(quantities: dict[str, int], name: object, quantity: object) -> str:
    """Add ``quantity`` to what ``quantities`` has; return why not, or nothing.

    Several of one name add up. Raises nothing.
    """
    if problem := checked_quantity(name, quantity):
        return problem
    assert isinstance(name, str)
    assert isinstance(quantity, int)
    total = quantities.get(name, 0) + quantity
    if total > QUANTITY_MAX:
        return f"the sum of a quantity is over {QUANTITY_MAX}"
    if len(quantities) >= QUANTITIES_MAX and name not in quantities:
        return f"more than {QUANTITIES_MAX} quantities in one request"
    quantities[name] = total
    return ""


def checked_subject(subject: object) -> str:
    """Return why ``subject`` cannot be one; empty if it can."""
    return _checked_text(subject, "a subject", SUBJECT_CHARS_MAX)


def checked_route(route: object) -> str:
    """Return why ``route`` cannot be one; empty if it can."""
    return _checked_text(route, "a route", ROUTE_CHARS_MAX)


def _checked_text(text: object, what: str, chars_max: int) -> str:
    if not isinstance(text, str):
        return f"{what} must be text, not {type(text).__name__}"
    if not 0 < len(text) <= chars_max:
        return f"{what} must have 1 to {chars_max} characters"
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return f"{what} must be valid Unicode"
    return ""
