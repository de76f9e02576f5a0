"""A picture of two figures of each peer, as SVG: bars beside the names."""

from collections.abc import Sequence
from html import escape
from typing import Final

from msgspec import Struct

WIDTH: Final = 860
ROW: Final = 30
TOP: Final = 46
NAMES: Final = 260
BARS: Final = 220
GAP: Final = 60
OURS: Final = "#0f766e"
OTHERS: Final = "#94a3b8"
INK: Final = "#334155"


class Bar(Struct, frozen=True):
    """One peer."""

    name: str
    throughput: float
    """Against the bare app, which is 1."""
    delivered: int
    is_ours: bool


def draw(bars: Sequence[Bar], *, requests: int, title: str) -> str:
    """Return the picture.

    Args:
        requests: how many each could have delivered.
        title: what it shows, for who cannot see it.
    """
    height = TOP + ROW * len(bars) + 16
    second = NAMES + BARS + GAP
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"'
        f' font-family="system-ui, sans-serif" font-size="13" fill="{INK}" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(NAMES, 24, "throughput, bare app = 1", weight=600),
        _text(second, 24, f"of {requests:,} known after kill -9", weight=600),
    ]
    for i, bar in enumerate(bars):
        y = TOP + ROW * i
        colour = OURS if bar.is_ours else OTHERS
        weight = 600 if bar.is_ours else 400
        lines += [
            _text(NAMES - 12, y + 14, bar.name, weight=weight, anchor="end"),
            _bar(NAMES, y, bar.throughput, colour, f"{bar.throughput:.2f}"),
            _bar(second, y, bar.delivered / requests, colour, f"{bar.delivered:,}"),
        ]
    return "\n".join([*lines, "</svg>"]) + "\n"


def _bar(x: int, y: int, share: float, colour: str, label: str) -> str:
    width = round(BARS * min(max(share, 0.0), 1.05), 1)
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="18" rx="2" fill="{colour}"/>'
        + _text(round(x + width + 6, 1), y + 14, label)
    )


def _text(
    x: float, y: float, text: str, *, weight: int = 400, anchor: str = "start"
) -> str:
    style = f'font-weight="{weight}" text-anchor="{anchor}"'
    return f'<text x="{x}" y="{y}" {style}>{escape(text)}</text>'
