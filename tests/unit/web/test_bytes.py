"""Bytes as people read them: in thousands, as prices are for them."""

import pytest

from meterline_sidecar.web.view.render import in_unit, used_bytes


@pytest.mark.parametrize(
    ("n_bytes", "written"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1 MB"),
        (123_456_789, "123.5 MB"),
        (-1_500_000, "-1.5 MB"),
        (10**18, "1000 PB"),
    ],
)
def test_bytes_are_in_the_unit_that_suits_them(n_bytes: int, written: str) -> None:
    assert used_bytes(n_bytes) == written


def test_the_exact_number_stands_beside_it() -> None:
    assert in_unit(1_500_007, "bytes") == (
        '<data value="1500007" title="1,500,007 bytes">1.5 MB</data>'
    )
    assert in_unit(999, "bytes") == "999 bytes"
