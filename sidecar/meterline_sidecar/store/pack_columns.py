"""How a column of numbers lies in a pack.

First come the lowest bytes of all its numbers, then the next ones, and so on: most of these
are alike, and compress to nothing. Of one whose numbers are all the same there is that
number alone. All of it is done by a few calls that run over whole columns.
"""

import sys
import zlib
from array import array
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, Literal

Column = int | tuple[int, bytes] | None
"""The bytes of a number, and all of them, compressed; or the one number that they all are;
or nothing, where they count from 0 on."""
COMPRESSED: Final = (1, zlib.DEFLATED, 13)
"""Level 1 takes a fifth of the time of the usual one, for a seventh more room; and of few
events much of it is to make room for the usual 32 KiB of what was before."""
CODES: Final[tuple[tuple[int, Literal["B", "H", "I", "Q"]], ...]] = (
    (1, "B"),
    (2, "H"),
    (4, "I"),
    (8, "Q"),
)
"""Arrays by the bytes of their numbers."""
IS_SWAPPED: Final = sys.byteorder == "big"


class BadPack(ValueError):
    """What should be a pack is none."""


def column_of(numbers: Sequence[int], largest: int) -> Column:
    """Return numbers as they are written; what is compressed was read back.

    Raises:
        OverflowError: one of the numbers is below 0, or above the largest.
        BadPack: it does not read as it was written.
    """
    if numbers == range(len(numbers)):
        return None
    first = numbers[0] if numbers else 0
    if is_one(numbers):
        if not 0 <= first <= largest:
            raise OverflowError(f"{first} is not from 0 to {largest}")
        return first
    raw, size = _raw_of(numbers)
    apart = [raw[i::size] for i in range(size)]
    while apart[-1].count(0) == len(numbers):
        apart.pop()
    wide = len(apart)
    if 256**wide > largest and (found := max(numbers)) > largest:
        raise OverflowError(f"{found} is more than {largest}")
    body = compressed(b"".join(apart))
    read = _planes_of((wide, body), len(numbers))[1]
    if _laid_out(read, wide, len(numbers), size) != raw:
        raise BadPack("a pack does not read as it was written")
    return wide, body


def is_one(column: Sequence[object]) -> bool:
    """Say whether all that stands in a column is the same."""
    if not column:
        return True
    first = column[0]
    return column[-1] == first and column.count(first) == len(column)


def compact(numbers: Sequence[int]) -> "bytes | array[int]":
    """Return numbers in little room: each takes 40 bytes in a list, and up to 8 here.

    Raises:
        OverflowError: one of them is below 0, or does not fit into 8 bytes.
    """
    if isinstance(numbers, bytes | array):
        return numbers
    with suppress(ValueError):
        return bytes(numbers)  # as most are; where one is larger it is soon told
    try:
        return array("I", numbers)  # twice as fast as the others
    except OverflowError:
        return array("Q", numbers)


def _raw_of(numbers: Sequence[int]) -> tuple[bytes, int]:
    """Return numbers one behind the other, lowest bytes first, and in how many bytes each."""
    laid = compact(numbers)
    if isinstance(laid, bytes):
        return laid, 1
    if IS_SWAPPED:
        laid = array(laid.typecode, laid)
        laid.byteswap()
    return laid.tobytes(), laid.itemsize


def numbers_of(column: Column, count: int) -> Sequence[int]:
    """Return the numbers of a column, as they are had at once.

    Raises:
        BadPack: it is no column of so many numbers.
    """
    if column is None:
        return range(count)
    if isinstance(column, int):
        return [column] * count
    wide, planes = _planes_of(column, count)
    size, code = next((size, code) for size, code in CODES if size >= wide)
    raw = _laid_out(planes, wide, count, size)
    if size == 1:
        return raw
    laid: array[int] = array(code)
    laid.frombytes(raw)
    if IS_SWAPPED:
        laid.byteswap()
    return laid


def _planes_of(column: tuple[int, bytes], count: int) -> tuple[int, bytes]:
    """Return of how many bytes the numbers of a column are, and all lowest bytes first.

    Raises:
        BadPack: it is no column of so many numbers.
    """
    wide, body = column
    if not 0 <= wide <= CODES[-1][0]:
        raise BadPack("a pack is of something else")
    read = decompressed(body, wide * count)
    if len(read) != wide * count:
        raise BadPack("a column of a pack is too short")
    return wide, read


def _laid_out(planes: bytes, wide: int, count: int, size: int) -> bytes:
    """Return the numbers of a column one behind the other, each in so many bytes."""
    if wide == size == 1:
        return planes
    raw = bytearray(size * count)
    for i in range(wide):
        raw[i::size] = planes[i * count : (i + 1) * count]
    return bytes(raw)


def compressed(raw: bytes) -> bytes:
    """Return bytes as they lie in a pack."""
    compressor = zlib.compressobj(*COMPRESSED)
    return compressor.compress(raw) + compressor.flush()


def decompressed(body: bytes, bytes_max: int) -> bytes:
    """Return what was compressed.

    Raises:
        BadPack: it was not, or is more than so many bytes.
    """
    reader = zlib.decompressobj()
    try:
        read = reader.decompress(body, bytes_max + 1)
    except zlib.error as error:
        raise BadPack(f"a pack cannot be read: {error}") from error
    if not reader.eof or reader.unused_data or len(read) > bytes_max:
        raise BadPack("a pack is cut off, or of something else")
    return read
