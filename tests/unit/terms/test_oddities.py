"""What was agreed and cannot have been meant is found among what holds."""

import pytest

from meterline_sidecar.meters import Meter
from meterline_sidecar.terms.oddities import oddities, why_nothing_matches
from meterline_sidecar.where import StatusRange, Where
from tests.unit.terms.agreements import History, customer, meter, ms

NOW = "2026-11-15T12:00:00Z"


def told(book: History) -> list[tuple[str, str]]:
    found = oddities(book.terms, now_ms=ms(NOW))
    return [(one.code, one.text) for one in found]


def test_ordinary_terms_have_nothing_odd() -> None:
    book = History()
    book.load(NOW, customer("acme", subjects=("a_*", "what?", "bot[1]", "*")))

    assert told(book) == []


def test_a_subject_of_two_customers_is_told_with_both() -> None:
    book = History()
    book.load(NOW, customer("acme", subjects=("x",)), customer("beta", subjects=("x",)))

    assert told(book) == [("subject_claimed_twice", "`x` is claimed by acme and beta")]


def test_who_was_taken_out_claims_nothing_any_more() -> None:
    book = History()
    book.load(NOW, customer("acme", subjects=("x",)))
    book.load("2026-11-15T13:00:00Z", customer("beta", subjects=("x",)))

    assert told(book) == []


def test_a_star_before_the_end_can_not_be_meant() -> None:
    book = History()
    book.load(NOW, customer("acme", subjects=("ac*me", "*.acme", "acme_*")))

    assert told(book) == [
        (
            "subject_never_matches",
            "`*` before the end is a name like any other in `*.acme` of acme,"
            " `ac*me` of acme",
        )
    ]


def test_a_meter_that_counts_nothing_says_why() -> None:
    book = History()
    book.load(NOW, customer(), meters=[(meter(where=Where(method=("get",))), None)])

    assert told(book) == [
        (
            "filter_never_matches",
            "meter calls counts nothing: no method is written `get`; methods are in"
            " capitals",
        )
    ]


@pytest.mark.parametrize(
    ("where", "why"),
    [
        (Where(), None),
        (Where(method=("get", "POST")), None),
        (Where(method=("unmatched",)), None),
        (Where(method=("Get",)), "no method is written `Get`; methods are in capitals"),
        (Where(status=(StatusRange(200, 299),)), None),
        (Where(status=(StatusRange(499, 400),)), "no status is in 499-400"),
        (Where(route=("/v1/*",)), None),
        (Where(route=("unmatched",)), None),
        (Where(route=("*/items",)), None),
        (Where(route=("v1/*",)), "the route `v1/*` can match no request"),
        (
            Where(kind=("websocket",), method=("POST",)),
            "no websocket is opened by POST: only by GET",
        ),
        (Where(route=("v1/*",), kind=("use",)), None),
    ],
)
def test_a_filter_is_odd_when_no_event_can_pass_it(
    where: Where, why: str | None
) -> None:
    told = why_nothing_matches(Meter("calls", "count", where=where))

    assert (told or "").startswith(why or "")
    assert (told is None) == (why is None)
