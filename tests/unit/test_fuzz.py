"""How many cases a fuzzer tries, and that a build tries the same ones each time."""

import random

import pytest

from tests.fault import fuzz


def cases(monkeypatch: pytest.MonkeyPatch, **variables: str) -> list[random.Random]:
    for name in ("CI", "SEED"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(fuzz, "ASKED_S", None)
    monkeypatch.setattr(fuzz, "FUZZ_S", 0)
    return list(fuzz.Fuzz())


def test_a_seed_repeats_the_one_case_that_it_belongs_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (case,) = cases(monkeypatch, SEED="7")

    assert case.getstate() == random.Random(7).getstate()


def test_a_build_has_a_seed_and_tries_as_many_cases_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    once, again = (cases(monkeypatch, SEED="7", CI="true") for _ in range(2))

    assert len(once) == fuzz.BUILD_CASES > 1
    assert [one.getstate() for one in once] == [one.getstate() for one in again]
    assert len({one.random() for one in once}) == fuzz.BUILD_CASES
