"""When a period may be closed: after its end, over a trusted ledger without gaps."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, Protocol

from meterline_pricing import Period
from meterline_sidecar.billing.drafts import NotBillable
from meterline_sidecar.clock import Clock, format_time_ms
from meterline_sidecar.problems.problem import n_of, such_as
from meterline_sidecar.store.edge import gaps as store
from meterline_sidecar.store.edge.gaps import Gap
from meterline_sidecar.store.edge.held import held_of_period
from meterline_sidecar.store.port import Database, Tx

LOOKS_MAX: Final = 10
LOOK_EVERY_S: Final = 0.2  # a worker ships more often
NAMED_MAX: Final = 10
ALIVE_MS: Final = 10_000
"""What a worker recorded is on its way as long as it was heard of this lately."""


class Spools(Protocol):
    """Knows what waits elsewhere: on the disks of workers, and at edges."""

    async def waiting(self, *, before_ms: int) -> tuple[str, ...]:
        """Return in words which spools of workers that started before then do."""
        ...

    def behind(self, *, before_ms: int) -> tuple[tuple[str, str], ...]:
        """Return which edges may have events from before then: their names, and how."""
        ...


def check_closable(period: Period, *, now_ms: int, alarm: str | None) -> None:
    """Check that nothing but a gap can speak against closing a period now.

    Args:
        alarm: why the ledger is not trusted, if it is not.

    Raises:
        NotBillable: something does; the text says what.
    """
    if alarm is not None:
        raise NotBillable(f"the ledger is not trusted: {alarm}")
    if now_ms < period.end:
        raise NotBillable(
            f"period {period.name} ends on {format_time_ms(period.end)}: only then"
            " can its invoice be final"
        )


class Missing(NamedTuple):
    """What of a period that is over has not arrived."""

    gaps: list[Gap]
    waiting: tuple[str, ...]
    """In words, the spools that may hold something of it."""
    edges: tuple[tuple[str, str], ...] = ()
    """Edges that may: their names, and how they stand, in words."""


async def missing_of(
    database: Database, spools: Spools, period: Period, *, clock: Clock
) -> Missing:
    """Return what is missing of a period that is over, after a moment's wait for it."""
    waiting = await _waiting_of(spools, period)
    gaps = await _gaps_of(database, period, clock=clock)
    return Missing(gaps, waiting, spools.behind(before_ms=period.end))


async def _waiting_of(spools: Spools, period: Period) -> tuple[str, ...]:
    """Return which spools may hold something of a period that is over.

    After a start, workers and edges come back and the spools of dead workers are taken
    in: this waits a moment for that.
    """
    for _ in range(LOOKS_MAX):
        waiting = await spools.waiting(before_ms=period.end)
        if not waiting and not spools.behind(before_ms=period.end):
            return ()
        await asyncio.sleep(LOOK_EVERY_S)
    return await spools.waiting(before_ms=period.end)


async def _gaps_of(database: Database, period: Period, *, clock: Clock) -> list[Gap]:
    """Return what is missing of a period that is over.

    What live workers record from now on is of a later time, by the order of its
    numbers. So this waits a moment until what they have recorded by now is here.
    """
    gaps = await _look(database, period)
    recorded = {gap.producer: gap.last_seq for gap in gaps}
    for _ in range(LOOKS_MAX):
        if not any(clock.now_ms() - gap.seen_ms < ALIVE_MS for gap in gaps):
            break
        await asyncio.sleep(LOOK_EVERY_S)
        before = gaps
        gaps = [
            gap._replace(last_seq=recorded[gap.producer])
            for gap in await _look(database, period)
            if gap.first_seq <= recorded.get(gap.producer, 0)
        ]
        if [gap.first_seq for gap in gaps] == [gap.first_seq for gap in before]:
            break  # nothing of it comes
    return gaps


async def _look(database: Database, period: Period) -> list[Gap]:
    async with database.reading() as tx:
        return await store.open_gaps(tx, start_ms=period.start, end_ms=period.end)


def check_gaps(
    period: Period,
    missing: Missing,
    *,
    accept_gap: bool,
    accept_edge: str | None = None,
) -> tuple[str, ...]:
    """Return the gaps that are accepted, in words; they are noted on the invoice.

    Args:
        period: which is to be closed.
        missing: what of it has not arrived.
        accept_gap: give up all of that.
        accept_edge: give up what this edge alone may have.

    Raises:
        NotBillable: there are gaps, and they are not accepted.
    """
    spools = tuple(
        f"events that wait in {text} have not been stored" for text in missing.waiting
    )
    gaps = tuple(
        f"producer {gap.producer} ({gap.app}, process {gap.pid} on {gap.host})"
        f" recorded {gap.first_seq} to {gap.last_seq}, which have not arrived"
        for gap in missing.gaps
    )
    gaps += spools
    if gaps and not accept_gap:
        raise NotBillable(
            f"period {period.name} has open gaps: {_listed(gaps)}. Wait for them, which"
            " takes seconds while the worker lives or its spool is there, or give them"
            " up with --accept-gap"
        )
    open_edges = [
        text for name, text in missing.edges if not accept_gap and name != accept_edge
    ]
    if open_edges:
        raise NotBillable(
            f"period {period.name} waits for edges: {_listed(open_edges)}. Start them,"
            " or find out what delays them; retire one that will never come back with"
            " `meterline"
            " edges retire EDGE`, and what one may still have is given up with"
            " --accept-gap EDGE"
        )
    return gaps + tuple(text for _, text in missing.edges)


def _listed(texts: Sequence[str]) -> str:
    return such_as(list(texts[:NAMED_MAX]), n_all=len(texts))


async def note_accepted(tx: Tx, missing: Iterable[Gap]) -> None:
    """Note that somebody gave up what is missing, in the transaction that bills so."""
    for gap in missing:
        await store.accept_gap(tx, producer=gap.producer, last_seq=gap.last_seq)


async def check_held(tx: Tx, customer: str, period: Period) -> None:
    """Check that nothing is held that could be of this customer's period.

    Raises:
        NotBillable: there is, and nobody has decided about it.
    """
    held = [
        f"{n_of(of.events, 'event')} of producer {of.producer} ({of.app}, process"
        f" {of.pid}"
        f" on {of.host}) that say {_span(of.first_ms, of.last_ms)}"
        for of in await held_of_period(tx, customer, start=period.start, end=period.end)
    ]
    if held:
        raise NotBillable(
            f"period {period.name} may include held events, whose time cannot be"
            f" right: {'; '.join(held)}. Look at them with `meterline held list"
            f" --customer {customer}`, then decide: `meterline held accept --customer"
            f" {customer} --reason ...` bills it, `meterline held reject` does not"
        )


def _span(first_ms: int, last_ms: int) -> str:
    first, last = format_time_ms(first_ms), format_time_ms(last_ms)
    return first if first == last else f"{first} to {last}"
