"""Numbers as people type them: those that can be read in two ways are refused.

In one country ``120.000`` is a hundred and twenty thousand, in the next it is a hundred
and twenty. What programs send (JSON, files of events, ``pricing.toml``) has a point for
fractions only, and is not read here.
"""

import re
import unicodedata
from decimal import Decimal, InvalidOperation
from typing import Final

CHARS_MAX: Final = 50
_PLAIN: Final = re.compile(r"[0-9]+(\.[0-9]+)?|[0-9]{1,3}(_[0-9]{3})+(\.[0-9]+)?")
"""Digits, and at most one point; ``_`` between thousands, as in ``pricing.toml``."""
_TWO_WAYS: Final = re.compile(r"[1-9][0-9]{0,2}\.[0-9]{3}")
_GROUPED: Final = re.compile(
    r"([0-9]{1,3}(?:([.,' \u2019_])[0-9]{3})(?:\2[0-9]{3})*)([.,][0-9]+)?"
)
_MINUS: Final = re.compile(r"[-\u2010-\u2015\u2212]\s*[$\u20ac\xa3\xa5]?[0-9.,]")
"""A sign as it is typed, or copied from a text or a spreadsheet."""
_AROUND: Final = re.compile(r"[\u200e\u200f\u061c$\u20ac\xa3\xa5]")
"""What is copied with an amount: signs of currencies, and marks of its direction."""
_FRACTION: Final = re.compile(r"([0-9]*)[.,]([0-9]*)")


class NotTyped(ValueError):
    """A text that is no number, or not clearly one; says what to write."""


def number_typed(text: str, *, takes_thousandths: bool = False) -> Decimal:
    """Return a number of 0 or more that somebody typed.

    Args:
        takes_thousandths: ``1.250`` has three digits behind its point, as amounts of
            some currencies have.

    Raises:
        NotTyped: it is none, or can be read in two ways; the text says what to write.
    """
    typed = text.strip()
    is_plain = len(typed) <= CHARS_MAX and _PLAIN.fullmatch(typed) is not None
    if is_plain and (takes_thousandths or not _TWO_WAYS.fullmatch(typed)):
        return Decimal(typed)
    if _MINUS.match(typed):
        raise NotTyped(f"`{typed[:CHARS_MAX]}` is below 0: write it without the minus")
    readings = _readings(typed) if len(typed) <= CHARS_MAX else []
    if len(readings) > 1:
        raise NotTyped(
            f"`{typed}` can be read as {' and as '.join(readings)}: write the one that"
            " is meant"
        )
    if readings:
        raise NotTyped(f"`{typed}` is not clearly a number: write {readings[0]}")
    raise NotTyped(
        f"`{typed[:CHARS_MAX]}` is no number: write digits and at most one point, such"
        " as 120000 or 25.50"
    )


def _readings(typed: str) -> list[str]:
    """Return what a text can mean, each as it can be typed."""
    text = unicodedata.normalize("NFKC", typed).removeprefix("+")
    text = _AROUND.sub("", text).strip()
    found: list[str] = []
    if grouped := _GROUPED.fullmatch(text):
        whole, separator, rest = grouped.groups()
        if rest is None or rest[0] != separator:
            digits = "".join(filter(str.isdigit, whole))
            found.append(_plain(digits, (rest or " ")[1:]))
    if (fraction := _FRACTION.fullmatch(text)) and any(fraction.groups()):
        found.append(_plain(fraction[1] or "0", fraction[2]))
    if not found:
        found += _exactly(text)
    return list(dict.fromkeys(found))


def _plain(whole: str, fraction: str) -> str:
    """Return a number so that nobody takes its point for one between thousands."""
    fraction = fraction.rstrip("0")
    whole = whole.lstrip("0") or "0"
    if not fraction:
        return whole
    return f"{whole}.{fraction}{'0' if len(fraction) == 3 and whole != '0' else ''}"


def _exactly(text: str) -> list[str]:
    """Return what Python reads a text as, such as ``1e5``; nothing where it is none."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        return []
    if not number.is_finite() or abs(number.adjusted()) > CHARS_MAX:
        return []
    whole, _, fraction = f"{number:f}".partition(".")
    plain = _plain(whole, fraction)
    return [plain] if len(plain) <= CHARS_MAX else []  # or it could not be typed
