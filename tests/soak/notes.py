"""What a worker was told, noted outside of everything that is tested.

Lines are appended with one system call each, so they survive a ``kill -9``; only the last
line of a file can be cut off, and what it would have said had not happened yet.
"""

import os
import secrets
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Final, NamedTuple

SURE_MS: Final = 5_000
"""Units of an open stream that are older are in its spool, whoever is killed."""
_NUMBERS_BITS: Final = 31


class Notes:
    """Where one worker notes what it is about to record, and what it has recorded."""

    def __init__(self, folder: Path, *, app: str) -> None:
        self._file = os.open(
            folder / f"{app}-{os.getpid()}-{secrets.token_hex(4)}",
            os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL,
            0o600,
        )
        self._numbers = count(secrets.randbits(_NUMBERS_BITS) << _NUMBERS_BITS)

    def begin(self, subject: str, *, units: int = 0, is_call: bool = False) -> int:
        """Note that so many units are about to be recorded; return their number.

        Args:
            is_call: whether it is a request or websocket, and no use of its own.
        """
        number = next(self._numbers)
        self._write(f"B {number} {_now_ms()} {subject} {units} {is_call:d}")
        return number

    def units(self, number: int, units: int) -> None:
        """Note that something which is open is about to record units."""
        self._write(f"U {number} {_now_ms()} {units}")

    def end(self, number: int) -> None:
        """Note that all of it is surely recorded."""
        self._write(f"E {number} {_now_ms()}")

    def _write(self, line: str) -> None:
        os.write(self._file, line.encode() + b"\n")


class Told(NamedTuple):
    """One event, or one stream, that a worker was told of."""

    number: int
    app: str
    subject: str
    is_call: int
    begun_ms: int
    """By the clock of the app, like all times here."""
    ended_ms: int | None
    """``None``: the worker died in the middle of it."""
    units: int
    units_sure: int
    """How many of them must be there; fewer only where the worker died."""


class _Open:
    """What was begun, and is not over."""

    def __init__(self, begun_ms: int, subject: str, units: str, is_call: str) -> None:
        self._begun_ms = begun_ms
        self._subject = subject
        self._units = int(units)
        self._is_call = int(is_call)
        self._later: list[tuple[int, int]] = []

    def add(self, ms: int, units: int) -> None:
        """Add units that were recorded while it was open."""
        self._later.append((ms, units))

    def told(
        self, number: int, app: str, *, ended_ms: int | None, sure_ms: int
    ) -> Told:
        """Return all of it.

        Args:
            sure_ms: what was recorded up to here must be there, if it has not ended.
        """
        units = self._units + sum(units for _, units in self._later)
        sure = sum(units for ms, units in self._later if ms <= sure_ms)
        return Told(
            number,
            app,
            self._subject,
            self._is_call,
            self._begun_ms,
            ended_ms,
            units,
            sure if ended_ms is None else units,
        )


def read_notes(path: Path) -> Iterator[Told]:
    """Yield all that one worker noted, each when it was over."""
    app = path.name.partition("-")[0]
    open_ones: dict[int, _Open] = {}
    now_ms = 0
    for kind, number, now_ms, rest in _lines(path):
        if kind == "B":
            open_ones[number] = _Open(now_ms, *rest)
        elif kind == "U":
            open_ones[number].add(now_ms, int(rest[0]))
        else:
            one = open_ones.pop(number)
            yield one.told(number, app, ended_ms=now_ms, sure_ms=now_ms)
    for number, one in open_ones.items():
        yield one.told(number, app, ended_ms=None, sure_ms=now_ms - SURE_MS)


def _lines(path: Path) -> Iterator[tuple[str, int, int, list[str]]]:
    with path.open() as file:
        for line in file:
            if line.endswith("\n"):
                kind, number, ms, *rest = line.split()
                yield kind, int(number), int(ms), rest


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
