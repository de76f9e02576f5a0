"""Texts of which many are alike but for the numbers in them, taken apart and put together.

An API that sells tokens says of each event how many there were: such texts differ in
numbers alone. So a *kind* of text is kept once, as the pieces between its numbers, and
the numbers by themselves. Texts of few values are kept once each.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Final, NamedTuple

NUMBER: Final = re.compile("[1-9][0-9]{0,17}|0")
"""What is written again as it was read, and fits into 8 bytes."""
NUMBER_MAX: Final = 10**18 - 1
ALIKE_MIN: Final = 32
"""So many different texts are a kind: of fewer, each is one by itself."""
NUMBERS_MAX: Final = 32  # in a text whose numbers stand by themselves
MARK: Final = "\0"
"""Stands for a number while texts are taken apart, each in a line."""


class Apart(NamedTuple):
    """Texts that were taken apart."""

    kinds: list[list[str]]
    """The pieces between numbers; one piece is a whole text, and none is no text."""
    places: list[int]
    """Which kind each text is of."""
    numbers: list[list[int]]
    """Of each kind in turn, and each of its numbers: what it is in the texts of it."""


def apart(texts: Sequence[str | None]) -> Apart:
    """Take texts apart; in all that is returned they stand in their order."""
    different = [text for text in dict.fromkeys(texts) if text is not None]
    shapes, alike = _shapes(different)
    kinds: list[list[str]] = [[], *(shape.split(MARK) for shape in alike)]
    known = {shape: kind for kind, shape in enumerate(alike, 1)}
    kind_of = dict[str | None, int](
        zip(different, map(known.get, shapes, repeat(0)), strict=True)
    )
    for text in different:
        if not kind_of[text]:
            kind_of[text] = len(kinds)
            kinds.append([text])
    kind_of[None] = 0
    places = list(map(kind_of.__getitem__, texts))
    those: list[list[str]] = [[] for _ in known]
    if known:
        for said, kind in zip(texts, places, strict=True):
            if said is not None and kind <= len(those):
                those[kind - 1].append(said)
    numbers: list[list[int]] = []
    for kind, of_kind in enumerate(those, 1):
        written = list(map(int, NUMBER.findall("\n".join(of_kind))))
        n_numbers = len(kinds[kind]) - 1
        numbers += [written[i::n_numbers] for i in range(n_numbers)]
    return Apart(kinds, places, numbers)


def _shapes(texts: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Return the shapes of texts, and which of these are of many."""
    joined = "\n".join(texts)
    shapes = NUMBER.sub(MARK, joined).split("\n")
    if len(shapes) != len(texts) or MARK in joined:
        return texts, ()
    counted = Counter(shapes).items()
    return shapes, [
        shape
        for shape, n in counted
        if n >= ALIKE_MIN and 0 < shape.count(MARK) <= NUMBERS_MAX
    ]


def together(
    kinds: Sequence[Sequence[str]],
    places: Sequence[int],
    numbers: Iterator[Sequence[int]],
) -> list[str | None]:
    """Return the texts that were taken apart.

    Args:
        numbers: their columns; as many are taken as the kinds have.

    Raises:
        IndexError, StopIteration, ValueError: they do not belong together.
    """
    return list(
        map(next, map([_texts(kind, numbers) for kind in kinds].__getitem__, places))
    )


def _texts(
    kind: Sequence[str], numbers: Iterator[Sequence[int]]
) -> Iterator[str | None]:
    """Return the texts of a kind, one after the other."""
    if not kind:
        return repeat(None)
    if len(kind) == 1:
        return repeat(kind[0])
    form = "%d".join(piece.replace("%", "%%") for piece in kind)
    columns = [next(numbers) for _ in kind[1:]]
    return map(form.__mod__, zip(*columns, strict=True))
