"""Problems on a page: links with what to do."""

from meterline_sidecar.problems.catalogue import CATALOGUE, found
from meterline_sidecar.store.outbox import STATES
from meterline_sidecar.web.dashboard.routes import ROUTES
from meterline_sidecar.web.dashboard.to_do import ELSEWHERE, PAGES, shown


def test_every_problem_leads_to_a_page_that_there_is() -> None:
    paths = {route.path for route in ROUTES} | {ELSEWHERE}

    for href in PAGES.values():
        assert href.partition("?")[0].partition("#")[0] in paths, href


def test_rows_of_the_outbox_are_shown_by_their_state() -> None:
    for code in CATALOGUE:
        state = PAGES.get(code, "").partition("?state=")[2]
        assert not state or state in STATES


def test_a_problem_is_shown_with_its_link_and_its_action() -> None:
    (problem,) = shown([found("outbox_dead", "204 outbox rows dead")])

    assert problem.href == "/outbox?state=dead"
    assert problem.text == "204 outbox rows dead"
    assert problem.action == "fix the cause, then `meterline outbox retry ROW`"
    assert problem.severity == "error"
