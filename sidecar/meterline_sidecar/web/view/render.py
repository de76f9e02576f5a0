"""Turns templates into pages: the environment, its filters, what every page shares."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import wraps
from typing import Any, Final

import jinja2
import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

import meterline
from meterline_pricing.tools import currency_of, money_text, number_text
from meterline_sidecar.clock import ago, format_time_ms, lasting
from meterline_sidecar.usage.counted import Counted, counted_now
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.static import url_of

PAGES: Final = (
    ("/", "Overview", "pulse"),
    ("/usage", "Usage", "chart"),
    ("/customers", "Customers", "people"),
    ("/events", "Events", "list"),
    ("/outbox", "Outbox", "send"),
    ("/pricing", "Pricing", "tag"),
    ("/alerts", "Alerts", "bell"),
)
BYTES: Final = ("B", "KiB", "MiB", "GiB", "TiB")


def number(value: Decimal | int | None) -> str:
    """Return a quantity with its thousands apart; a dash for none."""
    return "\N{EN DASH}" if value is None else number_text(Decimal(value))


def compact(value: int) -> str:
    """Return a quantity in at most five characters: ``12.3k``."""
    size, unit = abs(value), ""
    for bound, name in ((10**9, "G"), (10**6, "M"), (10**4, "k")):
        if size >= bound:
            unit = name
            break
    if not unit:
        return f"{value:,}"
    scale = {"k": 10**3, "M": 10**6, "G": 10**9}[unit]
    shown = f"{value / scale:.1f}" if abs(value) < 100 * scale else f"{value // scale}"
    return f"{shown.removesuffix('.0')}{unit}"


def money(amount: Decimal | None, currency: str | None) -> str:
    """Return an amount as people write it; a dash for none."""
    if amount is None or currency is None:
        return "\N{EN DASH}"
    return money_text(amount, currency_of(currency))


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


def as_json(value: object) -> str:
    """Return a value as JSON, for an attribute that scripts read."""
    return msgspec.json.encode(value).decode()


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("meterline_sidecar.web"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    # Typed as Any: Jinja's own annotation lists the shapes of its built-in filters.
    filters: dict[str, Any] = {
        "number": number,
        "compact": compact,
        "money": money,
        "size": size,
        "lasting": lasting,
        "moment": moment,
        "as_json": as_json,
        "rfc3339": format_time_ms,
    }
    environment.filters.update(filters)
    shared: dict[str, Any] = {
        "static": url_of,
        "version": meterline.__version__,
        "pages": PAGES,
        "ago": ago,
    }
    environment.globals.update(shared)
    return environment


ENVIRONMENT: Final = _environment()


Page = Callable[[Request], Awaitable[Response]]


def fresh(page: Page) -> Page:
    """Return a page that says how far usage is counted.

    Asked before the page reads anything: it never says more than what it shows.
    """

    @wraps(page)
    async def shown(request: Request) -> Response:
        parts: Parts = request.app.state.parts
        request.state.counted = await counted_now(parts.database)
        return await page(request)

    return shown


def render(
    request: Request, template: str, context: Mapping[str, Any], *, status: int = 200
) -> Response:
    """Return a page; every one knows the time, the path, and what is wrong.

    How far usage is counted, too, where it was asked for: see ``fresh``.
    """
    parts: Parts = request.app.state.parts
    at: Counted | None = getattr(request.state, "counted", None)
    html = ENVIRONMENT.get_template(template).render(
        path=request.url.path,
        now_ms=parts.clock.now_ms(),
        rehearsal=parts.clock.rehearsal,
        counted=at,
        trouble=parts.ingest.trouble,
        has_login=parts.config.needs_token,
        **context,
    )
    return HTMLResponse(html, status)
