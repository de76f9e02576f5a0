"""Sorts more than fits into memory: sorted runs in a file, read back as one.

What is added is kept in a file without a name, which is gone with the process. Memory
holds what was added last and one block of each run, however much there is.
"""

import heapq
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from typing import IO, Any, Final, NamedTuple, cast

import msgspec

from meterline_sidecar.errors import MeterlineError

BLOCK_ITEMS: Final = 200
BITS_MAX: Final = 64
RUNS_MAX: Final = 64  # then they become one: about 64 blocks are in memory at once

Key = tuple[int | str, ...]
Item = tuple[Key, Any]
"""A key and what belongs to it."""
Join = Callable[[Any, Any], Any]
"""Returns what two values of one key come to."""


class NoScratchRoom(MeterlineError):
    """There is no room to sort in: that says nothing about what is sorted."""


class _Run(NamedTuple):
    """Where a sorted run lies in the file."""

    start: int
    end: int


class Runs:
    """Items in order of their keys, each key once, from as many as there may be.

    Args:
        join: puts together what was added under one key.
    """

    def __init__(self, join: Join) -> None:
        self._join = join
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(list[Item]).decode
        self._runs: list[_Run] = []
        self._file = _new_file()

    def __enter__(self) -> "Runs":
        """Return itself."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Give up the file."""
        self._file.close()

    def add(self, items: list[Item]) -> None:
        """Add items, in any order; no two of them have the same key.

        Raises:
            NoScratchRoom: there is no room for them.
        """
        if not items:
            return
        items.sort(key=_key)
        try:
            self._runs.append(self._write(items))
            if len(self._runs) == RUNS_MAX:
                self._join_all()
        except OSError as error:
            raise _no_room(error) from error

    def sorted(self) -> Iterator[Item]:
        """Yield every key once, in order, with what was added under it."""
        merged = heapq.merge(*(self._read(run) for run in self._runs), key=_key)
        last: Item | None = None
        for item in merged:
            if last is None:
                last = item
            elif item[0] == last[0]:
                last = (last[0], self._join(last[1], item[1]))
            else:
                yield last
                last = item
        if last is not None:
            yield last

    def _join_all(self) -> None:
        """Make one run of all, in a new file: the old one's room is free again."""
        before, after = self._file, _new_file()
        joined = list(self._blocks(self.sorted(), to=after))
        self._file = after
        self._runs = [_Run(0, joined[-1])]
        before.close()

    def _write(self, items: list[Item]) -> _Run:
        start = self._file.tell()
        return _Run(start, list(self._blocks(items, to=self._file))[-1])

    def _blocks(self, items: Iterable[Item], *, to: IO[bytes]) -> Iterator[int]:
        """Write items in blocks, and yield where each ends."""
        block: list[Item] = []
        for item in items:
            block.append(item)
            if len(block) == BLOCK_ITEMS:
                yield self._write_block(block, to)
                block = []
        if block:
            yield self._write_block(block, to)

    def _write_block(self, block: list[Item], to: IO[bytes]) -> int:
        try:
            encoded = self._encode(block)
        except OverflowError:
            encoded = self._encode(_wide(block))
        to.write(len(encoded).to_bytes(4, "big"))
        to.write(encoded)
        return to.tell()

    def _read(self, run: _Run) -> Iterator[Item]:
        file = self._file
        file.flush()
        at = run.start
        while at < run.end:
            size = int.from_bytes(os.pread(file.fileno(), 4, at), "big")
            yield from self._decode(os.pread(file.fileno(), size, at + 4))
            at += 4 + size


def _wide(value: Any) -> Any:
    """Return what is written where a sum has more bits than a number of MessagePack.

    It becomes a decimal, which is written as text and read as all others are.
    """
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        return {name: _wide(of) for name, of in members.items()}
    if isinstance(value, list | tuple):
        return [_wide(of) for of in cast("Sequence[Any]", value)]
    is_wide = isinstance(value, int) and value.bit_length() >= BITS_MAX
    return Decimal(value) if is_wide else value


def _key(item: Item) -> Key:
    return item[0]


def _new_file() -> IO[bytes]:
    try:
        return tempfile.TemporaryFile()
    except OSError as error:
        raise _no_room(error) from error


def _no_room(error: OSError) -> NoScratchRoom:
    return NoScratchRoom(
        f"{tempfile.gettempdir()} has no room to add usage up in ({error.strerror});"
        " free space there, or set TMPDIR to a directory on another disk"
    )
