"""One list of problems, and one page made of it."""

from functools import cache
from pathlib import Path
from typing import get_args

import pytest

from meterline_sidecar.problems.catalogue import (
    CATALOGUE,
    found,
    in_order,
    markdown_page,
)
from meterline_sidecar.problems.problem import Code, n_of, such_as

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "problems.md"


@cache
def finders() -> list[str]:
    """Return the modules that say what they found, but for the list itself."""
    return [
        text
        for path in (ROOT / "sidecar").rglob("*.py")
        if path.parent.name != "problems" and "found(" in (text := path.read_text())
    ]


def test_every_code_is_in_the_list_once() -> None:
    assert sorted(CATALOGUE) == sorted(get_args(Code))


@pytest.mark.parametrize("code", get_args(Code))
def test_every_problem_is_found_by_somebody(code: Code) -> None:
    assert any(f'"{code}"' in text for text in finders()), "nothing yields it"


def test_the_page_of_the_documentation_is_made_of_the_list() -> None:
    assert PAGE.read_text() == markdown_page(), "run: make docs"


@pytest.mark.parametrize("code", get_args(Code))
def test_a_problem_says_what_it_means_and_what_to_do_in_half_sentences(
    code: Code,
) -> None:
    problem = CATALOGUE[code]

    assert problem.title[0].isupper()
    for text in (problem.title, problem.means, problem.action):
        assert text
        assert not text.endswith(".")
        assert text.count("`") % 2 == 0


def test_what_was_found_has_the_numbers_and_the_action_of_its_code() -> None:
    lost = found("events_lost", "37 events were lost at the apps")

    assert lost.severity == CATALOGUE["events_lost"].severity
    assert lost.action == CATALOGUE["events_lost"].action
    assert lost.needs_person


def test_an_action_can_be_said_more_exactly_than_in_the_list() -> None:
    opened = found("file_open_to_others", "x has mode 0666", action="chmod 0640 x")

    assert opened.action == "chmod 0640 x"


def test_what_is_worth_knowing_needs_nobody() -> None:
    assert not found("recounting", "recounting, 41 %").needs_person


def test_the_worst_comes_first_and_each_severity_is_in_the_order_of_the_list() -> None:
    problems = [
        found("recounting", ""),
        found("outbox_parked", ""),
        found("outbox_dead", ""),
        found("events_lost", ""),
        found("events_not_stored", ""),
    ]

    assert [one.code for one in in_order(problems)] == [
        "events_not_stored",
        "outbox_dead",
        "events_lost",
        "outbox_parked",
        "recounting",
    ]


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 rows"), (1, "1 row"), (11_768, "11,768 rows")]
)
def test_counts_are_written_as_people_write_them(count: int, text: str) -> None:
    assert n_of(count, "row") == text


@pytest.mark.parametrize(
    ("word", "many"), [("batch", "batches"), ("loss", "losses"), ("day", "days")]
)
def test_several_of_a_word_are_written_as_english_has_it(word: str, many: str) -> None:
    assert n_of(1, word) == f"1 {word}"
    assert n_of(2_000, word) == f"2,000 {many}"


def test_of_many_names_the_first_are_told() -> None:
    assert such_as(["acme", "beta"], n_all=2) == "acme, beta"
    assert such_as(["acme", "beta"], n_all=9) == "acme, beta and others"
