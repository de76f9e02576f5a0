"""Is it working: ``/livez``, ``/readyz``, ``/status``."""

import shutil
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

import meterline
from meterline.wire import ledger_text
from meterline_sidecar.clock import DAY_MS, format_time_ms, time_text
from meterline_sidecar.config.alike import differing
from meterline_sidecar.fleet.forgotten import n_not_lost
from meterline_sidecar.ingest.receiver import Receiver
from meterline_sidecar.ledger.backup import last_backup
from meterline_sidecar.printable import printable
from meterline_sidecar.problems.catalogue import found, in_order
from meterline_sidecar.problems.problem import Found, n_of, such_as
from meterline_sidecar.schedule import JobState
from meterline_sidecar.store import fleet
from meterline_sidecar.store import outbox_sending as sending
from meterline_sidecar.store.edge import event_log as audit
from meterline_sidecar.store.edge import events as event_store
from meterline_sidecar.store.edge import external, gaps, imports
from meterline_sidecar.stripe.health import StripeHealth, read_health
from meterline_sidecar.usage.counted import counted
from meterline_sidecar.web.answers.status import (
    AggregationStatus,
    DatabaseStatus,
    EventCounts,
    ExternalCounts,
    JobStatus,
    ProducerCounts,
    ProducerStatus,
    ReconciliationStatus,
    Status,
)
from meterline_sidecar.web.api.edges import shown_edges, shown_forwarding, shown_leader
from meterline_sidecar.web.health import (
    DISK_FREE_LOW,
    SILENT_GAP_MS,
    running_problems,
)
from meterline_sidecar.web.operations import Operation
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.query import Nothing

PRODUCERS_SHOWN: Final = 100
UNLIKE_SHOWN: Final = 3
IN_MEMORY_MS: Final = DAY_MS
"""For so long a worker with events in memory is told of that was not heard again: it may
have been killed, and would be told of for ever."""


class _Read(NamedTuple):
    """What one snapshot of the ledger says."""

    counts: audit.Counts
    not_lost: int
    """Events that are forgotten here, and count at the centre."""
    producers: list[event_store.ProducerRow]
    edges: dict[str, str]
    """The names of the edges that these send to, by producer."""
    n_at_edges: int
    silent: gaps.SilentGaps
    last_event_id: int
    last_event_ms: int | None
    last_confirmed_ms: int | None
    usage: AggregationStatus
    conflicts: external.Conflicts
    imports: list[imports.ImportRow]
    """Those that wait to be decided about."""


async def _read(parts: Parts) -> _Read:
    async with parts.database.reading() as tx:
        at = await counted(tx)
        last_event_id = await audit.last_event_id(tx)
        counts = await audit.counts(tx)
        if counts.memory:
            since_ms = parts.clock.now_ms() - IN_MEMORY_MS
            n_seen = await event_store.n_in_memory(tx, seen_since_ms=since_ms)
            counts = counts._replace(memory=n_seen)
        producers = await event_store.list_producers(tx, limit=PRODUCERS_SHOWN)
        names = [row.producer for row in producers]
        return _Read(
            counts=counts,
            not_lost=await n_not_lost(tx),
            producers=producers,
            edges=await fleet.edge_names_of(tx, names),
            n_at_edges=await fleet.n_open_at_edges(tx),
            silent=await gaps.silent_gaps(tx, seen_before_ms=_heard_since_ms(parts)),
            last_event_id=last_event_id,
            last_event_ms=await audit.newest_event_ms(tx),
            last_confirmed_ms=await sending.last_confirmed(tx),
            usage=AggregationStatus(
                last_event_id - at.up_to_event,
                time_text(at.as_of_ms),
                at.as_of_ms,
                at.recounting_percent,
            ),
            conflicts=await external.conflicts(tx),
            imports=await imports.in_state(tx, "loading", "staged"),
        )


def _alerts_of_nobody(parts: Parts) -> Iterator[Found]:
    for rule in parts.config.alert_rules:
        if rule.customer is not None and parts.customers.get(rule.customer) is None:
            yield found(
                "alert_of_nobody",
                f"alert {rule.name} is about {rule.customer}, who is unknown",
            )


async def _of_money(parts: Parts) -> list[Found]:
    """Return what is wrong with what is billed, and with where it comes from."""
    found = [*_of_fleet(parts), *parts.sign_ups.problems(), *_alerts_of_nobody(parts)]
    if not parts.config.is_edge:  # it knows no customer
        found += await parts.attention.problems()
        found += await parts.late.problems()
    return found


def _of_fleet(parts: Parts) -> Iterator[Found]:
    leading = parts.leading
    if leading.trouble is not None:
        yield found("leader_unknown", f"no word of who leads: {leading.trouble}")
    if parts.files.unlike:
        texts = list(parts.files.unlike)
        yield found("files_differ", such_as(texts[:UNLIKE_SHOWN], n_all=len(texts)))
    elif leading.turn is not None and not leading.is_leader:
        tables = differing(leading.me.files, leading.turn.files)
        if tables:
            yield found(
                "files_differ",
                f"not as at {leading.turn.name}, whose files hold: {', '.join(tables)}",
            )
    if parts.edges is not None:
        yield from parts.edges.problems()
    if parts.forwarder is not None and parts.forwarder.trouble is not None:
        yield found("not_forwarded", parts.forwarder.trouble)
    if parts.forwarder is not None and parts.forwarder.recount_trouble is not None:
        yield found("job_failing", parts.forwarder.recount_trouble)
    filing = None if parts.forwarder is None else parts.forwarder.filing
    if filing is not None and filing.files.trouble is not None:
        text = (
            f"what the centre has cannot be written as a file: {filing.files.trouble}"
        )
        yield found("archive_not_written", text)


async def read_status(parts: Parts) -> Status:
    """Return the state of every part, with what is wrong."""
    read = await _read(parts)
    path = parts.config.sidecar.database
    now_ms = parts.clock.now_ms()
    backed_up = last_backup(path)
    last_backup_ms = None if backed_up is None else backed_up.finished_ms
    stripe = await read_health(parts.stripe)
    disk_free_bytes = shutil.disk_usage(path.parent).free
    problems = running_problems(
        parts,
        read.counts._replace(lost=read.counts.lost - read.not_lost),
        read.silent,
        read.conflicts,
        read.imports,
        usage=read.usage,
        last_event_ms=read.last_event_ms,
        disk_free_bytes=disk_free_bytes,
        backed_up=backed_up,
    )
    jobs = parts.schedule.jobs
    return Status(
        version=meterline.__version__,
        ledger=ledger_text(parts.drain.whose.ledger),
        ready=parts.ingest.storing.trouble is None,
        problems=in_order([*problems, *await _of_money(parts), *stripe.problems]),
        clock=parts.clock.rehearsal,
        started=format_time_ms(parts.started_ms),
        started_ms=parts.started_ms,
        now=format_time_ms(now_ms),
        now_ms=now_ms,
        events=_events(read.counts, excluded=parts.ingest.left_out.total),
        external=_external(parts, read.conflicts),
        refusals=dict(parts.receiver.refusals),
        producers=_producers(parts.receiver, read),
        aggregation=read.usage,
        outbox=stripe.counts,
        last_confirmed=time_text(read.last_confirmed_ms),
        last_confirmed_ms=read.last_confirmed_ms,
        last_backup=time_text(last_backup_ms),
        last_backup_ms=last_backup_ms,
        reconciliation=_reconciliation(stripe),
        database=DatabaseStatus(
            parts.database.place,
            await parts.database.size_bytes(),
            disk_free_bytes,
        ),
        role=parts.config.sidecar.role,
        leader=shown_leader(parts.leading),
        edges=shown_edges(parts.edges),
        edge_refusals={} if parts.door is None else dict(parts.door.refusals),
        forwarding=shown_forwarding(parts.forwarder),
        jobs={name: job.error for name, job in jobs.items() if job.error},
        schedule=tuple(_job(name, job) for name, job in jobs.items()),
        last_event_id=read.last_event_id,
        last_event=time_text(read.last_event_ms),
        last_event_ms=read.last_event_ms,
    )


def _external(parts: Parts, conflicts: external.Conflicts) -> ExternalCounts:
    verdicts = parts.external.verdicts
    return ExternalCounts(
        accepted=verdicts["accepted"],
        duplicate=verdicts["duplicate"],
        conflict=verdicts["conflict"],
        refused=verdicts["refused"],
        conflicts_ever=conflicts.events,
    )


def _reconciliation(stripe: StripeHealth) -> ReconciliationStatus:
    compared = stripe.reconciliation
    return ReconciliationStatus(
        checked=time_text(compared.checked_ms),
        checked_ms=compared.checked_ms,
        age_s=compared.age_s,
        every_s=compared.every_s,
        different=compared.different,
        invoices_checked=time_text(compared.invoices_checked_ms),
        invoices_different=compared.invoices_different,
    )


def _job(name: str, job: JobState) -> JobStatus:
    done_ms = job.last_success_ms
    return JobStatus(name, time_text(done_ms), done_ms, job.failures, job.error)


def _producers(receiver: Receiver, read: _Read) -> ProducerCounts:
    return ProducerCounts(
        read.counts.open,
        read.counts.closed,
        receiver.connections,
        read.n_at_edges,
        tuple(
            _producer(row, receiver, edge=read.edges.get(row.producer))
            for row in read.producers
        ),
    )


def _heard_since_ms(parts: Parts) -> int:
    """Return since when a worker that lives has been heard of.

    After a start of the sidecar they all get that long to come back.
    """
    now_ms = parts.clock.now_ms()
    is_new = now_ms - parts.started_ms < SILENT_GAP_MS
    return 0 if is_new else now_ms - SILENT_GAP_MS


def _events(counts: audit.Counts, *, excluded: int) -> EventCounts:
    lost = counts.lost + counts.refused
    return EventCounts(
        recorded=counts.recorded,
        ingested=counts.ingested,
        in_flight=counts.recorded - counts.ingested - lost,
        lost=lost,
        refused=counts.refused,
        duplicates=counts.duplicates,
        unattributed=counts.unattributed,
        held=counts.held,
        bad_quantities=counts.bad_quantities,
        excluded=excluded,
    )


def _producer(
    row: event_store.ProducerRow, receiver: Receiver, *, edge: str | None
) -> ProducerStatus:
    return ProducerStatus(
        producer=row.producer,
        app=row.app,
        host=row.host,
        pid=row.pid,
        recorded=row.recorded_seq,
        ingested=row.ingested,
        lost=row.lost + row.refused,
        gap=row.recorded_seq - row.last_seq,
        seen=format_time_ms(row.seen_ms),
        seen_ms=row.seen_ms,
        is_open=not row.is_closed,
        is_connected=receiver.is_connected(row.producer),
        spool=row.spool,
        edge=edge,
    )


async def livez(_request: Request) -> Response:
    """Answer that the process is alive."""
    return PlainTextResponse("ok\n")


async def readyz(request: Request) -> Response:
    """Answer whether events may come: 200, or 503 and why not.

    ``?verbose`` says how each part fares, a line each.
    """
    parts: Parts = request.app.state.parts
    storing = parts.ingest.storing
    text = "ok\n"
    if storing.trouble is not None:
        state = "send events to see" if storing.is_worth_a_try else "not ready"
        text = f"{state}: {printable(storing.trouble)}\n"
    if "verbose" in request.query_params:
        text = "".join(_checks(await read_status(parts))) + text
    return PlainTextResponse(text, 200 if storing.is_worth_a_try else 503)


def _checks(state: Status) -> Iterable[str]:
    """Yield a line for each part: ``[+]`` fares well, ``[-]`` does not."""

    def line(is_well: bool, text: str) -> str:
        return f"[{'+' if is_well else '-'}] {printable(text)}\n"

    behind = state.aggregation.behind_events
    free = state.database.disk_free_bytes
    lost = n_of(state.events.lost, "event")
    yield line(state.ready, "ledger: events can be stored")
    yield line(state.aggregation.last_success_ms is not None, f"usage: {behind} behind")
    yield line(free > DISK_FREE_LOW, f"disk: {free // 2**20} MiB free")
    yield line(
        state.events.lost == 0,
        f"apps: {state.producers.connected} connected, {lost} lost",
    )
    for problem in state.problems:
        if problem.code in ("archive_not_readable", "archive_not_written"):
            yield line(False, f"archive: {problem.text}")
    for job in state.schedule:
        yield line(job.failures == 0, f"job {job.job}: {job.error or 'ok'}")


async def get_status(parts: Parts, query: Nothing) -> Status:
    """Return the state of every part, with what is wrong and what to do about it."""
    return await read_status(parts)


OPERATIONS = (Operation("/status", get_status),)
ROUTES = [Route("/livez", livez), Route("/readyz", readyz)]
