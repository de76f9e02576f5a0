"""Is it working: ``/livez``, ``/readyz``, ``/status``."""

import shutil
from collections.abc import Iterable
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

import meterline
from meterline_sidecar.clock import format_time_ms, time_text
from meterline_sidecar.ingest.receiver import Receiver
from meterline_sidecar.ledger.backup import last_backup
from meterline_sidecar.store import outbox_sending as sending
from meterline_sidecar.store.edge import event_log as audit
from meterline_sidecar.store.edge import events as event_store
from meterline_sidecar.stripe.health import read_health
from meterline_sidecar.usage.counted import counted, recounted_percent
from meterline_sidecar.web.answers.status import (
    AggregationStatus,
    DatabaseStatus,
    EventCounts,
    JobStatus,
    ProducerCounts,
    ProducerStatus,
    ReconciliationStatus,
    Status,
)
from meterline_sidecar.web.operations import Operation
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.query import Nothing

PRODUCERS_SHOWN: Final = 100
DISK_FREE_MIN: Final = 256 << 20  # a day of 100 events/s, and then some


async def read_status(parts: Parts) -> Status:
    """Return the state of every part, with what is wrong in words."""
    async with parts.database.reading() as tx:
        counts = await audit.counts(tx)
        producers = await event_store.list_producers(tx, limit=PRODUCERS_SHOWN)
        last_event_id = await audit.last_event_id(tx)
        at = await counted(tx)
        recounting = await recounted_percent(tx)
        last_event_ms = await audit.newest_event_ms(tx)
        last_confirmed_ms = await sending.last_confirmed(tx)
    now_ms = parts.clock.now_ms()
    backed_up = last_backup(parts.config.sidecar.database)
    last_backup_ms = None if backed_up is None else backed_up.finished_ms
    stripe = await read_health(parts.stripe)
    compared = stripe.reconciliation
    path = parts.config.sidecar.database
    problems = (*_problems(parts, counts), *stripe.problems)
    return Status(
        version=meterline.__version__,
        ready=parts.ingest.trouble is None,
        problems=problems,
        clock=parts.clock.rehearsal,
        started=format_time_ms(parts.started_ms),
        started_ms=parts.started_ms,
        now=format_time_ms(now_ms),
        now_ms=now_ms,
        events=_events(counts),
        refusals=dict(parts.receiver.refusals),
        producers=ProducerCounts(
            counts.open,
            counts.closed,
            parts.receiver.connections,
            tuple(_producer(row, parts.receiver) for row in producers),
        ),
        aggregation=AggregationStatus(
            last_event_id - at.up_to_event,
            time_text(at.as_of_ms),
            at.as_of_ms,
            recounting,
        ),
        outbox=stripe.counts,
        last_confirmed=time_text(last_confirmed_ms),
        last_confirmed_ms=last_confirmed_ms,
        last_backup=time_text(last_backup_ms),
        last_backup_ms=last_backup_ms,
        reconciliation=ReconciliationStatus(
            checked=time_text(compared.checked_ms),
            checked_ms=compared.checked_ms,
            age_s=compared.age_s,
            every_s=compared.every_s,
            different=compared.different,
        ),
        database=DatabaseStatus(
            parts.database.place,
            await parts.database.size_bytes(),
            shutil.disk_usage(path.parent).free,
        ),
        jobs={
            name: job.error for name, job in parts.schedule.jobs.items() if job.error
        },
        schedule=tuple(
            JobStatus(
                name,
                time_text(job.last_success_ms),
                job.last_success_ms,
                job.failures,
                job.error,
            )
            for name, job in parts.schedule.jobs.items()
        ),
        last_event_id=last_event_id,
        last_event=time_text(last_event_ms),
        last_event_ms=last_event_ms,
    )


def _events(counts: audit.Counts) -> EventCounts:
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
    )


def _producer(row: event_store.ProducerRow, receiver: Receiver) -> ProducerStatus:
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
    )


def _problems(parts: Parts, counts: audit.Counts) -> Iterable[str]:
    """Yield what a person should look at, in words."""
    if parts.ingest.trouble is not None:
        yield f"events cannot be stored: {parts.ingest.trouble}"
    if parts.alarm is not None:
        yield (
            f"nothing is billed: {parts.alarm}; run `meterline verify`, and when you"
            " know what happened, stop the sidecar and run `meterline verify --accept`"
        )
    if parts.ingest.head_trouble is not None:
        yield f"the chain's head cannot be written: {parts.ingest.head_trouble}"
    if parts.drain.trouble is not None:
        yield f"spools of dead workers cannot be read: {parts.drain.trouble}"
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
            " 5 minutes ahead or 35 days behind; look at them with `meterline held"
            " list`, then accept or reject them"
        )
    if counts.bad_quantities:
        yield (
            f"{counts.bad_quantities} event(s) had a quantity that could not be taken:"
            " it was no whole number, or out of bounds, and is not billed; the app's log"
            " says which, and `meterline events --json` flags them as bad_quantity"
        )
    for name, job in parts.schedule.jobs.items():
        if job.error is not None:
            yield f"job {name} failed {job.failures} time(s) in a row: {job.error}"


async def livez(_request: Request) -> Response:
    """Answer that the process is alive."""
    return PlainTextResponse("ok\n")


async def readyz(request: Request) -> Response:
    """Answer whether events can be stored: 200, or 503 and why not.

    ``?verbose`` says how each part fares, a line each.
    """
    parts: Parts = request.app.state.parts
    trouble = parts.ingest.trouble
    text = "ok\n" if trouble is None else f"not ready: {trouble}\n"
    if "verbose" in request.query_params:
        text = "".join(_checks(await read_status(parts))) + text
    return PlainTextResponse(text, 200 if trouble is None else 503)


def _checks(state: Status) -> Iterable[str]:
    """Yield a line for each part: ``[+]`` fares well, ``[-]`` does not."""

    def line(is_well: bool, text: str) -> str:
        return f"[{'+' if is_well else '-'}] {text}\n"

    behind = state.aggregation.behind_events
    free = state.database.disk_free_bytes
    yield line(state.ready, "ledger: events can be stored")
    yield line(state.aggregation.last_success_ms is not None, f"usage: {behind} behind")
    yield line(free > DISK_FREE_MIN, f"disk: {free // 2**20} MiB free")
    yield line(
        state.events.lost == 0,
        f"apps: {state.producers.connected} connected, {state.events.lost} events lost",
    )
    for job in state.schedule:
        yield line(job.failures == 0, f"job {job.job}: {job.error or 'ok'}")


async def get_status(parts: Parts, query: Nothing) -> Status:
    """Return the state of every part, with what is wrong in words."""
    return await read_status(parts)


OPERATIONS = (Operation("/status", get_status),)
ROUTES = [Route("/livez", livez), Route("/readyz", readyz)]
