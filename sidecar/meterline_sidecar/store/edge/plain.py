"""Tells which of many events are all numbers, and packs these."""

from collections.abc import Sequence
from itertools import islice
from typing import Any, Final

from meterline_sidecar.store.edge.packed import OWN_FLAGS
from meterline_sidecar.store.pack_columns import BadPack
from meterline_sidecar.store.packs import DIGITS, NAMES, pack

LONGEST: Final = (
    *(10 ** DIGITS[name] - 1 for name in NAMES if name not in ("id", "flags")),
    OWN_FLAGS - 1,
)
"""The greatest number in each column behind the id."""


def pack_plain(
    columns: Sequence[Sequence[Any]], *, but_last: bool
) -> tuple[Sequence[int], bytes]:
    """Return which events of a run are all numbers, by their places, and a pack of them.

    All of these are ``PACKABLE``.

    Args:
        columns: those of ``STORED`` behind the id.
        but_last: whether the last event stays a row whatever it is.
    """
    *numbers, quantities, properties = columns
    n_asked = len(quantities) - but_last
    flags = numbers[-1]
    places: Sequence[int] = range(n_asked)
    if not flags.count(0) == quantities.count(None) == properties.count(None):
        said = zip(flags, quantities, properties, strict=True)
        places = [
            place
            for place, (flag, *texts) in enumerate(islice(said, n_asked))
            if flag < OWN_FLAGS and texts == [None, None]
        ]
    try:
        return places, pack([places, *_picked(numbers, places)])
    except BadPack:
        pass
    for column, longest in zip(numbers, LONGEST, strict=True):  # a number is too long
        places = [place for place in places if 0 <= column[place] <= longest]
    return places, pack([places, *_picked(numbers, places)])


def _picked(
    columns: Sequence[Sequence[int]], places: Sequence[int]
) -> list[Sequence[int]]:
    if isinstance(places, range):
        return [column[: len(places)] for column in columns]
    return [[column[place] for place in places] for column in columns]
