"""Quantities where there is little room."""

import pytest
from markupsafe import Markup

from meterline_sidecar.web.view.render import brief, compact


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (9_999, "9,999"),
        (10_000, "10k"),
        (123_456, "123k"),
        (-1_250_000, "-1.2M"),
        (5 * 10**12, "5T"),
        (9 * 10**18, "9E"),
    ],
)
def test_a_compact_number_has_few_characters_whatever_it_is(
    value: int, shown: str
) -> None:
    assert compact(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1_234_567, "1.235M"), (5 * 10**12, "5T"), (25 * 10**15, "25P")],
)
def test_a_brief_number_has_the_whole_one_in_its_title(value: int, shown: str) -> None:
    assert brief(value) == Markup(
        f'<data value="{value}" title="{value:,}">{shown}</data>'
    )
