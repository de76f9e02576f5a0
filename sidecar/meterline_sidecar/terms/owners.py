"""Who looks after a customer: the files, or the API; neither takes what the other has."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from typing import Any, Final

from msgspec import Struct

from meterline_sidecar.store.terms import Source
from meterline_sidecar.terms.book import Terms

LOOKS: Final[Mapping[Source, str]] = {
    "file": "the files look after",
    "api": "the API looks after",
}


class WantedCustomer(Struct, frozen=True, kw_only=True):
    """What a source wants to be agreed with a customer."""

    id: str
    fields: Mapping[str, Any]
    """By name, as ``CustomerChange`` has them; what is not given stays as it is."""
    from_day: date | None = None
    """From when changes hold; ``None``: from when they do by default."""


def not_ours(customer_id: str, owner: Source) -> str:
    """Return why a customer of another owner is not changed."""
    return (
        f"customer {customer_id}: {LOOKS[owner]} this customer; change it there, or"
        f" give it over with `meterline customers adopt {customer_id}`"
    )


def payers_since(terms: Terms, texts: Iterable[str], from_ms: int) -> Iterator[str]:
    """Yield who pays, at a time or later, for what is claimed with these texts."""
    for text in texts:
        history = terms.claims.history(text)
        ends = [at_ms for at_ms, _ in history[1:]]
        for (_, payer), end in itertools.zip_longest(history, ends):
            if payer is not None and (end is None or from_ms < end):
                yield payer


def others_have(
    terms: Terms, wanted: WantedCustomer, *, source: Source
) -> Iterator[str]:
    """Yield why a customer cannot have what is another's already.

    Two customers of the files are checked where the files are read: there both may
    change at once.
    """
    owners: list[tuple[str, str | None]] = []
    for text in wanted.fields.get("subjects", ()):
        steps = terms.claims.claimants(text)
        owners.append((f"subject `{text}`", steps[-1][1] if steps else None))
    if at_stripe := wanted.fields.get("stripe_customer"):
        owner = terms.customer_at_stripe(at_stripe)
        owners.append((f"stripe_customer `{at_stripe}`", owner))
    for what, owner in owners:
        if owner is None or owner == wanted.id:
            continue
        theirs = terms.entries("customer", owner)[-1].source
        if "api" in (theirs, source):
            yield (
                f"customer {wanted.id}: {what} is of customer {owner}, whom"
                f" {LOOKS[theirs]}; take it out there first"
            )
