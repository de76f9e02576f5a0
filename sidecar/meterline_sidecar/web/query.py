"""What a request may ask: its parameters as structs, which also describe them."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from meterline_pricing import Calendar, Period
from meterline_pricing.tools import currency_of, nearest
from meterline_sidecar.billing.documents import number_of
from meterline_sidecar.billing.statement import finals_of
from meterline_sidecar.clock import parse_time_ms, time_text
from meterline_sidecar.config.shape import Customer
from meterline_sidecar.store.port import Tx
from meterline_sidecar.terms.calendar import CustomerCalendar
from meterline_sidecar.terms.period_names import LAST, WORDS, period_name
from meterline_sidecar.typed import NotTyped, number_typed
from meterline_sidecar.usage.counted import WINDOW_MS, Counted
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.problems import BadRequest, NoSuchThing
from meterline_sidecar.where import STATUSES_EXAMPLE, status_ranges

AMOUNT_END: Final = 10**12
THOUSANDTHS: Final = 3  # digits behind the point of a dinar
PAGE: Final = 100
PAGE_MAX: Final = 1_000
PROPERTY_NAME: Final = re.compile(r"[a-z_][a-z0-9_]*")
ID_MAX: Final = 2**63 - 1  # what a column of ids can hold
YEARS: Final = (1970, 9998)  # what calendars and SQLite's integers take with ease

CustomerId = Annotated[str, Meta(max_length=100, description="A customer's id.")]
AfterCustomer = Annotated[
    str,
    Meta(max_length=100, description="`next_after` of the page before this one."),
]
MonthName = Annotated[
    str,
    Meta(
        max_length=10,
        description="A billing period: a calendar month such as 2026-11, the first"
        " day of another one, such as 2026-11-23, or `last`; by default the current"
        " one.",
    ),
]
Time = Annotated[
    str,
    Meta(
        max_length=64,
        description="An RFC 3339 time, such as 2026-11-22T08:00:00Z. A span is"
        " `[start, end)`; give both or neither.",
        examples=["2026-11-22T08:00:00Z"],
    ),
]
Statuses = Annotated[
    str,
    Meta(
        max_length=64,
        description="HTTP statuses: 404, 5xx, 400-499 or 200,304; 0 where no response"
        " was sent.",
        examples=["5xx"],
    ),
]
Where = Annotated[
    str,
    Meta(
        max_length=256,
        description="A property and its value, such as model=large: of the whole event,"
        " or of what was recorded in it.",
        examples=["model=large"],
    ),
]
Limit = Annotated[int, Meta(ge=1, le=PAGE_MAX, description="Entries on a page.")]


def where_of(text: str | None) -> tuple[str, str] | None:
    """Return the property that is asked for, and its value.

    Raises:
        BadRequest: it is none.
    """
    if text is None:
        return None
    name, equals, value = text.partition("=")
    if not equals or not value or not PROPERTY_NAME.fullmatch(name):
        raise BadRequest(f"where={text[:50]!r} is no property; write it as NAME=VALUE")
    return name, value


class Nothing(msgspec.Struct, frozen=True):
    """No parameters."""


class Span(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A span of time: ``start`` and ``end``, or a billing period."""

    period: MonthName | None = None
    start: Time | None = None
    end: Time | None = None


def find_customer(parts: Parts, customer_id: str) -> Customer:
    """Return a customer of the configuration.

    Raises:
        NoSuchThing: there is none with this id; names the nearest.
    """
    found = parts.customers.get(customer_id)
    if found is None:
        near = nearest(customer_id, parts.customers.ids)
        hint = (
            f"; did you mean {near}?"
            if near
            else "; `meterline customers list` names all"
        )
        if _is_number(parts, customer_id):
            hint = "; it looks like the number of a document: try `meterline invoice`"
        raise NoSuchThing(f"no customer {customer_id[:100]!r}{hint}")
    return found


def _is_number(parts: Parts, name: str) -> bool:
    """Say whether something is named as documents are numbered here."""
    number, seller = number_of(name), parts.config.seller
    series = (seller.invoice_prefix, seller.credit_note_prefix)
    return number is not None and number[0] in series


def billing_period(parts: Parts, customer: Customer | None, name: str | None) -> Period:
    """Return a customer's billing period of that name or word, else the current one.

    For everybody (``None``) a period is a month in UTC.

    Raises:
        PricingError: there is none; the text says what is possible.
    """
    now_ms = parts.clock.now_ms()
    word = None if name is None else period_name(name)
    if customer is None:
        calendar = Calendar()
        if word is not None and word not in WORDS:
            return calendar.named(word)
        month = calendar.at(now_ms)
        return calendar.at(month.start - 1) if word in LAST else month
    theirs = CustomerCalendar.of(parts.terms.terms, customer.id)
    if word is not None and word not in WORDS:
        return theirs.named(word)
    latest = theirs.latest(now_ms)
    return theirs.named(theirs.before(latest.name)) if word in LAST else latest


def period_wanted(parts: Parts, customer_id: str | None, name: str) -> str:
    """Return the name of a period of one customer's, or of all: then it is a month.

    Raises:
        PricingError: there is none; the text says what is possible.
    """
    word = period_name(name, takes_year=True)
    if word not in WORDS:
        return word
    customer = None if customer_id is None else parts.customers.get(customer_id)
    return billing_period(parts, customer, word).name


async def invoice_period(
    tx: Tx, parts: Parts, customer: Customer, name: str | None = None
) -> Period:
    """Return the period of an invoice: as it was, where it is final, whatever holds now.

    It is read in the snapshot in which the invoice is, so that both are of one moment.
    Without a name it is the current one.
    """
    if name is None or period_name(name) in WORDS:
        name = billing_period(parts, customer, name).name
    final = (await finals_of(tx, customer.id)).get(name)
    return billing_period(parts, customer, name) if final is None else final.period


def span_of(parts: Parts, query: Span, customer: Customer | None) -> Period:
    """Return the span that was asked for.

    Raises:
        BadRequest: it is none, or only half of one.
    """
    if query.start is None and query.end is None:
        return billing_period(parts, customer, query.period)
    if query.start is None or query.end is None:
        raise BadRequest("give both start and end, or neither")
    if query.period is not None:
        raise BadRequest("give either period, or start and end")
    start, end = time_ms("start", query.start), time_ms("end", query.end)
    if start >= end:
        raise BadRequest(f"start={query.start} is not before end={query.end}")
    return Period(start, end)


def whole_windows(span: Period) -> Period:
    """Return the span widened to whole windows: usage is not known any finer."""
    start = span.start // WINDOW_MS * WINDOW_MS
    end = -(-span.end // WINDOW_MS) * WINDOW_MS
    return Period(start, end, span.name)


def time_ms(name: str, text: str) -> int:
    """Return an RFC 3339 time as UTC milliseconds.

    Raises:
        BadRequest: it is none, or too far away; says which parameter it was.
    """
    try:
        # A `+` that was not escaped arrives as a space.
        at_ms = parse_time_ms(text.replace(" ", "+") if "T" in text else text)
    except (ValueError, OverflowError) as error:
        raise BadRequest(
            f"{name}={text[:50]!r} is not a time such as 2026-11-22T08:00:00Z"
        ) from error
    first, last = (
        int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) * 1000 for year in YEARS
    )
    if not first <= at_ms < last:
        raise BadRequest(
            f"{name}={text[:50]!r} is not between {YEARS[0]} and {YEARS[1]}"
        )
    return at_ms


def statuses_of(text: str | None) -> tuple[tuple[int, int], ...] | None:
    """Return the ranges of statuses that were asked for; ``None`` for all.

    Raises:
        BadRequest: it is no list of statuses.
    """
    if text is None:
        return None
    if text == "0":
        return ((0, 0),)
    try:
        return tuple((found.first, found.last) for found in status_ranges(text))
    except ValueError as error:
        raise BadRequest(
            f"status={text!r} is no HTTP status; write {STATUSES_EXAMPLE}"
        ) from error


def fresh_as_of(at: Counted) -> str | None:
    """Return up to when usage is known: an answer without it would look complete."""
    return time_text(at.as_of_ms)


def read_amount(text: str, currency: str) -> Decimal:
    """Return an amount above zero, in whole minor units of a currency.

    Raises:
        BadRequest: it is none; the text says what was expected.
        PricingError: there is no such currency.
    """
    digits = currency_of(currency).decimals
    try:
        amount = number_typed(text, takes_thousandths=digits >= THOUSANDTHS)
    except NotTyped as error:
        raise BadRequest(f"amount: {error}") from error
    if not 0 < amount < AMOUNT_END:
        raise BadRequest(
            f"amount: expected a decimal above 0 and below {AMOUNT_END:,}, such as 25.00,"
            f" not {text}"
        )
    if amount != round(amount, digits):
        raise BadRequest(
            f"amount: {currency.upper()} has {digits} digits behind the point, not as"
            f" many as {text}"
        )
    return amount
