"""Puts closed hours of usage into the outbox, as rows for Stripe."""

import asyncio
import hashlib
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from meterline_sidecar.clock import HOUR_MS, Clock
from meterline_sidecar.decimals import Number, in_units, minus, of_units, plus
from meterline_sidecar.meters import AGGREGATIONS, Aggregation, Totals, merge, quantity
from meterline_sidecar.store import changes, facts, generations, outbox, outbox_hours
from meterline_sidecar.store import subjects as subject_store
from meterline_sidecar.store import usage as usage_store
from meterline_sidecar.store.outbox import Issued, NewRow
from meterline_sidecar.store.port import Database, Tx
from meterline_sidecar.stripe.billed import BilledMeter, formula_of
from meterline_sidecar.stripe.meter_events import (
    AGE_MS_MAX,
    PARTS_MAX,
    VALUE_MAX,
    identifier,
    is_tellable,
    split,
)

EVENTS_PER_STEP: Final = 200_000
HOURS_PER_STEP: Final = 100
NEW_ROWS_PER_STEP: Final = 500  # in one transaction, while ingest waits for it
SUBJECTS_PER_STEP: Final = 1_000
ROWS_PER_STEP: Final = 50_000
ENQUEUED_FOR: Final = "issued_for"
"""The fact that says which meters and customers the outbox was last filled for.
Under its first name: a new one would have every ledger compare all its hours once."""
TOLD_BY_A_COPY: Final = "this ledger is a copy: another may have told this already"
INT_MAX: Final = 2**63 - 1  # what the database keeps as an integer
SETTLE_MS: Final = 60_000
"""An hour is enqueued this long after its end: most late events are in by then."""


class Enqueuer:
    """Compares changed hours with the outbox, and adds what is missing there.

    Adding is idempotent: an hour that is compared twice adds nothing the second
    time. Rows are never changed; a later part corrects the earlier ones.
    """

    def __init__(
        self,
        database: Database,
        *,
        meters: Sequence[BilledMeter],
        customers: Mapping[str, str | None],
        starts_ms: Mapping[str, int] | None = None,
        is_collected: Callable[[str], bool] = lambda _: False,
        clock: Clock,
        settle_ms: int = SETTLE_MS,
    ) -> None:
        """Take the billed meters, and every customer's Stripe id where it has one.

        Args:
            starts_ms: before when a customer is not billed.
            is_collected: says whose invoices are collected through Stripe, by our id:
                it is told nothing of their usage.
        """
        self._database = database
        self._running = asyncio.Lock()
        self._meters = self._wanted = tuple(meters)
        self._customers = customers  # as they are when a row is made
        self._starts_ms: Mapping[str, int] = {} if starts_ms is None else starts_ms
        self._is_collected = is_collected
        self._clock = clock
        self._settle_ms = settle_ms

    def use(self, meters: Sequence[BilledMeter]) -> None:
        """Bill these meters from the next run on."""
        self._wanted = tuple(meters)

    async def run(self) -> int:
        """Enqueue every closed hour that changed; return the number of new rows.

        While usage is counted anew (the meters were changed), nothing is enqueued.
        """
        # One at a time: an hour is forgotten only when all meters of now are told of.
        async with self._running:
            self._meters = self._wanted
            return await self._run()

    async def _run(self) -> int:
        await self._map_waiting()
        if not await self._note_changes():
            return 0
        await self._note_all_if_changed()
        n_rows = 0
        while hours := await self._next_hours():
            n_new = await self._enqueue(hours)
            if n_new is None:
                break
            n_rows += n_new
        return n_rows

    async def _enqueue(self, hours: list[tuple[str, int]]) -> int | None:
        """Compare the first of these hours; ``None`` amid a correction: all wait."""
        n_rows = n_hours = 0
        async with self._database.transaction() as tx:
            generation = await usage_store.newest_generation(tx)
            assert generation is not None, "changes were noted from it"
            if await generations.is_being_corrected(
                tx, generation.id, generation.cursor
            ):
                return None
            for customer, hour_ms in hours:
                n_rows += await self._compare(
                    tx, generation.id, customer=customer, hour_ms=hour_ms
                )
                n_hours += 1
                if n_rows >= NEW_ROWS_PER_STEP:
                    break
            await outbox_hours.forget_hours(tx, hours[:n_hours])
        return n_rows

    async def _map_waiting(self) -> None:
        async with self._database.transaction() as tx:
            await outbox.start(tx, secrets.token_hex(8))
            cursor = await outbox.cursor(tx)
            assert cursor is not None, "started above"
            for customer in await outbox.unmapped(tx):
                stripe_customer = self._customers.get(customer)
                if stripe_customer is not None:
                    await outbox.map_customer(
                        tx,
                        customer,
                        stripe_customer,
                        suspect_ms=cursor.suspect_ms,
                        reason=TOLD_BY_A_COPY,
                    )

    async def _note_changes(self) -> bool:
        """Note which hours changed; return whether usage is fit for it."""
        while True:
            async with self._database.reading() as tx:
                generation = await usage_store.newest_generation(tx)
                cursor = await outbox.cursor(tx)
                assert cursor is not None, "started above"
                if generation is None or generation.cursor < cursor.event_id:
                    return False
                if generation.cursor == cursor.event_id:
                    return True
                up_to = min(generation.cursor, cursor.event_id + EVENTS_PER_STEP)
                span = {"after_event_id": cursor.event_id, "up_to_event_id": up_to}
                hours: list[tuple[str, int]] = []
                if self._meters:  # once there are any, all hours are noted
                    hours = await changes.changed_hours(tx, generation.id, **span)
            async with self._database.transaction() as tx:
                await outbox_hours.note_hours(tx, hours, up_to_event_id=up_to)

    async def _note_all_if_changed(self) -> None:
        """Note every hour that Stripe still takes if other usage is billed than before.

        A meter that is billed from now on, or counts something else, or a customer
        who starts on another day: then hours that did not change say something new.
        """
        async with self._database.reading() as tx:
            generation = await usage_store.newest_generation(tx)
            assert generation is not None, "changes were noted from it"
            known = await facts.get_fact(tx, ENQUEUED_FOR)
        billed = sorted(
            # A mode by itself where it is not the usual one: written otherwise, it
            # would have every ledger compare all its hours once.
            # So are the meters before it.
            (
                meter.name,
                meter.event_name,
                *(["set"] if meter.mode == "set" else []),
                *meter.former,
            )
            for meter in self._meters
        )
        starts = sorted(self._starts_ms.items()) if billed else []
        enqueued_for = hashlib.sha256(
            msgspec.json.encode((generation.definition, billed, starts))
        ).hexdigest()
        if known == enqueued_for:
            return
        if billed:
            since_ms = self._clock.now_ms() - AGE_MS_MAX
            await self._note_used(since_ms)
            await self._note_enqueued(since_ms)
        async with self._database.transaction() as tx:
            await facts.put_fact(tx, ENQUEUED_FOR, enqueued_for)

    async def _note_used(self, since_ms: int) -> None:
        ids = [0]
        while ids:
            async with self._database.transaction() as tx:
                subjects = await subject_store.subjects_after(
                    tx, ids[-1], limit=SUBJECTS_PER_STEP
                )
                ids = [subject_id for subject_id, _, _ in subjects]
                await outbox_hours.note_subjects(tx, ids, since_ms=since_ms)

    async def _note_enqueued(self, since_ms: int) -> None:
        """Note hours that had usage by the former rule, and may have none now."""
        last_id: int | None = 0
        while last_id is not None:
            async with self._database.transaction() as tx:
                last_id = await outbox_hours.note_issued(
                    tx, last_id, since_ms=since_ms, limit=ROWS_PER_STEP
                )

    async def _next_hours(self) -> list[tuple[str, int]]:
        now_ms = self._clock.now_ms() - self._settle_ms
        async with self._database.reading() as tx:
            return await outbox_hours.closed_hours(
                tx, closed_ms=now_ms // HOUR_MS * HOUR_MS, limit=HOURS_PER_STEP
            )

    async def _compare(
        self, tx: Tx, generation: int, *, customer: str, hour_ms: int
    ) -> int:
        """Add what the outbox does not say yet about an hour; return the rows."""
        is_told = self._meters and customer in self._customers
        if not is_told or self._is_collected(customer):
            return 0
        end_ms = hour_ms + HOUR_MS
        start_ms = min(max(hour_ms, self._starts_ms.get(customer, 0)), end_ms)
        rows = await usage_store.read_usage(
            tx, generation, customer=customer, start=start_ms, end=end_ms
        )
        totals = billed_totals((row.totals for row in rows), self._meters)
        n_rows = 0
        for meter in self._meters:
            known = await outbox.issued(
                tx,
                customer=customer,
                event_name=meter.event_name,
                hour_ms=hour_ms,
                value_max=VALUE_MAX,
                meters=(meter.name, *meter.former),
            )
            total = plus(quantity(totals.get(meter.name, 0)), _kept(meter, known))
            if known is not None and known.mode != meter.mode and not known.is_sent:
                n_rows += await self._say_anew(
                    tx,
                    meter,
                    customer=customer,
                    hour_ms=hour_ms,
                    total=total,
                    known=known,
                )
                continue
            if known is None:
                # A latest value of zero says something; no calls say nothing.
                is_news = total != 0 or (meter.name in totals and _says_zero(meter))
            else:
                # Once said, an hour that is too large is not said again.
                is_news = total != known.value and not (
                    known.is_too_large and not _is_tellable(total, known)
                )
            if is_news:
                n_rows += await self._add(
                    tx,
                    meter,
                    customer=customer,
                    hour_ms=hour_ms,
                    total=total,
                    known=known,
                )
        return n_rows

    async def _say_anew(
        self,
        tx: Tx,
        meter: BilledMeter,
        *,
        customer: str,
        hour_ms: int,
        total: Number,
        known: Issued,
    ) -> int:
        """Say an hour in the mode that its meter has by now: nobody was told of it."""
        first = Issued(meter.mode, known.stripe_customer, 0, known.next_part)
        n_rows = await self._add(
            tx, meter, customer=customer, hour_ms=hour_ms, total=total, known=first
        )
        newest = await outbox.newest_of_hour(
            tx, customer=customer, event_name=meter.event_name, hour_ms=hour_ms
        )
        await outbox.replace_hour(
            tx,
            customer=customer,
            event_name=meter.event_name,
            hour_ms=hour_ms,
            before_part=known.next_part,
            new_id=newest,
            now_ms=self._clock.now_ms(),
            reason=f"never sent; said again in the mode `{meter.mode}`",
        )
        return n_rows

    async def _add(
        self,
        tx: Tx,
        meter: BilledMeter,
        *,
        customer: str,
        hour_ms: int,
        total: Number,
        known: Issued | None,
    ) -> int:
        if known is None:
            known = Issued(meter.mode, self._customers[customer], 0, 0)
        # What an hour was first told as, it is corrected as: in the same mode and
        # to the same Stripe customer, whatever the configuration says by now.
        stripe_customer = known.stripe_customer or self._customers[customer]
        rest, scale = in_units(_rest(total, known))
        # As one row that is held back, where it is too much for Stripe.
        is_one = known.mode == "set" or not _is_tellable(total, known)
        values = [rest] if is_one else list(split(rest))
        cursor = await outbox.cursor(tx)
        assert cursor is not None, "started above"
        for part, value in enumerate(values, start=known.next_part):
            row = NewRow(
                customer=customer,
                stripe_customer=stripe_customer,
                meter=meter.name,
                event_name=meter.event_name,
                mode=known.mode,
                hour_ms=hour_ms,
                part=part,
                value=value,
                scale=scale,
                identifier=identifier(
                    cursor.install,
                    customer=customer,
                    event_name=meter.event_name,
                    hour_ms=hour_ms,
                    part=part,
                ),
                created_ms=self._clock.now_ms(),
            )
            await outbox.add(tx, _hold(row, suspect_ms=cursor.suspect_ms))
        return len(values)


def billed_totals(each: Iterable[Totals], meters: Iterable[BilledMeter]) -> Totals:
    """Return what several totals come to together, by the meter that tells them."""
    aggregations: dict[str, Aggregation] = {}
    teller: dict[str, str] = {}
    for meter in meters:
        aggregations[meter.name] = meter.aggregation
        teller |= dict.fromkeys((meter.name, *meter.former), meter.name)
    found: Totals = {}
    for totals in each:
        for name, total in totals.items():
            if name in teller:
                more = {teller[name]: total}
                merge(found, more=more, aggregations=aggregations)
    return found


def _hold(row: NewRow, *, suspect_ms: int) -> NewRow:
    """Return ``row``, held back when it cannot be sent as it is."""
    if abs(row.value) > VALUE_MAX:
        told = of_units(row.value, row.scale)
        reason = f"{told} has more digits than the 15 that Stripe takes"
        kept = max(-INT_MAX, min(row.value, INT_MAX))
        return replace(row, state="dead", reason=reason, value=kept)
    if row.stripe_customer is None:
        reason = f"customer {row.customer} has no stripe_customer yet"
        return replace(row, state="parked", reason=reason)
    if row.hour_ms < suspect_ms:
        return replace(row, state="unresolved", reason=TOLD_BY_A_COPY)
    return row


def _kept(meter: BilledMeter, known: Issued | None) -> Number:
    """Return what stays told of meters that are told no more, and are not taken back."""
    if known is None or formula_of(meter) != "sum":
        return 0  # levels do not add up
    return known.of_others


def _rest(total: Number, known: Issued) -> Number:
    """Return what is still to be told of an hour."""
    return total if known.mode == "set" else minus(total, known.value)


def _is_tellable(total: Number, known: Issued) -> bool:
    parts_max = 1 if known.mode == "set" else PARTS_MAX
    units, _ = in_units(_rest(total, known))
    return is_tellable(units, parts_max=parts_max)


def _says_zero(meter: BilledMeter) -> bool:
    hourly = AGGREGATIONS[meter.aggregation].hourly
    return hourly is not None and hourly.zero_is_news
