"""Who pays when: histories with the answers that the documentation gives, by hand."""

from collections.abc import Sequence
from typing import NamedTuple

import pytest

from meterline_sidecar.terms.change import CustomerChange
from meterline_sidecar.terms.claims import Claims


class Says(NamedTuple):
    """A customer has these subjects, as is learned at a time."""

    now: int
    who: str
    texts: Sequence[str] = ()
    from_: int | None = None
    """The day that is given; without it, now."""
    final: int = 0
    """Up to when the customer's periods are final."""
    leaves: bool = False
    returns: bool = False


def claims(history: Sequence[Says]) -> Claims:
    found = Claims()
    for said in history:
        from_ms = said.now if said.from_ is None else said.from_
        since_ms = from_ms if from_ms > said.now else said.final
        if said.returns:
            since_ms = max(since_ms, said.now)
        change = CustomerChange(subjects=tuple(said.texts), unclaimed_from_ms=since_ms)
        if said.leaves:
            change = CustomerChange(subjects=(), is_removed=True)
        found.change(said.who, from_ms, change, learned_ms=said.now)
    return found


A, B, C = "acme", "beta", "gamma"
ACME = Says(10, A, ["s"])
PATTERN = Says(10, A, ["s*"])
HISTORIES: dict[str, tuple[list[Says], dict[int, str | None]]] = {
    "what nobody paid for before is theirs": ([ACME], {0: A, 9: A, 10: A, 99: A}),
    "not what is before a final period": (
        [ACME._replace(final=5)],
        {4: None, 5: A, 10: A},
    ),
    "a move holds from now on": (
        [ACME, Says(20, A), Says(20, B, ["s"])],
        {5: A, 19: A, 20: B},
    ),
    "the same, told in the other order": (
        [ACME, Says(20, B, ["s"]), Says(20, A)],
        {5: A, 19: A, 20: B},
    ),
    "what is released is nobody's": ([ACME, Says(20, A)], {5: A, 19: A, 20: None}),
    "until somebody claims it": (
        [ACME, Says(20, A), Says(30, B, ["s"])],
        {19: A, 20: B, 29: B, 30: B},
    ),
    "as far as it is not final for them": (
        [ACME, Says(20, A), Says(30, B, ["s"], final=27)],
        {19: A, 26: None, 27: B, 30: B},
    ),
    "a name wins over a pattern": (
        [PATTERN, Says(20, B, ["s"])],
        {5: A, 19: A, 20: B},
    ),
    "and gives back to it": (
        [PATTERN, Says(20, B, ["s"]), Says(30, B)],
        {19: A, 20: B, 29: B, 30: A},
    ),
    "a longer pattern wins over a shorter one": (
        [Says(10, A, ["*"]), Says(20, B, ["s*"])],
        {19: A, 20: B},
    ),
    "a day that is past takes from then on": (
        [ACME, Says(30, B, ["s"], from_=15), Says(30, A, from_=15)],
        {5: A, 14: A, 15: B, 30: B},
    ),
    "a day to come waits where it is": (
        [ACME, Says(30, B, ["s"], from_=50), Says(30, A)],
        {29: A, 49: A, 50: B},
    ),
    "a day to come that is called off": (
        [
            ACME,
            Says(20, B, ["s"], from_=50),
            Says(20, A),
            Says(30, A, ["s"]),
            Says(30, B),
        ],
        {15: A, 25: A, 40: A, 60: A},
    ),
    "who leaves keeps what they used": (
        [ACME, Says(20, A, leaves=True)],
        {5: A, 19: A, 20: None},
    ),
    "who comes back takes nothing of between": (
        [ACME, Says(20, A, leaves=True), Says(40, A, ["s"], returns=True)],
        {19: A, 20: None, 39: None, 40: A},
    ),
    "another may take what is between": (
        [ACME, Says(20, A, leaves=True), Says(30, B, ["s"])],
        {19: A, 20: B, 30: B},
    ),
    "who claims first has what nobody paid for": (
        [ACME, Says(20, B, ["s*"])],
        {5: A, 19: A, 20: A},
    ),
    "through three hands": (
        [ACME, Says(20, A), Says(20, B, ["s"]), Says(30, B), Says(30, C, ["s"])],
        {5: A, 15: A, 25: B, 30: C},
    ),
    "there and back": (
        [ACME, Says(20, A), Says(20, B, ["s"]), Says(30, B), Says(30, A, ["s"])],
        {15: A, 25: B, 30: A},
    ),
    "a correction that reaches into what is final": (
        [ACME, Says(30, B, ["s"], from_=15, final=25), Says(30, A, from_=15, final=25)],
        {14: A, 15: B, 26: B},
    ),
    "a claim that is dated back": (
        [
            ACME,
            Says(20, A),
            Says(20, B, ["s"]),
            Says(30, B, ["s"], from_=15),
        ],
        {5: A, 14: A, 15: B, 25: B},
    ),
    "a mark in the middle is a letter": ([Says(10, A, ["s*s"])], {5: None, 20: None}),
}


@pytest.mark.parametrize("name", list(HISTORIES))
def test_each_time_has_the_payer_that_the_rules_name(name: str) -> None:
    history, wanted = HISTORIES[name]
    found = claims(history)

    assert {at: found.customer_of("s", at) for at in wanted} == wanted
    assert {at: found.copy().customer_of("s", at) for at in wanted} == wanted
    assert found.changed_by("nobody", ["s"], from_ms=1) == ["s"]
