import random
import tempfile
from pathlib import Path

import pytest

from meterline_sidecar.ledger import runs as module
from meterline_sidecar.ledger.runs import Item, NoScratchRoom, Runs


def add(one: int, other: int) -> int:
    return one + other


def test_what_was_added_in_many_runs_comes_back_once_and_in_order() -> None:
    seeded = random.Random(7)
    expected: dict[tuple[int | str, ...], int] = {}
    with Runs(add) as runs:
        for _ in range(module.RUNS_MAX * 3):  # they become one run, more than once
            some = {
                (seeded.randrange(900), "é"): seeded.randrange(9) for _ in range(300)
            }
            for key, value in some.items():
                expected[key] = expected.get(key, 0) + value
            runs.add(list(some.items()))

        assert list(runs.sorted()) == sorted(expected.items())


def test_nothing_comes_back_of_nothing() -> None:
    nothing: list[Item] = []
    with Runs(add) as runs:
        runs.add(nothing)

        assert list(runs.sorted()) == []


def test_no_room_to_sort_in_is_told_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))

    with pytest.raises(NoScratchRoom, match="set TMPDIR"):
        Runs(add)
