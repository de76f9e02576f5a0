"""Tells which events of a run can be packed as they are stored, and packs these."""

from collections.abc import Sequence
from itertools import chain, islice
from typing import Any, Final

from meterline_sidecar.store.edge.packed import (
    OWN_FLAGS,
    RUN_CHARS_MAX,
    TEXT_CHARS_MAX,
)
from meterline_sidecar.store.pack_columns import BadPack
from meterline_sidecar.store.packs import DIGITS, NAMES, pack

LARGEST: Final = (
    *(10 ** DIGITS[name] - 1 for name in NAMES if name not in ("id", "flags")),
    OWN_FLAGS - 1,
)
"""The greatest number in each column behind the id."""


def packable_of(columns: Sequence[Sequence[Any]], *, but_last: bool) -> Sequence[int]:
    """Return the places of events that are ``PACKABLE`` unless a number is too large.

    Where all texts of the run are too long together, those that have any are left out.

    Args:
        columns: those of ``STORED`` behind the id.
        but_last: whether the last event stays a row whatever it is.
    """
    *_, flags, quantities, properties = columns
    n_asked = len(flags) - but_last
    texts: list[str] = list(filter(None, chain(quantities, properties)))
    longest = TEXT_CHARS_MAX if sum(map(len, texts)) <= RUN_CHARS_MAX else -1
    misfits = {text for text in set(texts) if len(text) > longest or "\0" in text}
    if not misfits and max(flags, default=0) < OWN_FLAGS:
        return range(n_asked)
    said = zip(flags, quantities, properties, strict=True)
    return [
        place
        for place, (flag, *of_event) in enumerate(islice(said, n_asked))
        if flag < OWN_FLAGS and misfits.isdisjoint(of_event)
    ]


def pack_of(
    columns: Sequence[Sequence[Any]], places: Sequence[int]
) -> tuple[Sequence[int], bytes]:
    """Return a pack of the events at places that ``packable_of`` has told.

    With it are the places whose events are in it: none whose number is too large.
    """
    try:
        return places, _packed(columns, places)
    except BadPack:
        pass
    for column, largest in zip(columns, LARGEST, strict=False):  # not of texts
        places = [place for place in places if 0 <= column[place] <= largest]
    return places, _packed(columns, places)


def _packed(columns: Sequence[Sequence[Any]], places: Sequence[int]) -> bytes:
    *numbers, quantities, properties = _picked(columns, places)
    return pack([places, *numbers], (quantities, properties))


def _picked(
    columns: Sequence[Sequence[Any]], places: Sequence[int]
) -> list[Sequence[Any]]:
    if isinstance(places, range):
        return [column[: len(places)] for column in columns]
    return [[column[place] for place in places] for column in columns]
