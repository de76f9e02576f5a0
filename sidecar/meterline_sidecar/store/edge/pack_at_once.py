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
    n_plain = {flags.count(0), quantities.count(None), properties.count(None)}
    if n_plain == {len(flags)}:
        return range(n_asked)
    n_chars = sum(len(text) for text in chain(quantities, properties) if text)
    longest = TEXT_CHARS_MAX if n_chars <= RUN_CHARS_MAX else -1
    said = zip(flags, quantities, properties, strict=True)
    return [
        place
        for place, (flag, *texts) in enumerate(islice(said, n_asked))
        if flag < OWN_FLAGS and all(_fits(text, longest) for text in texts)
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


def _fits(text: str | None, chars_max: int) -> bool:
    return text is None or (len(text) <= chars_max and "\0" not in text)


def _packed(columns: Sequence[Sequence[Any]], places: Sequence[int]) -> bytes:
    *numbers, quantities, properties = _picked(columns, places)
    return pack([places, *numbers], (quantities, properties))


def _picked(
    columns: Sequence[Sequence[Any]], places: Sequence[int]
) -> list[Sequence[Any]]:
    if isinstance(places, range):
        return [column[: len(places)] for column in columns]
    return [[column[place] for place in places] for column in columns]
