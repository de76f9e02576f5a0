"""Rolled-up events: what events of an edge come to, as events of their own.

An edge that forwards usage keeps its events, and counts them by the meters of its centre.
What those since the last time come to in one place (a subject, a window and a group)
is an event: it has a number, crosses and is stored as all do, and so counts once. It says
what is more, never what there is: the sum of it is usage, in whatever order it comes.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from meterline_sidecar.meters import Total, Totals

TEXT_MAX: Final = 16_000
VALUES_BYTES: Final = 2_000  # totals and values in one event; more are another event
COVERED_MAX: Final = 20  # producers that one names, of 45 bytes each
"""A record has 16 KiB. Labels of 16 properties are 9.3 KiB at most, a route 2 and a
subject 1."""
CACHED_TEXTS: Final = 64
EPOCH_CHARS: Final = 8
GENERATION_CHARS: Final = 32
OWN_APP: Final = "usage of this host"
"""What the producers of these events call themselves."""
SHOWN_AS: Final = "(usage of an edge)"
"""The route of these events, for who reads lists of them."""

SUBJECT: Final = None
"""In place of a value: the subject itself, whose id is another one at the centre."""


class RolledUp(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What some events of an edge come to in one place, by one counting of meters."""

    generation: Annotated[str, Meta(min_length=1, max_length=GENERATION_CHARS)]
    """Of the centre, by whose meters they were counted: as a definition is called."""
    epoch: Annotated[str, Meta(pattern="^[0-9a-f]{8}$")]
    """The beginning of its producer's id: one life of an edge's ledger."""
    events: Annotated[int, Meta(ge=0)] = 0
    """How many there are of the subject in the window; said once of all groups."""
    labels: str = "{}"
    totals: Totals = {}
    unique: dict[str, list[str | None]] = {}
    """Different values by meter."""
    covers: dict[str, Annotated[int, Meta(ge=0)]] = {}
    """Up to which number of each producer this and what came before it has all."""


class _Stored(msgspec.Struct, frozen=True):
    usage: RolledUp


class _StoredText(msgspec.Struct, frozen=True):
    usage: msgspec.Raw


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(RolledUp).decode
_decode_labels = msgspec.json.Decoder(dict[str, str]).decode
_decode_stored = msgspec.json.Decoder(_Stored).decode
_decode_text = msgspec.json.Decoder(_StoredText).decode


def encode(rolled_up: RolledUp) -> str:
    """Return it as it crosses."""
    return _encode(rolled_up).decode()


def stored(text: str) -> str:
    """Return what came as it is stored, in the place of an event's properties.

    Raises:
        ValueError: it is not what an edge sends.
    """
    rolled_up = _decode(text)
    _decode_labels(rolled_up.labels)
    if any(
        isinstance(total, list) and len(total) != 3
        for total in rolled_up.totals.values()
    ):
        raise ValueError("a last value is [value, time_ms, event id]")
    return f'{{"usage":{text}}}'


def text_in(properties: str) -> str:
    """Return as it crosses what is stored."""
    return bytes(_decode_text(properties).usage).decode()


@lru_cache(maxsize=CACHED_TEXTS)
def rolled_up_in(properties: str) -> RolledUp:
    """Return what is stored in the place of an event's properties."""
    return _decode_stored(properties).usage


def decode(text: str) -> RolledUp:
    """Return what crossed.

    Raises:
        ValueError: it is not what an edge sends.
    """
    return _decode(text)


def in_pieces(whole: RolledUp) -> Iterator[RolledUp]:
    """Yield it as events that are not too large: different values may be many."""
    replace = msgspec.structs.replace
    rest = replace(whole, totals={}, unique={})
    n_bytes = 0
    for meter, value in _said(whole):
        size = len(meter) + len(_encode(value)) + 8
        if n_bytes and n_bytes + size > VALUES_BYTES:
            yield rest
            # How many there are is said once.
            rest, n_bytes = replace(whole, events=0, totals={}, unique={}), 0
        if meter in whole.unique:
            assert value is None or isinstance(value, str)
            found = [*rest.unique.get(meter, ()), value]
            rest = replace(rest, unique={**rest.unique, meter: found})
        else:
            assert value is not None
            assert not isinstance(value, str)
            rest = replace(rest, totals={**rest.totals, meter: value})
        n_bytes += size
    yield rest


def _said(whole: RolledUp) -> Iterator[tuple[str, Total | str | None]]:
    yield from whole.totals.items()
    for meter, values in whole.unique.items():
        for value in values:
            yield meter, value


def covering(
    pieces: list[RolledUp], covers: Iterable[tuple[str, int]]
) -> list[RolledUp]:
    """Return pieces of which the last ones say what all of them cover."""
    left = list(covers)
    found = list(pieces)
    i = len(found)
    while left:
        some, left = dict(left[:COVERED_MAX]), left[COVERED_MAX:]
        i -= 1
        if i >= 0:
            found[i] = msgspec.structs.replace(found[i], covers=some)
        else:
            found.append(
                RolledUp(
                    generation=pieces[0].generation, epoch=pieces[0].epoch, covers=some
                )
            )
    return found
