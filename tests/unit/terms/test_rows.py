"""Rows of terms in memory: packed, and read again as they were."""

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterline_sidecar.meters import Meter
from meterline_sidecar.store.terms import Kind
from meterline_sidecar.terms import rows
from meterline_sidecar.terms.change import Change, CustomerChange, MeterChange
from meterline_sidecar.terms.learned import Learned
from meterline_sidecar.terms.rows import Entry, Rows

KINDS: tuple[Kind, ...] = ("customer", "plan", "meter", "rule")


def entry(row_id: int, **changes: Any) -> Entry:
    change: Change = CustomerChange(**changes)
    return Entry(row_id, row_id * 2, row_id * 3, "api", row_id % 2 == 0, change)


@pytest.mark.parametrize("n", [1, 15, 16, 65_535, 65_536])
def test_rows_come_back_as_they_were_however_many(n: int) -> None:
    entries = [entry(i, name=f"n{i}", starts=date(2026, 11, 1)) for i in range(n)]
    found = Rows("customer")

    found.put("acme", entries)

    assert found.count("acme") == n
    assert found.of("acme") == tuple(entries)
    assert found.count("beta") == 0
    assert found.of("beta") == ()


def test_what_a_row_does_not_say_stays_unsaid() -> None:
    found = Rows("customer")
    found.add("acme", entry(1, plan=None))
    found.add("acme", entry(2, subjects=("a",)))
    found.of("acme")
    found.add("acme", entry(3))

    assert found.of("acme") == (
        entry(1, plan=None),
        entry(2, subjects=("a",)),
        entry(3),
    )


def test_what_is_not_kept_as_read_is_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rows, "READ_MAX", 2)
    found = Rows("customer")
    for i in range(5):
        found.add(f"c{i}", entry(i))

    assert [found.of(f"c{i}") for i in range(5)] == [(entry(i),) for i in range(5)]
    assert list(found.names) == [f"c{i}" for i in range(5)]


def test_a_copy_grows_apart() -> None:
    found = Rows("meter")
    meter = MeterChange(meter=Meter("calls", "count"))
    one = Entry(1, 0, 0, "file", False, meter)
    found.add("calls", one)

    copy = found.copy()
    copy.add("calls", one._replace(row_id=2))

    assert found.of("calls") == (one,)
    assert copy.count("calls") == 2


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.text(max_size=3)), max_size=20))
def test_what_was_learned_is_told_from_any_row_on(
    learned: list[tuple[Kind, str]],
) -> None:
    found = Learned()
    for i, (kind, name) in enumerate(learned):
        found.add(10 * i, kind, name)

    for i in range(len(learned) + 1):
        assert list(found.after(10 * i - 1)) == learned[i:]
    assert list(found.copy().after(-1)) == learned
