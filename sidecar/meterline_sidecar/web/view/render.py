"""Turns templates into pages: the environment, its filters, what every page shares."""

from __future__ import annotations

import shlex
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache, partial, wraps
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import msgspec
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

import meterline
from meterline_pricing import Calendar
from meterline_pricing.period import title_of
from meterline_pricing.tools import currency_of, money_text, number_text
from meterline_sidecar.clock import ago, format_time_ms, lasting
from meterline_sidecar.config.names import BYTES as UNIT_BYTES
from meterline_sidecar.decimals import Number, readable
from meterline_sidecar.later import later
from meterline_sidecar.local import local_money, local_number
from meterline_sidecar.meters import AGGREGATIONS, Aggregation
from meterline_sidecar.printable import unreversed
from meterline_sidecar.usage.counted import Counted, counted_now
from meterline_sidecar.web.answers.archive import left_for
from meterline_sidecar.web.money import broad
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.rights import is_portal
from meterline_sidecar.web.static import url_of
from meterline_sidecar.web.view.form import Typed, form_of, sent_of, typed
from meterline_sidecar.web.view.mark import mark_of
from meterline_sidecar.where import chosen

if TYPE_CHECKING:
    import jinja2

PAGES: Final = (
    ("/", "Overview", "pulse"),
    ("/usage", "Usage", "chart"),
    ("/customers", "Customers", "people"),
    ("/close", "Month end", "calendar"),
    ("/invoices", "Invoices", "receipt"),
    ("/events", "Events", "list"),
    ("/outbox", "Outbox", "send"),
    ("/pricing", "Pricing", "tag"),
    ("/alerts", "Alerts", "bell"),
)
FLEET_PAGES: Final = (*PAGES[:-3], ("/edges", "Edges", "hosts"), *PAGES[-3:])
"""Where there are edges, or this is one."""
USED_STEP: Final = 1_000
ALIKE_MS: Final = 1_000  # so near, two clocks say the same to people
BRIEF_FROM: Final = 1_000_000  # what is shorter has room on any page
COMPACT_FROM: Final = 10_000
SCALES: Final = tuple(zip((10**n for n in range(18, 0, -3)), "EPTGMk", strict=True))
"""Units in which a long quantity is short, and how much each is."""
BYTES: Final = ("B", "KiB", "MiB", "GiB", "TiB")
USED_BYTES: Final = ("B", "kB", "MB", "GB", "TB", "PB")
"""Of usage, which prices are for so many of: a thousand of each are one of the next."""


def number(value: Decimal | int | None) -> str:
    """Return a quantity with its thousands apart; a dash for none."""
    if value is None:
        return "\N{EN DASH}"
    return local_number(Decimal(value)) or number_text(Decimal(value))


def compact(value: Number) -> str:
    """Return a quantity in at most five characters: ``12.3k``."""
    size = Decimal(value).copy_abs()
    if size < COMPACT_FROM:
        return number(value)
    scale, unit = next(one for one in SCALES if size >= one[0])
    shown = f"{value / scale:.1f}" if size < 100 * scale else f"{value // scale}"
    return f"{shown.removesuffix('.0')}{unit}"


def money(amount: Decimal | None, currency: str | None) -> str:
    """Return an amount as people write it; a dash for none."""
    if amount is None or currency is None:
        return "\N{EN DASH}"
    return local_money(amount, currency) or money_text(amount, currency_of(currency))


def brief(value: Number, unit: str = "") -> str | Markup:
    """Return a quantity for where there is little room: the whole one in its title."""
    if unit == UNIT_BYTES:
        return in_unit(value, unit)
    size = Decimal(value).copy_abs()
    if size < BRIEF_FROM:
        return number(value)
    scale, unit = next(one for one in SCALES if size >= one[0])
    short = f"{value / scale:.4g}{unit}"
    return Markup('<data value="{}" title="{}">{}</data>').format(
        value, number(value), short
    )


def in_unit(value: Decimal | int | None, unit: str) -> str | Markup:
    """Return a quantity with its unit; of many bytes, the exact number in the title."""
    if value is None or not unit:
        return number(value)
    exact = f"{number(value)} {unit}"
    if unit != UNIT_BYTES or abs(Decimal(value)) < USED_STEP:
        return exact
    return Markup('<data value="{}" title="{}">{}</data>').format(
        value, exact, used_bytes(value)
    )


def used_bytes(n_bytes: Number) -> str:
    """Return a number of bytes in the decimal unit that suits it: ``1.5 MB``."""
    value, power = Decimal(n_bytes), 0
    # What would be rounded to a thousand of a unit is one of the next.
    while abs(value) >= USED_STEP - Decimal("0.05") and power < len(USED_BYTES) - 1:
        value, power = value / USED_STEP, power + 1
    return f"{f'{value:.1f}'.removesuffix('.0')} {USED_BYTES[power]}"


def shown_as(aggregation: Aggregation) -> str:
    """Return what the number of such a meter is called beside it."""
    return AGGREGATIONS[aggregation].shown_as


def prose(text: str) -> Markup:
    """Return words of ours, in which `...` is code, for a page."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return escape(text)  # one of them belongs to what is quoted
    pieces = (
        Markup("<code>{}</code>").format(part) if i % 2 else escape(part)
        for i, part in enumerate(parts)
    )
    return Markup("").join(pieces)


def sentence(text: str) -> Markup:
    """Return a phrase as a sentence, with code as above."""
    end = "" if text.endswith("?") else "."
    return prose(f"{text[:1].upper()}{text[1:].rstrip('.')}{end}")


def age(at_ms: int | None, now_ms: int) -> str | Markup:
    """Return how long ago a time was; scripts let it grow while the page is open."""
    if at_ms is None:
        return ago(at_ms, now_ms)
    return Markup('<time datetime="{}" data-age="{}">{}</time>').format(
        format_time_ms(at_ms), at_ms, ago(at_ms, now_ms)
    )


def apart(skew_ms: int) -> str:
    """Return how far a clock is from this one."""
    if abs(skew_ms) < ALIKE_MS:
        return "as ours"
    return f"{lasting(abs(skew_ms))} {'ahead' if skew_ms > 0 else 'behind'}"


def size(n_bytes: int) -> str:
    """Return a size in the unit that suits it."""
    value = float(n_bytes)
    for unit in BYTES:
        if value < 1024 or unit == BYTES[-1]:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError("the last unit returns")


def moment(at_ms: int, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """Return a time in UTC for people."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime(form)


def last_day(end_ms: int, time_zone: str) -> str:
    """Return the last day of a span in a zone for people: ``6 December``."""
    day = Calendar(time_zone=time_zone).day(end_ms - 1)
    return f"{day.day} {day:%B}"


def as_json(value: object) -> str:
    """Return a value as JSON, for an attribute that scripts read."""
    return msgspec.json.encode(value).decode()


# As Any: Jinja's own annotation lists the shapes of its built-in filters.
FILTERS: Final[dict[str, Any]] = {
    "number": number,
    "compact": compact,
    "brief": brief,
    "in_unit": in_unit,
    "shown_as": shown_as,
    "prose": prose,
    "readable": readable,
    "sentence": sentence,
    "money": money,
    "broad": broad,
    "size": size,
    "used_bytes": used_bytes,
    "apart": apart,
    "lasting": lasting,
    "moment": moment,
    "last_day": last_day,
    "title_of": title_of,
    "as_json": as_json,
    "chosen": chosen,
    "rfc3339": format_time_ms,
    "shell": shlex.quote,
    "typed": typed,
}
"""What templates write things by; a paper adds its own before there is any page."""


def _shown(value: object) -> object:
    """Return what a page shows of a value: no name turns the words around it."""
    if not isinstance(value, str) or isinstance(value, Typed):
        return value
    return type(value)(unreversed(value))


_library = later("jinja2")
"""4 MiB, which a sidecar whose pages nobody opens does without."""


@cache
def environment() -> jinja2.Environment:
    """Return what makes pages of templates."""
    library = _library()
    made: jinja2.Environment = library.Environment(
        loader=library.PackageLoader("meterline_sidecar.web"),
        autoescape=True,
        undefined=library.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        finalize=_shown,
    )
    made.filters.update(FILTERS)
    shared: dict[str, Any] = {
        "static": url_of,
        "version": meterline.__version__,
        "age": age,
        "left_for": left_for,
    }
    made.globals.update(shared)
    return made


Page = Callable[[Request], Awaitable[Response]]


def fresh(page: Page) -> Page:
    """Return a page that says how far usage is counted.

    Asked before the page reads anything: it never says more than what it shows.
    """

    @wraps(page)
    async def shown(request: Request) -> Response:
        parts: Parts = request.app.state.parts
        request.state.counted = await counted_now(parts.database)
        request.state.mark = mark_of(parts, request.state.counted)
        return await page(request)

    return shown


def refused_page(status: int, detail: str, path: str) -> str:
    """Return the page for a person who is not let in: it shows nothing of the sidecar."""
    if is_portal(path):
        return portal_refused_page(status, detail)
    template = environment().get_template("refused.html")
    return template.render(
        status=status,
        detail=detail,
        what=HTTPStatus(status).phrase,
        has_way_in=status in (401, 403),
    )


def portal_refused_page(status: int, detail: str, *, back: str = "") -> str:
    """Return the page for a customer who cannot be shown theirs.

    What is wrong with the sidecar is its operator's affair, and so is what its API has.

    Args:
        status: of the answer.
        detail: what a program is told.
        back: where their own page is.
    """
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        detail = "your usage cannot be shown at the moment: try again in a few minutes"
    elif status == HTTPStatus.NOT_FOUND:
        detail = "there is nothing here: open the link that you were given"
    template = environment().get_template("portal_refused.html")
    return template.render(status=status, detail=detail, back=back)


def came_from(request: Request) -> str | None:
    """Return the page of ours from which somebody came."""
    page = urlsplit(request.headers.get("referer", ""))
    if page.netloc != request.headers.get("host"):
        return None
    return page._replace(scheme="", netloc="").geturl()


def render(
    request: Request, template: str, context: Mapping[str, Any], *, status: int = 200
) -> Response:
    """Return a page; every one knows the time, the path, and what is wrong.

    How far usage is counted, too, where it was asked for: see ``fresh``.
    """
    parts: Parts = request.app.state.parts
    at: Counted | None = getattr(request.state, "counted", None)
    sent = sent_of(request)
    made = environment().get_template(template)
    shared: dict[str, Any] = {
        "path": request.url.path,
        "pages": PAGES if parts.config.sidecar.role == "single" else FLEET_PAGES,
        "now_ms": parts.clock.now_ms(),
        "rehearsal": parts.clock.rehearsal,
        "counted": at,
        "mark": getattr(request.state, "mark", ""),
        "trouble": parts.ingest.storing.trouble,
        "names": parts.config.names,
        "has_login": parts.config.needs_token,
        "form_named": partial(form_of, request),
        "not_done": "",
        "is_refused": sent is not None,
        "at": came_from(request) if request.method == "POST" else None,
    }
    shared.update(context)
    html = made.render(shared)
    if sent is None:
        return HTMLResponse(html, status)
    if not sent.is_told:  # its form is not on the page any more
        html = made.render(shared | {"not_done": sent.wrong})
    return HTMLResponse(html, sent.status)
