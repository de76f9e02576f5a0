"""A clock that tests set."""

from dataclasses import dataclass

from tests.producer import NOON_MS


@dataclass
class FakeClock:
    """Stands still until it is moved."""

    time_ms: int = NOON_MS
    rehearsal: str | None = None

    def now_ms(self) -> int:
        """Return the time that was set."""
        return self.time_ms
