"""Charts as SVG, for everybody without scripts; with them, uPlot takes over."""

from collections.abc import Sequence
from decimal import Decimal
from math import ceil
from typing import Final

import msgspec
from markupsafe import Markup, escape
from msgspec.structs import replace

from meterline_sidecar.clock import DAY_MS
from meterline_sidecar.config.names import BYTES, Names
from meterline_sidecar.decimals import Number, total_of
from meterline_sidecar.meters import AGGREGATIONS, Meter
from meterline_sidecar.usage.series import Series
from meterline_sidecar.web.view.render import compact, in_unit, moment, used_bytes

WIDTH: Final = 960
HEIGHT: Final = 240
LEFT: Final = 64
BOTTOM: Final = 24
TOP: Final = 10
TICKS: Final = 4
LABELS: Final = 6
COLOURS: Final = 9
CHARACTER: Final = 9  # the width of one in a curve's labels


class PlotLine(msgspec.Struct, frozen=True):
    """A line as ``dashboard.js`` takes it."""

    label: str
    values: list[int | float | None]
    """Here a fraction is a float: it is only drawn."""
    total: int | float


class Plot(msgspec.Struct, frozen=True):
    """A chart as ``dashboard.js`` takes it."""

    times: list[int]
    """UTC seconds."""
    lines: list[PlotLine]
    step: int
    """Seconds."""
    unit: str = ""
    """What the values are in; ``bytes`` are drawn as kB, MB and so on."""
    zone: str = "UTC"
    """On whose calendar days are; anything shorter is in UTC."""


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A chart with all that a page says of it."""

    series: Series
    svg: Markup
    plot: Plot
    unit: str
    """``bytes``, where these are shown so; else empty."""
    caption: Markup
    """What the meter came to over the whole time, and what that number is."""

    @property
    def is_by_day(self) -> bool:
        """Whether each value is of a day."""
        return self.series.step_ms == DAY_MS


def figure_of(
    meter: Meter, series: Series, *, names: Names, when: str = "", zone: str = "UTC"
) -> Figure:
    """Return the chart of a meter.

    Args:
        names: what people call meters.
        when: what the caption says of the time: ``in 30d``.
        zone: on whose calendar its days are.
    """
    row = AGGREGATIONS[meter.aggregation]
    unit = names.unit(meter.name)
    used = in_unit(series.total, unit)
    of_what = f"of {names.title(meter.name)}" if unit else names.title(meter.name)
    words = (Markup("{} {}").format(used, of_what), when)
    series = _titled(series, names.title(meter.name))
    what = "" if row.grows_with_time else f" ({row.shown_as})"
    return Figure(
        series=series,
        svg=bars(series, unit=unit),
        plot=plot_of(series, unit=unit, zone=zone),
        unit=unit if unit == BYTES else "",
        caption=Markup(" ").join(filter(None, words)) + what,
    )


def _titled(series: Series, title: str) -> Series:
    """Return a series as people read it."""
    lines = [
        replace(line, label=title) if line.label == series.meter else line
        for line in series.lines
    ]
    return replace(series, meter=title, lines=lines)


def plot_of(series: Series, *, unit: str = "", zone: str = "UTC") -> Plot:
    """Return a series as scripts take it."""
    return Plot(
        [at_ms // 1000 for at_ms in series.times_ms],
        [
            PlotLine(
                line.label,
                [None if value is None else _drawn(value) for value in line.values],
                _drawn(line.total),
            )
            for line in series.lines
        ],
        series.step_ms // 1000,
        unit,
        zone,
    )


def _drawn(value: Number) -> int | float:
    return value if isinstance(value, int) else float(value)


def nice_top(quantity: Number) -> int:
    """Return the round number, at or above a quantity, that an axis ends with."""
    highest = ceil(quantity)
    if highest <= TICKS:
        return TICKS
    magnitude = 10 ** (len(str(highest)) - 1)
    for factor in (1, 2, 4, 5, 8, 10):
        if factor * magnitude >= highest:
            return int(factor * magnitude)
    raise AssertionError("ten times the magnitude is above")


def bars(series: Series, *, unit: str = "") -> Markup:
    """Return a series as stacked bars.

    Args:
        unit: of its values; ``bytes`` are written in the units that suit them.
    """
    written = used_bytes if unit == BYTES else compact
    n_points = max(1, len(series.times_ms))
    sums = [
        total_of(line.values[i] or 0 for line in series.lines) for i in range(n_points)
    ]
    top = nice_top(max(sums, default=0))
    wide = (WIDTH - LEFT) / n_points
    inner = HEIGHT - BOTTOM - TOP
    parts = [_axis([written(top * i // TICKS) for i in range(TICKS + 1)])]
    below = [0.0] * n_points
    for place, line in enumerate(series.lines):
        path: list[str] = []
        for i, value in enumerate(line.values):
            if value is not None and value > 0:
                size = float(value)
                x = LEFT + i * wide + wide * 0.1
                high = size / top * inner
                y = HEIGHT - BOTTOM - (below[i] + size) / top * inner
                path.append(
                    f"M{x:.1f} {y:.1f}h{wide * 0.8:.1f}v{high:.1f}h-{wide * 0.8:.1f}z"
                )
                below[i] += size
        parts.append(f'<path class="bar c{place % COLOURS}" d="{"".join(path)}"/>')
    form = "%d %b" if series.step_ms >= DAY_MS else "%d %b %H:%M"
    every = max(1, n_points // LABELS)
    for i in range(0, n_points, every):
        x = LEFT + (i + 0.5) * wide
        label = moment(series.times_ms[i], form)
        parts.append(f'<text class="tick" x="{x:.0f}" y="{HEIGHT - 6}">{label}</text>')
    return _svg("".join(parts), f"{series.meter} over time")


def line(
    points: Sequence[tuple[Decimal, Decimal]], label: str, top_text: str
) -> Markup:
    """Return what quantities cost as a line through ``(quantity, amount)`` points."""
    last_x = max(float(points[-1][0]), 1e-9)
    last_y = max((float(y) for _, y in points), default=0.0) or 1.0
    left = len(top_text) * CHARACTER + 10
    inner_x, inner_y = WIDTH / 2 - left, HEIGHT - BOTTOM - TOP

    def place(x: Decimal, y: Decimal) -> str:
        return (
            f"{left + float(x) / last_x * inner_x:.1f}"
            f" {HEIGHT - BOTTOM - float(y) / last_y * inner_y:.1f}"
        )

    path = "M" + "L".join(place(x, y) for x, y in points)
    base = HEIGHT - BOTTOM
    right = f"{left + inner_x:.0f}"
    inside = (
        f'<line class="grid" x1="{left}" x2="{right}" y1="{base}" y2="{base}"/>'
        f'<line class="grid" x1="{left}" x2="{right}" y1="{TOP}" y2="{TOP}"/>'
        f'<path class="area" d="{path}L{right} {base}L{left} {base}z"/>'
        f'<path class="curve" d="{path}"/>'
        f'<text class="tick end" x="{left - 6}" y="{base + 4}">0</text>'
        f'<text class="tick end" x="{left - 6}" y="{TOP + 8}">{escape(top_text)}</text>'
        f'<text class="tick end" x="{right}" y="{HEIGHT - 6}">'
        f"{compact(int(last_x))}</text>"
    )
    return _svg(inside, label, width=WIDTH // 2)


def _axis(ticks: Sequence[str]) -> str:
    inner = HEIGHT - BOTTOM - TOP
    parts: list[str] = []
    for i, text in enumerate(ticks):
        y = HEIGHT - BOTTOM - i / TICKS * inner
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="tick end" x="{LEFT - 8}" y="{y + 4:.1f}">{text}</text>'
        )
    return "".join(parts)


def _svg(inside: str, label: str, *, width: int = WIDTH) -> Markup:
    return Markup(  # noqa: S704 - numbers of ours; the label is escaped
        f'<svg viewBox="0 0 {width} {HEIGHT}" role="img" aria-label="{escape(label)}">'
        f"{inside}</svg>"
    )
