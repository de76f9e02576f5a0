"""What was agreed and cannot have been meant: a claim of two, a filter of nothing."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import islice
from typing import Final

from meterline_sidecar.config.filters import never_matching
from meterline_sidecar.meters import Meter
from meterline_sidecar.problems.catalogue import found
from meterline_sidecar.problems.problem import Found, such_as
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.terms.claims import MARK
from meterline_sidecar.where import UNMATCHED

NAMES_SHOWN: Final = 5


def oddities(terms: Terms, *, now_ms: int) -> Iterator[Found]:
    """Yield what a person should look at in what holds now."""
    yield from _subjects(terms)
    for name in list(terms.names("meter")):
        meter = terms.meter(name, now_ms)
        if meter is not None and (why := why_nothing_matches(meter)):
            yield found("filter_never_matches", f"meter {name} counts nothing: {why}")


def _subjects(terms: Terms) -> Iterator[Found]:
    first: dict[str, str] = {}
    more: dict[str, list[str]] = defaultdict(list)  # of few: there may be very many
    for name in list(terms.names("customer")):  # terms may grow meanwhile
        for text in terms.claims.of_customer(name):
            if text in first:
                more[text].append(name)
            else:
                first[text] = name
    for text, names in islice(more.items(), NAMES_SHOWN):
        yield found(
            "subject_claimed_twice",
            f"`{text}` is claimed by {' and '.join([first[text], *names])}",
        )
    inside = [text for text in first if MARK in text[:-1]]
    if inside:
        shown = [f"`{text}` of {first[text]}" for text in sorted(inside)[:NAMES_SHOWN]]
        yield found(
            "subject_never_matches",
            f"`{MARK}` before the end is a name like any other in"
            f" {such_as(shown, n_all=len(inside))}",
        )


def why_nothing_matches(meter: Meter) -> str | None:
    """Return why no event can pass a meter's filter; ``None``: one can."""
    where = meter.where
    if where.method and not any(_is_method(text) for text in where.method):
        return f"no method is written `{where.method[0]}`; methods are in capitals"
    if where.status and all(part.first > part.last for part in where.status):
        part = where.status[0]
        return f"no status is in {part.first}-{part.last}"
    return next(never_matching(meter), None)


def _is_method(text: str) -> bool:
    return text == UNMATCHED or text == text.upper()
