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
    kinds: list[list[str]] = [[]]
    of: dict[str | None, tuple[int, Sequence[str]]] = {None: (0, ())}
    known: dict[str, int] = {}
    for text, shape, numbers in _shaped(different):
        if not numbers:
            of[text] = len(kinds), ()
            kinds.append([text])
            continue
        kind = known.get(shape)
        if kind is None:
            kind = known[shape] = len(kinds)
            kinds.append(shape.split(MARK))
        of[text] = kind, numbers
    found = list(map(of.__getitem__, texts))
    written: list[list[Sequence[str]]] = [[] for _ in kinds]
    if known:
        for kind, numbers in found:
            written[kind].append(numbers)
    return Apart(
        kinds,
        [kind for kind, _ in found],
        [
            list(map(int, column))
            for those in written
            for column in zip(*those, strict=True)
        ],
    )


def _shaped(texts: Sequence[str]) -> Iterator[tuple[str, str, Sequence[str]]]:
    """Yield each text, its shape and its numbers; none where it stays whole."""
    joined = "\n".join(texts)
    shapes = NUMBER.sub(MARK, joined).split("\n")
    n_numbers: dict[str, int] = {}
    if len(shapes) == len(texts) and MARK not in joined:
        n_numbers = {
            shape: shape.count(MARK)
            for shape, n in Counter(shapes).items()
            if n >= ALIKE_MIN
        }
    if not any(0 < n <= NUMBERS_MAX for n in n_numbers.values()):
        yield from zip(texts, repeat(""), repeat(()))
        return
    numbers = NUMBER.findall(joined)
    end = 0
    for text, shape in zip(texts, shapes, strict=True):
        n = n_numbers.get(shape)
        begin, end = end, end + (shape.count(MARK) if n is None else n)
        is_whole = n is None or n > NUMBERS_MAX
        yield text, shape, () if is_whole else numbers[begin:end]


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
