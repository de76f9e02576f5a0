"""What ``/status`` answers."""

import msgspec

from meterline_sidecar.problems.problem import Found
from meterline_sidecar.store.outbox import State
from meterline_sidecar.web.answers.edges import Forwarding, ShownEdge, ShownLeader


class EventCounts(msgspec.Struct, frozen=True):
    """recorded = ingested + lost + in flight; refused are among the lost."""

    recorded: int
    ingested: int
    in_flight: int
    lost: int
    refused: int
    duplicates: int
    unattributed: int
    held: int
    """They wait for their time, or for a person to decide."""
    bad_quantities: int
    """A quantity was left out of them, which was no whole number or out of bounds, or a
    property."""
    excluded: int
    """Requests that apps left out on purpose and so are none of these: as announced, since
    the sidecar started."""


class ExternalCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Events that came over HTTP, by what became of them, since the start."""

    accepted: int
    duplicate: int
    conflict: int
    refused: int
    conflicts_ever: int
    """How many came under an id that another event has; none of them is stored."""


class ProducerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One worker process's life."""

    producer: str
    app: str
    host: str
    pid: int
    recorded: int
    ingested: int
    lost: int
    gap: int
    """Recorded and neither here nor lost yet."""
    seen: str
    seen_ms: int
    is_open: bool
    """It has not said goodbye."""
    is_connected: bool
    """To this sidecar. ``is_open`` without it, and of no edge: it was killed, or is about
    to come back."""
    spool: str
    edge: str | None
    """The name of the edge that it sends to, which alone knows whether it is connected;
    ``null``: it sends to this sidecar."""


class ProducerCounts(msgspec.Struct, frozen=True):
    """How many workers there are and were, and the ones to look at."""

    open: int
    """They have not said goodbye."""
    closed: int
    connected: int
    """To this sidecar."""
    at_edges: int
    """Of those open, how many send to an edge."""
    shown: tuple[ProducerStatus, ...]

    @property
    def gone(self) -> int:
        """How many were killed, or are about to come back."""
        return max(0, self.open - self.at_edges - self.connected)


class AggregationStatus(msgspec.Struct, frozen=True):
    """How far events are added up."""

    behind_events: int
    last_success: str | None
    last_success_ms: int | None
    recounting_percent: int | None = None
    """How much is counted again while what was counted before is read; ``null``:
    nothing is."""


class JobStatus(msgspec.Struct, frozen=True):
    """How one job fares."""

    job: str
    last_success: str | None
    last_success_ms: int | None
    failures: int
    """Failed runs in a row; 0 after a good one."""
    error: str | None


class DatabaseStatus(msgspec.Struct, frozen=True):
    """The ledger's file."""

    path: str
    bytes: int
    disk_free_bytes: int


class ReconciliationStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The last comparison with Stripe's own totals."""

    checked: str | None
    """``None`` before the first."""
    checked_ms: int | None
    age_s: int | None
    every_s: int
    """How often it happens by itself; 0 for never."""
    different: int
    """Customers and meters, by month, that did not match."""
    invoices_checked: str | None
    """When invoices were last compared; ``None`` before the first."""
    invoices_different: int
    """Final invoices that are not so at Stripe."""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that ``/status`` says.

    Each time stands here twice: as text, and in milliseconds, which is what programs
    count with.
    """

    version: str
    ledger: str
    """The number of this ledger: in a spool it says which one takes its events."""
    ready: bool
    problems: tuple[Found, ...]
    """The worst first; each has a code of the list in docs/problems.md."""
    clock: str | None
    """Where the time comes from, when it is not the machine's."""
    started: str
    started_ms: int
    now: str
    now_ms: int
    events: EventCounts
    external: ExternalCounts
    refusals: dict[str, int]
    """Connections refused since start, by reason."""
    producers: ProducerCounts
    aggregation: AggregationStatus
    outbox: dict[State, int]
    last_confirmed: str | None
    """When Stripe last confirmed a report."""
    last_confirmed_ms: int | None
    last_backup: str | None
    last_backup_ms: int | None
    reconciliation: ReconciliationStatus
    database: DatabaseStatus
    role: str
    """``single``, ``edge`` or ``centre``."""
    leader: ShownLeader | None
    """Which of several centres leads; ``null`` where there is one."""
    edges: tuple[ShownEdge, ...]
    """Of a centre: who sends to it."""
    edge_refusals: dict[str, int]
    """Likewise: connections refused since start, of edges and of strangers, by reason."""
    forwarding: Forwarding | None
    """Of an edge: how it fares with its centre."""
    jobs: dict[str, str]
    """Job to the error of its last run; empty when all is well."""
    schedule: tuple[JobStatus, ...]
    last_event_id: int
    """Of the event that was stored last; 0 before the first."""
    last_event: str | None
    """Its time."""
    last_event_ms: int | None

    @property
    def to_do(self) -> tuple[Found, ...]:
        """The problems that need a person."""
        return tuple(found for found in self.problems if found.needs_person)
