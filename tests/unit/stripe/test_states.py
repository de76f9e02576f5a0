"""The states of an outbox row are told once, and everything is made of that."""

from pathlib import Path

import pytest

from meterline_sidecar.cli.commands.outbox import HINTS
from meterline_sidecar.cli.doc_tables import with_tables
from meterline_sidecar.store.outbox import STATES, State
from meterline_sidecar.stripe.states import (
    FAILED,
    ON_THE_WAY,
    PROBLEMS,
    RETRYABLE,
    ROW_STATES,
    WAITING,
    problems,
)

PAGE = Path(__file__).parents[3] / "docs" / "stripe.md"


def test_every_state_of_the_store_is_told_in_its_order() -> None:
    assert tuple(ROW_STATES) == STATES


def test_a_row_is_on_its_way_or_delivered_or_a_problem_that_says_what_to_do() -> None:
    assert ON_THE_WAY | {"confirmed"} | PROBLEMS == set(STATES)
    assert not ON_THE_WAY & PROBLEMS
    assert set(HINTS) == PROBLEMS
    assert "confirmed" not in PROBLEMS


def test_waiting_rows_and_failed_ones_are_not_the_same() -> None:
    assert ON_THE_WAY < WAITING
    assert not WAITING & FAILED


@pytest.mark.parametrize("state", ["pending", "sending", "confirmed", "unresolved"])
def test_what_goes_on_by_itself_or_may_count_twice_is_not_to_be_retried(
    state: State,
) -> None:
    assert state not in RETRYABLE


def test_what_stripe_takes_no_more_is_not_offered_to_be_retried() -> None:
    assert "expired" not in RETRYABLE


def test_status_names_states_that_need_a_person_and_no_others() -> None:
    counts: dict[State, int] = dict.fromkeys(STATES, 2)
    counts["dead"] = 0

    told = list(problems(counts))

    assert [(one.code, one.text.split(":")[0]) for one in told] == [
        ("outbox_unresolved", "2 outbox rows unresolved"),
        ("outbox_parked", "2 outbox rows parked"),
        ("outbox_expired", "2 outbox rows expired"),
        ("outbox_rejected", "2 outbox rows rejected"),
    ]
    assert told[0].action == ROW_STATES["unresolved"].advice


def test_the_table_of_the_documentation_is_made_of_the_states() -> None:
    page = PAGE.read_text()

    assert with_tables(page) == page, "run: make docs"


def test_a_page_without_the_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="begin states"):
        with_tables("# Reporting to Stripe")
