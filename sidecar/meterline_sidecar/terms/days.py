"""A customer's days: when each begins, in the zone that holds then."""

from collections.abc import Sequence
from datetime import date, timedelta
from functools import lru_cache
from typing import Final, NamedTuple

from meterline_pricing import Calendar

ZONES_MAX: Final = 600  # there are about as many
DAYS_MAX: Final = 5_000
Zones = Sequence[tuple[int, str]]
"""The zone from when on, in order of time."""


def day_after(day: date) -> date:
    """Return the day behind one; behind 9999-12-31, as people write *never*, is none."""
    return day if day == date.max else day + timedelta(days=1)


class Day(NamedTuple):
    """A day, or what a span of time has of one."""

    date: date
    start: int
    """UTC ms; likewise ``end``, which is behind it."""
    end: int


class Days:
    """The days of one customer, across any change of their zone."""

    def __init__(self, zones: Zones) -> None:
        self._zones = list(zones) or [(0, "UTC")]

    def zone(self, at_ms: int) -> str:
        """Return the zone in which days begin at a moment."""
        return next(
            (zone for from_ms, zone in reversed(self._zones) if from_ms <= at_ms),
            self._zones[0][1],
        )

    def day(self, at_ms: int) -> date:
        """Return the customer's day at a moment."""
        return _in_zone(self.zone(at_ms)).day(at_ms)

    def start_of(self, day: date) -> int:
        """Return the first instant of a customer's day, UTC ms."""
        return self._found(day)[0]

    def within(self, start: int, end: int) -> list[Day]:
        """Return the days in a span of time, in order; the outer ones are cut to it."""
        found: list[Day] = []
        day = self.day(start)
        while start < end:
            following = day_after(day)
            day_end = end
            if following != day:
                day_end = min(self.start_of(following), end)
            if (
                day_end > start
            ):  # a zone may leave out a day, and so may a change of zone
                found.append(Day(day, start, day_end))
                start = day_end
            day = following
        return found

    def edge(self, day: date) -> int:
        """Return where a period begins whose first day this is, UTC ms.

        That is the day's first instant, unless a change of zone lies behind it: no day
        begins before one that came before it.
        """
        at_ms, i = self._found(day)
        return max(at_ms, self._zones[i][0]) if i else at_ms

    def _found(self, day: date) -> tuple[int, int]:
        """Return a day's first instant, and which zone it is in."""
        if len(self._zones) == 1:
            return _start_of(self._zones[0][1], day), 0
        for i, (_, zone) in enumerate(self._zones):
            at_ms = _start_of(zone, day)
            # An edge at the very moment of a change still is in the former zone.
            if i + 1 == len(self._zones) or at_ms <= self._zones[i + 1][0]:
                return at_ms, i
        raise AssertionError("the last zone has no end")


# Very many customers have few zones, and ask for the same days.
@lru_cache(maxsize=ZONES_MAX)
def _in_zone(zone: str) -> Calendar:
    return Calendar(time_zone=zone)


@lru_cache(maxsize=DAYS_MAX)
def _start_of(zone: str, day: date) -> int:
    return _in_zone(zone).start_of(day)
