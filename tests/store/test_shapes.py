"""Texts come together as they were, whatever stands in them."""

from collections.abc import Sequence
from itertools import cycle, islice
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterline_sidecar.store import shapes
from meterline_sidecar.store.shapes import Apart, apart, together

TEXTS: Final = st.lists(
    st.one_of(st.none(), st.text(st.sampled_from('0123789%d{"\n\0é\U0001f600'))),
    max_size=24,
)


def put_together(found: Apart) -> list[str | None]:
    return together(found.kinds, found.places, iter(found.numbers))


@settings(deadline=None)
@given(texts=TEXTS, n_alike=st.sampled_from([1, 2, 32]))
def test_any_texts_come_together_as_they_were(
    texts: Sequence[str | None], n_alike: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shapes, "ALIKE_MIN", n_alike)

        assert put_together(apart(texts)) == texts


def test_texts_that_differ_in_numbers_alone_are_one_kind() -> None:
    named = [f'{{"in":{i * 37},"out":{i}}}' for i in range(100)]
    texts = [*named, '{"in":5}', *named, None]

    found = apart(texts)

    assert found.kinds == [[], ['{"in":', ',"out":', "}"], ['{"in":5}']]
    assert found.numbers == [[i * 37 for i in range(100)] * 2, [*range(100)] * 2]
    assert put_together(found) == texts


@pytest.mark.parametrize(
    "text",
    [
        *("007", "1.050", "1e400", "18446744073709551616", "9" * 40, "0", "-1", "0x0a"),
        *("١٢", "%d 1 %", "%%1", "12" * 20 + "a0" * 40, "1\r2", "1\n2", "1\0"),
    ],
)
def test_numbers_are_written_as_they_were_read(text: str) -> None:
    texts = [f"{text} {i}" for i in range(40)] + list(islice(cycle(["a", text]), 9))

    assert put_together(apart(texts)) == texts
