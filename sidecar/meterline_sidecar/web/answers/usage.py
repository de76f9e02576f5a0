"""What the API answers about usage."""

import msgspec

from meterline_pricing import Period
from meterline_sidecar.decimals import Number


class ShownGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Usage under one combination of a meter's dimensions."""

    labels: dict[str, str]
    quantity: Number


class ShownMeter(msgspec.Struct, frozen=True, kw_only=True):
    """What was used of one meter."""

    meter: str
    title: str
    """What people call it."""
    unit: str
    """What its quantities are in; empty where nobody says."""
    aggregation: str
    quantity: Number
    groups: tuple[ShownGroup, ...]
    """By dimension, for a meter with ``group_by``; else empty."""


class ShownSubject(msgspec.Struct, frozen=True, kw_only=True):
    """What a subject used that no customer pays for."""

    subject: str | None
    """``None``: requests that named nobody."""
    meters: tuple[ShownMeter, ...]


class ShownPeriod(Period, frozen=True, kw_only=True):
    """A span of time, in milliseconds and as text."""

    start_time: str
    end_time: str
    title: str
    """As people read it: ``23 - 29 Nov 2026``; a calendar month is its name."""


class ShownUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What one customer used."""

    customer: str
    customer_name: str
    period: ShownPeriod
    meters: tuple[ShownMeter, ...]
    counted_up_to_event: int


class WithoutPeriod(msgspec.Struct, frozen=True, kw_only=True):
    """A customer of whom all customers' usage says nothing, and why."""

    customer: str
    why: str


class UsagePage(msgspec.Struct, frozen=True, kw_only=True):
    """What customers used, a page of them."""

    fresh_as_of: str | None
    """Up to when events are counted; ``None`` before the first count."""
    recounting_percent: int | None
    """How much is being counted again; these numbers are those of before."""
    usage: list[ShownUsage]
    left_out: list[WithoutPeriod] = []
    """Who has no such period: they start later, have left, or are billed by the week."""
    next_after: str | None
    """Give it as ``after`` to get the next page; ``None`` on the last one."""


class Unassigned(msgspec.Struct, frozen=True, kw_only=True):
    """What nobody pays for."""

    fresh_as_of: str | None
    recounting_percent: int | None
    unassigned: list[ShownSubject]
