"""What the texts of ``meterline.toml`` must be where their type does not say it."""

import ipaddress
import re
from datetime import date
from pathlib import Path
from typing import Any, Final, Literal, get_args

from meterline.events import QUANTITY_NAME_CHARS_MAX
from meterline_pricing.errors import nearest, unknown
from meterline_pricing.toml.source import DATE, TEXT, Kind, Unfit, one_of
from meterline_sidecar.local import why_unknown
from meterline_sidecar.meters import (
    EVENT_VALUES,
    QUANTITY_PREFIX,
    TEXT_VALUES,
)

BillThrough = Literal["none", "meter"]

PORT_MAX: Final = 65535
YEAR_MIN: Final = 1900
_OF_THE_MACHINE: Final = ("localtime", "posixrules", "Factory")
_QUANTITY: Final = re.compile(r"[\w.:-]+")  # as meterline.usage_event has it
MARK: Final = "*"
CUSTOMER_ID: Final = re.compile("[A-Za-z0-9_][A-Za-z0-9_.:@+=~|-]{0,99}")
"""What a customer may be called: it stands in the path of a URL as it is."""


def _matching(expected: str, pattern: str | re.Pattern[str]) -> Kind[str]:
    """Return the kind of a text that matches all of ``pattern``."""
    form = re.compile(pattern)

    def check(value: object) -> str:
        if type(value) is not str or not form.fullmatch(value):
            raise Unfit
        return value

    return Kind(expected, check, "", {"type": "string", "pattern": f"^{form.pattern}$"})


def _subject(value: object) -> str:
    text = TEXT.check(value)
    if not text:
        raise Unfit
    if MARK in text[:-1]:
        raise Unfit(
            f"`{text[:60]}` would match nothing: `*` stands at the end only, for all"
            " that begins with what is before it"
        )
    return text


def _sign_ups(value: object) -> str:
    text = _subject(value)
    if not text.endswith(MARK):
        raise Unfit
    return text


def _path(value: object) -> Path:
    text = TEXT.check(value)
    if "\0" in text:
        raise Unfit("no path has a NUL in it")
    return Path(text)


def _day(value: object) -> date:
    day = DATE.check(value)
    if day.year < YEAR_MIN:
        raise Unfit(f"{day} is before {YEAR_MIN}, when nothing was metered")
    return day


def _zone(value: object) -> str:
    name = TEXT.check(value)
    if name in _OF_THE_MACHINE or name.startswith(("posix/", "right/")):
        raise Unfit(
            f"`{name}` is not the same everywhere: name a place, such as Europe/Berlin"
        )
    return name


def _value(value: object) -> str:
    known = (*EVENT_VALUES, *TEXT_VALUES)
    text = TEXT.check(value)
    if text.startswith(QUANTITY_PREFIX):
        name = text.removeprefix(QUANTITY_PREFIX)
        if _is_quantity(name):
            return text
        raise Unfit(
            f"no event has a quantity called `{name[: QUANTITY_NAME_CHARS_MAX + 1]}`: a"
            f" name is of 1 to {QUANTITY_NAME_CHARS_MAX} letters, digits and any of _ . : -"
        )
    if text not in known:
        said = unknown("value", text, (*known, f"{QUANTITY_PREFIX}NAME"))
        if nearest(text, known) is None and _is_quantity(text):
            said += f"; what your code records as `{text}` is `{QUANTITY_PREFIX}{text}`"
        raise Unfit(said)
    return text


def _is_quantity(name: str) -> bool:
    return (
        len(name) <= QUANTITY_NAME_CHARS_MAX and _QUANTITY.fullmatch(name) is not None
    )


def _http(value: object) -> str:
    text = TEXT.check(value)
    if "\0" in text:
        raise Unfit("no address has a NUL in it")
    if text.startswith("unix:") and len(text) > len("unix:"):
        return text
    host, _, port = text.rpartition(":")
    is_number = port.isascii() and port.isdigit() and len(port) <= len(str(PORT_MAX))
    if not (host and is_number) or int(port) > PORT_MAX:
        raise Unfit
    return text


def _proxy(value: object) -> str:
    text = TEXT.check(value)
    if text != "unix":
        try:
            ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise Unfit from None
    return text


def _bill_through(value: object) -> BillThrough:
    if value == "invoice":
        raise Unfit(
            "`invoice` is reserved for invoices that are priced here, which are not"
            " sent to Stripe yet; use `meter` or `none`"
        )
    return _WAY.check(value)


_WAY: Final[Kind[BillThrough]] = one_of("bill_through", get_args(BillThrough))
_STRING: Final[dict[str, Any]] = {"type": "string"}

BILL_THROUGH: Final = Kind(_WAY.expected, _bill_through, "none", _WAY.schema)
NAME: Final = _matching(
    "a name of letters, digits, `_`, `.` and `-`",
    "[A-Za-z_][A-Za-z0-9_.-]{0,99}",  # Stripe: at most 100
)
TITLE: Final = _matching(
    "a title of 1 to 100 characters in one line",
    r"\S([^\x00-\x1f\x7f]{0,98}\S)?",
)
UNIT: Final = _matching(
    "a unit of 1 to 30 characters, such as bytes",
    r"\S([^\x00-\x1f\x7f]{0,28}\S)?",
)
LINE: Final = _matching(
    "a text of 1 to 200 characters in one line",
    r"\S([^\x00-\x1f\x7f]{0,198}\S)?",
)
EMAIL: Final = _matching(
    "an address such as billing@example.com",
    r"[^\s@\x00-\x1f\x7f]+@[^\s@\x00-\x1f\x7f]+",
)
SERIES: Final = _matching(
    "up to 20 letters, digits and any of _ . -, the last one no digit, such as INV-",
    "[A-Za-z0-9][A-Za-z0-9_.-]{0,18}[A-Za-z_.-]|[A-Za-z]",  # it stands in a URL
)
_LOCALE: Final = re.compile("[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8}){0,3}")


def _a_locale(value: object) -> str:
    if type(value) is not str or not _LOCALE.fullmatch(value):
        raise Unfit
    if (why := why_unknown(value)) is not None:
        raise Unfit(f"nothing can be written as in `{value}`: {why}")
    return value


LOCALE: Final = Kind(
    'a locale such as "de-DE"',
    _a_locale,
    "",
    {"type": "string", "pattern": f"^{_LOCALE.pattern}$"},
)
URL: Final = _matching(
    "a URL such as https://ops.example.com/hook", r"https?://[^\s/@]+(/\S*)?"
)
ORIGIN: Final = _matching(
    "an origin such as https://app.example.com",
    "https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?",
)
CUSTOMER: Final = _matching(
    "an id in quotes, of up to 100 letters, digits and any of _ . - : @ + = ~ |",
    CUSTOMER_ID,
)
LEDGER: Final = _matching(
    "a ledger's number in quotes, such as 3f9a1c0b7e22", "[0-9a-f]{12}"
)
SUBJECT: Final = Kind(
    "a subject, or what subjects begin with and `*`",
    _subject,
    "",
    {"type": "string", "pattern": "^([^*]+\\*?|\\*)$"},
)
SIGN_UPS: Final = Kind(
    "what subjects begin with, and `*`",
    _sign_ups,
    "",
    {"type": "string", "pattern": "^[^*]*\\*$"},
)
DAY: Final = Kind(DATE.expected, _day, DATE.blank, DATE.schema)
ZONE: Final = Kind(TEXT.expected, _zone, "UTC", TEXT.schema)
PATH: Final = Kind(TEXT.expected, _path, Path(), TEXT.schema)
VALUE: Final = Kind("the name of a value", _value, "units", _STRING)
HTTP: Final = Kind("HOST:PORT, or unix:PATH", _http, "", _STRING)
HOST_NAME: Final = _matching(
    "a host name such as meter.example.com, without scheme and port",
    r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?",
)
PROXY: Final = Kind("an address, a network or `unix`", _proxy, "", _STRING)
