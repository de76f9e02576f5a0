"""What time it is: the machine's clock, or one that a rehearsal sets."""

import contextlib
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

from meterline_sidecar.errors import ConfigError
from meterline_sidecar.small_file import read_small_file

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
RFC_3339_MS_MAX: Final = 253_402_300_799_999  # the last one of the year 9999
DAY_MS: Final = 24 * HOUR_MS
OFFSET: Final = re.compile(r"([+-]\d{1,12}(?:\.\d{1,3})?)([smhd]?)", re.ASCII)
UNITS_MS: Final = {"": 1_000, "s": 1_000, "m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS}
OFFSET_MS_MAX: Final = 36_525 * DAY_MS
SPANS: Final = ((DAY_MS, "d"), (HOUR_MS, "h"), (MINUTE_MS, "min"), (1_000, "s"))
FILE_BYTES_MAX: Final = 1 << 10
JUMP_MS_MIN: Final = MINUTE_MS  # more is no adjustment
BELIEVED_AFTER_MS: Final = 10 * MINUTE_MS
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """Tells the time in UTC milliseconds. Jobs take one and never ask the machine."""

    def now_ms(self) -> int:
        """Return the current time in UTC milliseconds."""
        ...

    @property
    def rehearsal(self) -> str | None:
        """Say where the time comes from when it is not the machine's."""
        ...


class SystemClock:
    """The machine's clock."""

    rehearsal: str | None = None

    def now_ms(self) -> int:
        """Return the current time in UTC milliseconds."""
        return time.time_ns() // 1_000_000


def steady_ms() -> int:
    """Return milliseconds of a clock that nobody sets, and that no sleep stops."""
    number = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime_ns(number) // 1_000_000


class JumpWatch:
    """Notices when a clock is set, by one that nobody sets.

    Which of the two is right, nobody can say at once: a machine that was suspended wakes
    with a clock that is behind, another is started before its time service has answered.
    So a jump is believed once the clock has kept to it for a while.

    Args:
        clock: the one that may jump.
        steady: the other one.
    """

    def __init__(
        self, clock: "Clock", *, steady: Callable[[], int] = steady_ms
    ) -> None:
        self._clock = clock
        self._steady = steady
        self._kept_ms = self._tried_ms = self._lead_ms()
        self._tried_since_ms = steady()

    def is_right(self) -> bool:
        """Say whether the clock goes on as it did."""
        return self.jump_ms() == 0

    def jump_ms(self) -> int:
        """Return by how much the clock has jumped; 0 once that is believed."""
        lead_ms = self._lead_ms()
        if abs(lead_ms - self._kept_ms) <= JUMP_MS_MIN:
            self._kept_ms = self._tried_ms = lead_ms  # as time services adjust it
            return 0
        now_ms = self._steady()
        if abs(lead_ms - self._tried_ms) > JUMP_MS_MIN:
            self._tried_ms, self._tried_since_ms = lead_ms, now_ms
        elif now_ms - self._tried_since_ms > BELIEVED_AFTER_MS:
            self._kept_ms = self._tried_ms = lead_ms
            return 0
        return lead_ms - self._kept_ms

    def _lead_ms(self) -> int:
        return self._clock.now_ms() - self._steady()


class AbsenceWatch:
    """Doubts a clock, for a while, that starts far ahead of all that was known before.

    A machine may be started before its time service has answered, with a clock of next
    year; and another one, rightly, after a week's holiday. Nobody can tell them apart at
    once, but a time service answers within minutes.

    Args:
        clock: the one that may be ahead.
        known_ms: the last time that was known before the start; ``None``: there was none.
        steady: a clock that nobody sets.
    """

    def __init__(
        self,
        clock: "Clock",
        known_ms: int | None,
        *,
        steady: Callable[[], int] = steady_ms,
    ) -> None:
        self._clock = clock
        self._known_ms = known_ms
        self._steady = steady
        self._since_ms = steady()

    def ahead_ms(self) -> int:
        """Return how far the clock is ahead; 0 within a day, and once it is believed."""
        ahead_ms = self._clock.now_ms() - (self._known_ms or self._clock.now_ms())
        is_believed = self._steady() - self._since_ms > BELIEVED_AFTER_MS
        return 0 if is_believed or ahead_ms <= DAY_MS else ahead_ms


class FileClock:
    """A clock read from a file at every call, to rehearse a month's end.

    The file holds a time, at which the clock stands still: RFC 3339
    (``2026-11-30T23:59:00Z``) or Unix seconds. Or an offset from the machine's clock:
    ``+86400`` seconds, ``+25h``, ``-40d``. Whoever rewrites the file may be caught half
    way, so a text that is none of these changes nothing once there was one.
    """

    def __init__(self, path: Path) -> None:
        """Read the file for the first time.

        Raises:
            ConfigError: the file is missing or holds no time.
        """
        self._path = path
        self._text = ""
        self._offset_ms: int | None = None
        self._fixed_ms = 0
        self._set(self._read())

    @property
    def rehearsal(self) -> str | None:
        """Say where the time comes from."""
        return f"rehearsal clock: {self._path} says {self._text}"

    def now_ms(self) -> int:
        """Return the time that the file says, in UTC milliseconds."""
        with contextlib.suppress(ConfigError):
            text = self._read()
            if text != self._text:
                self._set(text)
        if self._offset_ms is None:
            return self._fixed_ms
        return SystemClock().now_ms() + self._offset_ms

    def _read(self) -> str:
        try:
            raw = read_small_file(self._path, bytes_max=FILE_BYTES_MAX)
            return raw.decode().strip()
        except OSError as error:
            raise ConfigError(
                f"{self._path}: {error.strerror}; name a file that says what time it is,"
                " such as +25h"
            ) from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{self._path}: not a text") from error

    def _set(self, text: str) -> None:
        try:
            offset_ms, fixed_ms = _parse_offset_ms(text), 0
            if offset_ms is None:
                is_unix = text.isascii() and text.isdigit() and len(text) == 10
                fixed_ms = int(text) * 1000 if is_unix else parse_time_ms(text)
        except ValueError as error:
            raise ConfigError(
                f"{self._path}: {text[:40]!r} is neither a time such as "
                "2026-11-30T23:59:00Z nor an offset such as +86400 (seconds) or +25h"
            ) from error
        self._text, self._offset_ms, self._fixed_ms = text, offset_ms, fixed_ms


def _parse_offset_ms(text: str) -> int | None:
    """Return an offset such as ``+25h``; ``None`` for what begins with no sign."""
    found = OFFSET.fullmatch(text)
    if found is None:
        return None
    number, unit = found.groups()
    offset_ms = int(float(number) * UNITS_MS[unit])
    if abs(offset_ms) > OFFSET_MS_MAX:
        raise ValueError("more than a hundred years")
    return offset_ms


def parse_time_ms(text: str) -> int:
    """Return an RFC 3339 time as UTC milliseconds; without a zone it is UTC.

    Raises:
        ValueError: the text is no time.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - EPOCH) // timedelta(milliseconds=1)


def format_time_ms(time_ms: int) -> str:
    """Return UTC milliseconds as RFC 3339, such as ``2026-11-22T08:00:00.000Z``.

    RFC 3339 ends with the year 9999, and the clock of an app does not.
    """
    if time_ms > RFC_3339_MS_MAX:
        return "after 9999-12-31T23:59:59.999Z"
    moment = EPOCH + timedelta(milliseconds=time_ms)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def time_text(time_ms: int | None) -> str | None:
    """Return such a time as text; ``None`` where there is none."""
    return None if time_ms is None else format_time_ms(time_ms)


def lasting(span_ms: int) -> str:
    """Return a length of time in its largest unit, for people: ``3 min``."""
    for length_ms, unit in SPANS:
        if span_ms >= length_ms:
            return f"{span_ms // length_ms} {unit}"
    return "0 s"


def ago(at_ms: int | None, now_ms: int) -> str:
    """Return how long ago a time was, for people: ``3 min ago``, ``just now``."""
    if at_ms is None:
        return "never"
    if at_ms > now_ms + MINUTE_MS:
        return f"in {lasting(at_ms - now_ms)}"
    return "just now" if now_ms - at_ms < 1_000 else f"{lasting(now_ms - at_ms)} ago"
