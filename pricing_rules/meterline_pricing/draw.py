"""A cost curve as text for a terminal, or as an SVG picture. Pure: returns text."""

from collections.abc import Sequence
from decimal import Decimal
from html import escape
from typing import Final

from meterline_pricing.curve import Finding, Point
from meterline_pricing.errors import PricingError
from meterline_pricing.money import ZERO, currency_of, exact, money_text, number_text

_WIDTH: Final = 640
_HEIGHT: Final = 360
_LEFT: Final = 90
_TOP: Final = 40
_PLOT_WIDTH: Final = _WIDTH - _LEFT - 20
_PLOT_HEIGHT: Final = _HEIGHT - _TOP - 50


def draw_text(
    points: Sequence[Point], *, currency: str, width: int = 60, height: int = 15
) -> str:
    """Return a curve in characters: ``*`` for cost, highest line first.

    Args:
        points: rising by quantity, as ``curve`` returns them.
        currency: of the amounts.
        width: columns of the plot, 10 to 500.
        height: lines of the plot, 3 to 200.

    Raises:
        PricingError: no points, or the limits above.
    """
    if not 10 <= width <= 500 or not 3 <= height <= 200:
        raise PricingError(f"expected 10 to 500 by 3 to 200, not {width} by {height}")
    most, top = _corner(points)
    rows = [[" "] * width for _ in range(height)]
    with exact():
        for point in points:
            column = int(point.quantity * (width - 1) / most)
            line = height - 1 - int(point.amount * (height - 1) / top)
            rows[line][column] = "*"
    high, low = _money(top, currency), _money(ZERO, currency)
    margin = max(len(high), len(low))
    lines: list[str] = []
    for i, row in enumerate(rows):
        label = high if i == 0 else low if i == height - 1 else ""
        lines.append(f"{label:>{margin}} |{''.join(row)}".rstrip())
    end = number_text(most)
    lines.append(" " * margin + " +" + "-" * width)
    lines.append(" " * margin + "  0" + f"{end:>{width - 1}}")
    return "\n".join(lines) + "\n"


def draw_svg(
    points: Sequence[Point],
    *,
    currency: str,
    title: str,
    findings: Sequence[Finding] = (),
) -> str:
    """Return a curve as an SVG document, with what was found odd marked in red.

    Args:
        points: rising by quantity, as ``curve`` returns them.
        currency: of the amounts.
        title: shown above, and read by screen readers; any text.
        findings: marked where they begin, with their message as a tooltip.

    Raises:
        PricingError: no points.
    """
    most, top = _corner(points)
    with exact():
        path = " ".join(
            f"{_x(point.quantity, most)},{_y(point.amount, top)}" for point in points
        )
        marks = "".join(
            f'<line x1="{_x(finding.quantity, most)}" y1="{_TOP}" '
            f'x2="{_x(finding.quantity, most)}" y2="{_TOP + _PLOT_HEIGHT}" '
            f'stroke="#c33" stroke-dasharray="4"><title>{escape(finding.message, quote=False)}'
            "</title></line>\n"
            for finding in findings
            if finding.quantity <= most
        )
    name = escape(title, quote=False)
    bottom = _TOP + _PLOT_HEIGHT
    right = _LEFT + _PLOT_WIDTH
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'font-family="sans-serif" font-size="12" role="img">\n<title>{name}</title>\n'
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>\n'
        f'<text x="{_LEFT}" y="24" font-size="15">{name}</text>\n'
        f'<path d="M{_LEFT},{_TOP}V{bottom}H{right}" fill="none" stroke="#888"/>\n'
        f'<text x="{_LEFT - 6}" y="{_TOP + 4}" text-anchor="end">'
        f"{escape(_money(top, currency), quote=False)}</text>\n"
        f'<text x="{_LEFT - 6}" y="{bottom}" text-anchor="end">'
        f"{escape(_money(ZERO, currency), quote=False)}</text>\n"
        f'<text x="{_LEFT}" y="{bottom + 18}" text-anchor="middle">0</text>\n'
        f'<text x="{right}" y="{bottom + 18}" text-anchor="end">'
        f"{number_text(most)}</text>\n{marks}"
        f'<polyline points="{path}" fill="none" stroke="#26c" stroke-width="2"/>\n'
        "</svg>\n"
    )


def _corner(points: Sequence[Point]) -> tuple[Decimal, Decimal]:
    """Return the largest quantity and amount; 1 for an amount of 0 throughout."""
    if not points:
        raise PricingError("expected at least one point")
    most = max(point.quantity for point in points)
    top = max(point.amount for point in points)
    return most or Decimal(1), top or Decimal(1)


def _x(quantity: Decimal, most: Decimal) -> str:
    return f"{_LEFT + quantity * _PLOT_WIDTH / most:.1f}"


def _y(amount: Decimal, top: Decimal) -> str:
    return f"{_TOP + _PLOT_HEIGHT - amount * _PLOT_HEIGHT / top:.1f}"


def _money(amount: Decimal, currency: str) -> str:
    return money_text(amount, currency_of(currency))
