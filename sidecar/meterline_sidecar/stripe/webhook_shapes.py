"""What Stripe's webhooks look like, as far as they are read here."""

from typing import Any

from msgspec import Struct


class SentRequest(Struct, frozen=True):
    """The request that an error is about, in the present shape or an older one."""

    identifier: str | None = None
    idempotency_key: str | None = None


class SampleError(Struct, frozen=True):
    """One dropped meter event."""

    error_message: str | None = None
    request: SentRequest | None = None


class ErrorType(Struct, frozen=True):
    """All that were dropped for one reason; the samples are only some of them."""

    code: str
    error_count: int = 0
    sample_errors: tuple[SampleError, ...] = ()


class DropReason(Struct, frozen=True):
    """Why meter events were dropped."""

    error_count: int = 0
    error_types: tuple[ErrorType, ...] = ()


class DropReportData(Struct, frozen=True):
    """What a report says once it is fetched."""

    reason: DropReason | None = None


class DropReport(Struct, frozen=True):
    """An event of Stripe's about dropped meter events, thin or with its data."""

    id: str
    type: str
    data: DropReportData | None = None


class Snapshot(Struct, frozen=True):
    """What an event is about, as it was then."""

    object: dict[str, Any]


class SnapshotEvent(Struct, frozen=True):
    """An event about an invoice or a charge, thin or with its data."""

    id: str
    type: str
    data: Snapshot | None = None
    account: str | None = None
    """Whose it is, where it is not of the account that the webhook belongs to."""


class EventHead(Struct, frozen=True):
    """What every event has, of whatever type."""

    id: str
    type: str
