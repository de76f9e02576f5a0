"""An engine for fuzzers: cases for a while, each from a seed that repeats it alone.

    for chance in fuzz:
        try_something(bent(chance, b"what is right"))

The seed of the case that failed is printed; ``SEED=n`` runs only that one. A build, which
has ``CI`` set as well, begins with that one, and tries the same cases each time.
"""

import math
import os
import random
import sqlite3
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from tests.all_events import ALL_EVENTS, with_packs
from tests.fault.host import IS_SOAK

ASKED_S: Final = os.environ.get("METERLINE_FUZZ_S")
FUZZ_S: Final = float(ASKED_S or (3600 if IS_SOAK else 2))
BUILD_CASES: Final = 30  # some seconds of each fuzzer
ROUND_CASES: Final = 2_000
MEMORY_BYTES_MAX: Final = 64 << 20  # above what it was; one claimed length is 4 GiB

NUMBERS: Final = (0, 1, 2, 127, 128, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**53)
NUMBERS_AND_BEYOND: Final = (*NUMBERS, -1, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1)
TEXTS: Final = (
    *("", " ", "\0", "a\nb", "\x1b]0;x\x07", "\u202e", "\ud7ff", "\U0001d518", "%00"),
    *("../../etc/passwd", "/dev/zero", "nan", "1e400", "-1", "9" * 400, "é" * 300),
    *("2026-02-30", "0000-00-00T00:00:00Z", "9999-12-31T23:59:60Z", "*", "[!", "{}"),
)

ODD: Final[tuple[Any, ...]] = (
    *(*NUMBERS_AND_BEYOND, *TEXTS, None, True, 1.5, math.nan, math.inf),
    *(b"", b"\xff" * 50, [], [["x"]] * 50, {}, {"a": 1}, ["batch", 1], "x" * 300),
)
GOOD: Final = "f" * 32
"""The producer that sends right events all the time."""


class Fuzz:
    """Yields a source of chance for each case, until the time is over."""

    def __init__(self) -> None:
        given = os.environ.get("SEED")
        self.seed = int(given or random.randrange(2**32))
        self._cases_max = math.inf
        if given and not os.environ.get("CI"):
            self._cases_max = 1
        elif given and not (ASKED_S or IS_SOAK):
            self._cases_max = BUILD_CASES
        self.n_cases = 0
        self._is_over = False

    def rounds(self) -> Iterator[Iterator[random.Random]]:
        """Yield the cases in parts, for whoever needs a new ledger now and then."""
        cases = iter(self)
        while not self._is_over:
            yield islice(cases, ROUND_CASES)

    def __iter__(self) -> Iterator[random.Random]:
        """Begin."""
        end_s = time.monotonic() + FUZZ_S
        while True:
            self.n_cases += 1
            yield random.Random(self.seed)
            if self._is_enough(end_s):
                self._is_over = True
                return
            self.seed = random.Random(self.seed).randrange(2**32)

    def _is_enough(self, end_s: float) -> bool:
        if self._cases_max < math.inf:
            return self.n_cases >= self._cases_max
        return time.monotonic() >= end_s


class Bend(NamedTuple):
    """What became of some bytes, and which of them are as they were."""

    content: bytes
    start: int
    """The first of those that were bent."""
    end: int
    """Where the rest begins, which may have moved; their end, if it is gone."""


def bend(chance: random.Random, content: bytes) -> Bend:
    """Damage some bytes in one place."""
    start = chance.randrange(len(content) + 1)
    end = min(len(content), start + chance.choice((1, 1, 4, 40, 5000)))
    head, tail = content[:start], content[end:]
    kind = chance.randrange(6)
    if kind == 0 and start < end:  # one bit
        flipped = content[start] ^ 1 << chance.randrange(8)
        return Bend(head + bytes([flipped]) + content[start + 1 :], start, start + 1)
    if kind == 1:  # a number that claims something
        number = chance.choice(NUMBERS) & 0xFFFFFFFF
        end = min(len(content), start + 4)
        claimed = number.to_bytes(4, chance.choice(("little", "big")))
        return Bend(head + claimed + content[end:], start, end)
    if kind == 2:  # cut off
        return Bend(head, start, len(content))
    if kind == 3:  # more than there was
        return Bend(
            head + chance.randbytes(end - start) + content[start:], start, start
        )
    if kind == 4:  # less than there was
        return Bend(head + tail, start, end)
    fresh = (
        bytes(end - start) if chance.random() < 0.5 else chance.randbytes(end - start)
    )
    return Bend(head + fresh + tail, start, end)


def bent(chance: random.Random, content: bytes) -> bytes:
    """Return some bytes, damaged in one place or a few."""
    for _ in range(chance.choice((1, 1, 2, 5))):
        content = bend(chance, content).content
    return content


class Memory:
    """Sees that this process never has much more than it had at first."""

    def __init__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")  # its peak is now
        self._before = _peak_bytes()

    def check(self) -> None:
        """Compare the highest that it ever had."""
        grown = _peak_bytes() - self._before
        assert grown < MEMORY_BYTES_MAX, f"{grown >> 20} MiB"


def _peak_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    raise AssertionError("this kernel does not say")


def numbers_of(database: Path, producer: str) -> list[int]:
    """Return the numbers that the events of a producer carry, in order; 0 for none."""
    return all_numbers(database, producer).get(producer, [])


def all_numbers(database: Path, *producers: str) -> dict[str, list[int]]:
    """Return likewise the numbers of these producers; of all, if none is named."""
    which = f"WHERE p.producer IN ({','.join('?' * len(producers))})"
    connection = with_packs(sqlite3.connect(f"file:{database}?mode=ro", uri=True))
    try:
        rows = connection.execute(
            "SELECT p.producer, e.quantities FROM producers p"
            f" JOIN {ALL_EVENTS} e ON p.id = e.producer_id {which if producers else ''}"
            " ORDER BY p.id, e.seq",
            producers,
        )
        found: dict[str, list[int]] = {}
        for producer, quantities in rows:
            if quantities:
                number = msgspec.json.decode(quantities).get("n", 0)
                found.setdefault(producer, []).append(number)
        return found
    finally:
        connection.close()
