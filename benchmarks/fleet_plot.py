"""The plots of ``benchmarks.fleet_load``, as SVG: CPU time by requests or by edges, a line of
each kind."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

WIDTH: Final = 720
HEIGHT: Final = 320
LEFT: Final = 70
RIGHT: Final = 130
TOP: Final = 40
BOTTOM: Final = 50
COLOURS: Final = {"usage": "#0f766e", "events": "#94a3b8"}
INK: Final = "#334155"


def draw(
    lines: Mapping[str, Sequence[tuple[float, float]]],
    *,
    marks: Sequence[int],
    title: str,
    along: str,
) -> str:
    """Return the plot.

    Args:
        lines: by what edges forward: what it is plotted by, rising, each with the centre's
            CPU time in ms of a second.
        marks: which are written below, rising.
        along: what it is plotted by, as is written there.
    """
    top = max(value for points in lines.values() for _, value in points) * 1.1
    most = max(marks[-1], *(many for points in lines.values() for many, _ in points))

    def x(many: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * many / most, 1)

    def y(value: float) -> float:
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top, 1)

    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"'
        f' font-family="system-ui, sans-serif" font-size="13" fill="{INK}" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        _text(LEFT, 22, "ms of CPU time in a second"),
        _text(WIDTH - RIGHT, HEIGHT - 12, along, anchor="end"),
        f'<path d="M{LEFT} {TOP}V{y(0)}H{WIDTH - RIGHT}" fill="none" stroke="{INK}"/>',
    ]
    drawn += [_text(x(many), y(0) + 18, f"{many:,}", anchor="middle") for many in marks]
    for part in (0.5, 1.0):
        value = top / 1.1 * part
        drawn.append(_text(LEFT - 8, y(value) + 4, f"{value:.0f}", anchor="end"))
    for name, found in lines.items():
        points = [(x(many), y(value)) for many, value in found]
        path = " ".join(f"{px},{py}" for px, py in points)
        drawn.append(
            f'<polyline points="{path}" fill="none" stroke="{COLOURS[name]}"'
            ' stroke-width="2.5"/>'
        )
        drawn += [
            f'<circle cx="{px}" cy="{py}" r="3.5" fill="{COLOURS[name]}"/>'
            for px, py in points
        ]
        px, py = points[-1]
        drawn.append(_text(px + 10, py + 4, f"{name}: {found[-1][1]:.0f} ms"))
    return "\n".join([*drawn, "</svg>"]) + "\n"


def _text(x: float, y: float, text: str, *, anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'
