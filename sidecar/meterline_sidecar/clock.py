"""What time it is: the machine's clock, or one that a rehearsal sets."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

from meterline_sidecar.errors import ConfigError

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS
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


class FileClock:
    """A clock read from a file at every call, to rehearse a month's end.

    The file holds an RFC 3339 time (``2026-11-30T23:59:00Z``: the clock stands
    still there), or an offset from the machine's clock in seconds (``+86400``).
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.rehearsal: str | None = f"rehearsal clock: {path}"
        self.now_ms()  # A file that can not be read is found at start.

    def now_ms(self) -> int:
        """Return the time that the file says, in UTC milliseconds.

        Raises:
            ConfigError: the file is missing or holds no time.
        """
        try:
            text = self._path.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ConfigError(f"{self._path}: {error.strerror}") from error
        if text[:1] in ("+", "-") and text[1:].isdigit():
            return SystemClock().now_ms() + int(text) * 1000
        try:
            return parse_time_ms(text)
        except ValueError as error:
            raise ConfigError(
                f"{self._path}: {text[:40]!r} is neither a time such as "
                "2026-11-30T23:59:00Z nor an offset in seconds such as +86400"
            ) from error


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
    """Return UTC milliseconds as RFC 3339, such as ``2026-11-22T08:00:00.000Z``."""
    moment = EPOCH + timedelta(milliseconds=time_ms)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
