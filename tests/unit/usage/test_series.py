from meterline_pricing import Period
from meterline_sidecar.meters import Meter, Total
from meterline_sidecar.usage.series import OTHERS, Row, series_of

HOUR_MS = 3_600_000
DAY = Period(0, 3 * HOUR_MS, "")


def row(hour: int, value: int | list[int], *, route: str | None = None) -> Row:
    labels = "{}" if route is None else f'{{"route":"{route}"}}'
    total: Total = value if isinstance(value, int) else [*value]
    return hour * HOUR_MS, labels, {"top": total, "another": 1_000}


def test_a_sum_over_time_is_what_its_spans_add_up_to() -> None:
    meter = Meter("top", "sum", value="bytes_out")

    found = series_of(meter, [row(0, 5), row(0, 2), row(2, 4)], DAY, step_ms=HOUR_MS)

    assert [(line.values, line.total) for line in found.lines] == [([7, 0, 4], 11)]
    assert found.total == 11


def test_an_extreme_or_a_latest_value_over_time_is_no_sum_of_its_spans() -> None:
    high = Meter("top", "max", value="bytes_out")
    low = Meter("top", "min", value="bytes_out")
    last = Meter("top", "latest", value="bytes_out")
    rows = [row(0, 5), row(1, 9), row(2, 7)]
    timed = [row(0, [5, 10, 1]), row(1, [9, HOUR_MS, 3]), row(1, [8, HOUR_MS, 4])]

    assert series_of(high, rows, DAY, step_ms=HOUR_MS).total == 9
    assert series_of(low, rows, DAY, step_ms=HOUR_MS).total == 5
    found = series_of(last, timed, DAY, step_ms=HOUR_MS)
    assert (found.lines[0].values, found.total) == ([5, 8, None], 8)


def test_each_group_has_its_own_line_and_comes_to_its_own_total() -> None:
    meter = Meter("top", "max", value="bytes_out", group_by=("route",))
    rows = [
        row(hour, value, route=route)
        for route, values in (("/a", (3, 9)), ("/b", (4, 2)))
        for hour, value in enumerate(values)
    ]

    found = series_of(meter, rows, DAY, step_ms=HOUR_MS, group_by="route")

    assert [(line.label, line.values, line.total) for line in found.lines] == [
        ("/a", [3, 9, None], 9),
        ("/b", [4, 2, None], 4),
    ]
    assert found.total == 13  # each group is a thing of its own, as on an invoice


def test_groups_beyond_those_that_are_named_are_one_line() -> None:
    meter = Meter("top", "sum", value="bytes_out", group_by=("route",))
    rows = [row(0, value, route=f"/{value}") for value in range(1, 11)]

    found = series_of(meter, rows, DAY, step_ms=HOUR_MS, group_by="route")

    assert (found.lines[-1].label, found.lines[-1].total) == (OTHERS, 1 + 2)
    assert sum(line.total for line in found.lines) == found.total == 55
