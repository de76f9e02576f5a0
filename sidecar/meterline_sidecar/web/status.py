"""Is it working: ``/livez``, ``/readyz``, ``/status``, ``/metrics``."""

import shutil
from collections.abc import Iterable

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
)
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

import meterline
from meterline_sidecar.parts import Parts
from meterline_sidecar.store import audit
from meterline_sidecar.store import events as event_store
from meterline_sidecar.web.problems import answer

PRODUCERS_SHOWN = 100


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
    seen_ms: int
    is_open: bool
    spool: str


class ProducerCounts(msgspec.Struct, frozen=True):
    """How many workers there are and were, and the ones to look at."""

    open: int
    closed: int
    connected: int
    shown: tuple[ProducerStatus, ...]


class AggregationStatus(msgspec.Struct, frozen=True):
    """How far events are added up."""

    behind_events: int
    last_success_ms: int | None


class DatabaseStatus(msgspec.Struct, frozen=True):
    """The ledger's file."""

    path: str
    bytes: int
    disk_free_bytes: int


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that ``/status`` says."""

    version: str
    ready: bool
    problems: tuple[str, ...]
    clock: str | None
    """Where the time comes from, when it is not the machine's."""
    started_ms: int
    now_ms: int
    events: EventCounts
    refusals: dict[str, int]
    """Connections refused since start, by reason."""
    producers: ProducerCounts
    aggregation: AggregationStatus
    outbox: dict[str, int]
    database: DatabaseStatus
    jobs: dict[str, str]
    """Job to the error of its last run; empty when all is well."""
    last_event_ms: int | None


async def read_status(parts: Parts) -> Status:
    """Return the state of every part, with what is wrong in words."""
    async with parts.database.reading() as tx:
        counts = await audit.counts(tx)
        producers = await event_store.list_producers(tx, limit=PRODUCERS_SHOWN)
        behind = await audit.last_event_id(tx) - parts.aggregator.generation.cursor
        last_event_ms = await audit.newest_event_ms(tx)
    outbox = await parts.outbox_counts()
    lost = counts.lost + counts.refused
    path = parts.config.sidecar.database
    problems = tuple(_problems(parts, counts))
    return Status(
        version=meterline.__version__,
        ready=parts.ingest.trouble is None,
        problems=problems,
        clock=parts.clock.rehearsal,
        started_ms=parts.started_ms,
        now_ms=parts.clock.now_ms(),
        events=EventCounts(
            recorded=counts.recorded,
            ingested=counts.ingested,
            in_flight=counts.recorded - counts.ingested - lost,
            lost=lost,
            refused=counts.refused,
            duplicates=counts.duplicates,
            unattributed=counts.unattributed,
            held=counts.held,
        ),
        refusals=dict(parts.receiver.refusals),
        producers=ProducerCounts(
            counts.open,
            counts.closed,
            parts.receiver.connections,
            tuple(_producer(row) for row in producers),
        ),
        aggregation=AggregationStatus(
            behind, parts.aggregator.generation.last_success_ms
        ),
        outbox=outbox,
        database=DatabaseStatus(
            str(path), parts.database_bytes(), shutil.disk_usage(path.parent).free
        ),
        jobs={
            name: job.error for name, job in parts.schedule.jobs.items() if job.error
        },
        last_event_ms=last_event_ms,
    )


def _producer(row: event_store.ProducerRow) -> ProducerStatus:
    return ProducerStatus(
        producer=row.producer,
        app=row.app,
        host=row.host,
        pid=row.pid,
        recorded=row.recorded_seq,
        ingested=row.ingested,
        lost=row.lost + row.refused,
        gap=row.recorded_seq - row.last_seq,
        seen_ms=row.seen_ms,
        is_open=not row.is_closed,
        spool=row.spool,
    )


def _problems(parts: Parts, counts: audit.Counts) -> Iterable[str]:
    """Yield what a person should look at, in words."""
    if parts.ingest.trouble is not None:
        yield f"events cannot be stored: {parts.ingest.trouble}"
    if parts.clock.rehearsal is not None:
        yield f"the time is not real: {parts.clock.rehearsal}"
    if counts.memory:
        yield (
            f"{counts.memory} worker(s) keep events in memory only: their spool"
            " directory cannot be written; a crash there would lose events"
        )
    if counts.lost:
        yield f"{counts.lost} event(s) were lost at the apps"
    if counts.refused:
        yield f"{counts.refused} event(s) were refused as invalid"
    if counts.held:
        yield (
            f"{counts.held} event(s) are held out of billing: their time is more than"
            " 5 minutes ahead or 35 days behind"
        )
    for name, job in parts.schedule.jobs.items():
        if job.error is not None:
            yield f"job {name} failed {job.failures} time(s) in a row: {job.error}"


async def livez(_request: Request) -> Response:
    """Answer that the process is alive."""
    return PlainTextResponse("ok\n")


async def readyz(request: Request) -> Response:
    """Answer whether events can be stored: 200, or 503 and why not."""
    parts: Parts = request.app.state.parts
    if parts.ingest.trouble is None:
        return PlainTextResponse("ok\n")
    return PlainTextResponse(f"not ready: {parts.ingest.trouble}\n", 503)


async def status(request: Request) -> Response:
    """Answer the state of every part."""
    return answer(await read_status(request.app.state.parts))


async def metrics(request: Request) -> Response:
    """Answer the state in Prometheus's text format."""
    state = await read_status(request.app.state.parts)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(StatusCollector(state))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


class StatusCollector:
    """Turns one ``Status`` into Prometheus metrics; no label grows with customers."""

    def __init__(self, state: Status) -> None:
        self._state = state

    def collect(self) -> Iterable[Metric]:
        """Yield the metrics."""
        state = self._state
        yield InfoMetricFamily(
            "meterline", "The running sidecar.", value={"version": state.version}
        )
        yield GaugeMetricFamily(
            "meterline_ready", "1 while events can be stored.", value=state.ready
        )
        yield GaugeMetricFamily(
            "meterline_problems",
            "Things that a person should look at.",
            value=len(state.problems),
        )
        yield from self._events()
        yield from self._freshness()
        outbox = GaugeMetricFamily(
            "meterline_outbox_entries",
            "What Stripe is told, by state.",
            labels=["state"],
        )
        for name, n_entries in state.outbox.items():
            outbox.add_metric([name], n_entries)
        yield outbox
        yield GaugeMetricFamily(
            "meterline_database_size_bytes",
            "The ledger's file with its WAL.",
            value=state.database.bytes,
        )
        yield GaugeMetricFamily(
            "meterline_disk_free_bytes",
            "Room on the ledger's disk.",
            value=state.database.disk_free_bytes,
        )

    def _events(self) -> Iterable[Metric]:
        events = CounterMetricFamily(
            "meterline_events", "Events by what became of them.", labels=["outcome"]
        )
        counts = self._state.events
        for name in ("recorded", "ingested", "lost", "duplicates"):
            events.add_metric([name], getattr(counts, name))
        yield events
        yield GaugeMetricFamily(
            "meterline_events_in_flight",
            "Recorded at the apps and not stored yet.",
            value=counts.in_flight,
        )
        yield CounterMetricFamily(
            "meterline_events_unattributed",
            "Stored events that nobody can be billed for.",
            value=counts.unattributed,
        )
        refusals = CounterMetricFamily(
            "meterline_refusals", "Connections refused, by reason.", labels=["code"]
        )
        for code, n_refusals in self._state.refusals.items():
            refusals.add_metric([code], n_refusals)
        yield refusals
        producers = GaugeMetricFamily(
            "meterline_producers", "Worker processes.", labels=["state"]
        )
        for name in ("open", "closed", "connected"):
            producers.add_metric([name], getattr(self._state.producers, name))
        yield producers

    def _freshness(self) -> Iterable[Metric]:
        state = self._state
        yield GaugeMetricFamily(
            "meterline_aggregation_behind_events",
            "Events that are not added up yet.",
            value=state.aggregation.behind_events,
        )
        for name, text, at_ms in (
            ("aggregation", "the last aggregation", state.aggregation.last_success_ms),
            ("last_event", "the newest event", state.last_event_ms),
        ):
            if at_ms is not None:
                yield GaugeMetricFamily(
                    f"meterline_{name}_timestamp_seconds",
                    f"When {text} was, in UTC seconds.",
                    value=at_ms / 1000,
                )


ROUTES = [
    Route("/livez", livez),
    Route("/readyz", readyz),
    Route("/status", status),
    Route("/metrics", metrics),
]
