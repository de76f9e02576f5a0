"""A number in a memory-mapped file that shows when it was damaged."""

import mmap
from struct import Struct as Layout
from typing import Final

BYTES: Final = 16

_LAYOUT: Final = Layout("<QQ")  # the number, and all its bits turned round
_MASK: Final = 2**64 - 1


def write(memory: mmap.mmap, at: int, number: int) -> None:
    """Put ``number``, from 0 to 2**64 - 1, at byte ``at``."""
    # One copy of 16 bytes: packed into the map, a kill could leave zeros or a half.
    memory[at : at + BYTES] = packed(number)


def packed(number: int) -> bytes:
    """Return ``number`` as it stands in a file."""
    return _LAYOUT.pack(number, number ^ _MASK)


def read(memory: mmap.mmap, at: int) -> int | None:
    """Return the number at byte ``at``; ``None`` if none was written, or is whole."""
    number, inverse = _LAYOUT.unpack_from(memory, at)
    return int(number) if number ^ inverse == _MASK else None
