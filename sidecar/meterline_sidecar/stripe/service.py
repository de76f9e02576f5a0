"""Reporting to Stripe as the rest of the sidecar sees it: when it happens, and its end."""

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Final

from meterline_pricing import Calendar, Period
from meterline_sidecar.clock import DAY_MS, HOUR_MS, Clock
from meterline_sidecar.config.shape import Config
from meterline_sidecar.errors import MeterlineError, RetryLater, StripeRefused
from meterline_sidecar.store import facts, outbox
from meterline_sidecar.store.port import Database
from meterline_sidecar.stripe.billed import BilledMeters
from meterline_sidecar.stripe.by_hand import RowsByHand
from meterline_sidecar.stripe.copy_guard import CopyGuard, read_suspicion
from meterline_sidecar.stripe.door import StripeDoor
from meterline_sidecar.stripe.enqueue import Enqueuer
from meterline_sidecar.stripe.invoice_check import InvoiceReconciler
from meterline_sidecar.stripe.invoicing import Invoicer
from meterline_sidecar.stripe.provision.apply import Provisioner
from meterline_sidecar.stripe.reconcile import Reconciler
from meterline_sidecar.stripe.report import Reporter
from meterline_sidecar.stripe.unbilled import Unbilled
from meterline_sidecar.stripe.webhooks import Webhooks

RECONCILE_TRIED: Final = "reconcile_tried_ms"
SERIES_PER_RUN: Final = 150
"""Customers and meters that one run compares: two reads each, of 10,000 a month."""
INVOICES_PER_RUN: Final = 50
"""Invoices that one run compares, up to four reads each: one counts as two series."""
ASK_EVERY_S: Final = 60.0
"""How often the meters are asked for until they are known."""
LAG_MS: Final = 3 * HOUR_MS
"""Later hours are not compared unasked: Stripe's totals come with a delay."""


@dataclass(kw_only=True)
class StripeService:
    """The parts that report to Stripe, and when each of them acts.

    ``daemon/assemble_stripe.py`` puts it together; ``health.py`` says how it fares.
    """

    database: Database
    api: StripeDoor
    meters: BilledMeters
    enqueuer: Enqueuer
    reporter: Reporter | None
    """``None`` in a dry run: the outbox fills and nothing is sent."""
    reconciler: Reconciler
    invoice_reconciler: InvoiceReconciler
    webhooks: Webhooks
    by_hand: RowsByHand
    copy_guard: CopyGuard
    """That of the reporter."""
    provisioner: Provisioner
    unbilled: Unbilled
    clock: Clock
    invoicer: Invoicer | None = None
    """Tells Stripe of final invoices, once there is somebody who plans that."""
    reconcile_every_ms: int
    """How often totals are compared unasked; 0 for never."""
    meter_problems: tuple[str, ...] = ()
    """What is wrong with the meters at Stripe, as of the last check."""
    _knows_meters: bool = False
    _ask_at_s: float = 0.0

    def use(self, config: Config) -> None:
        """Bill what the files say from now on, once it is known to fit at Stripe."""
        self.meters.use(config)
        self._knows_meters = False
        self._ask_at_s = 0.0

    async def report(self) -> None:
        """Enqueue what is closed and send what is due."""
        meters = await self.meters.all()
        self.enqueuer.use(meters)
        self.unbilled.use(meters)
        await self.enqueuer.run()
        if self.reporter is not None:
            await self._know_meters()
            await self.reporter.run()
        else:
            await self._watch_over_copies()

    async def _watch_over_copies(self) -> None:
        """Note where the ledger is though nothing is sent yet: a copy may be later."""
        async with self.database.transaction() as tx:
            if await outbox.cursor(tx) is not None:
                await self.copy_guard.check(tx, now_ms=self.clock.now_ms())
        self.copy_guard.enrol()

    async def report_now(self) -> None:
        """Do the same, and wait for no retry: somebody asks for it."""
        if self.reporter is not None:
            self.reporter.hurry()
        await self.report()

    async def lead(self) -> None:
        """Forget what is known of what was told: another process went on with it."""
        self.copy_guard.forget()
        if self.invoicer is not None:
            self.invoicer.forget()

    async def check_meters(self) -> None:
        """Compare the meters at Stripe with how they add up here.

        A meter without a time window would add the corrections of a ``set`` hour to
        it, where they should take its place: nothing is told to one that differs.
        """
        if self.reporter is not None:
            problems = await self.provisioner.meter_problems(await self.meters.all())
            self.meter_problems = tuple(problems.values())
            self.reporter.hold(problems)
            self._knows_meters = True

    async def _know_meters(self) -> None:
        """Look at the meters before anything is told, as far as Stripe can be asked."""
        now_s = asyncio.get_running_loop().time()
        if not self._knows_meters and now_s >= self._ask_at_s:
            self._ask_at_s = now_s + ASK_EVERY_S
            # Who may not read, or cannot now, tells as ever: the refusal of a meter
            # that does not fit is not known then. The schedule asks again.
            with contextlib.suppress(RetryLater, StripeRefused):
                await self.check_meters()

    async def reconcile_if_due(self) -> None:
        """Compare this month with Stripe's totals, and the last one until it is equal.

        So are invoices of periods that ended in these months, line by line.

        Once in ``reconcile_every_ms``, however often it is called and restarted:
        Stripe counts reads.
        """
        now_ms = self.clock.now_ms()
        async with self.database.reading() as tx:
            tried_ms = int(await facts.get_fact(tx, RECONCILE_TRIED) or 0)
            suspicion = await read_suspicion(tx)
        is_recent = abs(now_ms - tried_ms) < self.reconcile_every_ms
        if suspicion is not None and tried_ms < suspicion.told_ms + LAG_MS <= now_ms:
            is_recent = False  # what is held for it can be settled from now on
        if self.reporter is None or not self.reconcile_every_ms or is_recent:
            return
        await self._note_try(now_ms)
        try:
            await self._reconcile_months(now_ms)
        except MeterlineError:
            await self._note_try(now_ms - self.reconcile_every_ms + HOUR_MS)
            raise

    async def _note_try(self, at_ms: int) -> None:
        async with self.database.transaction() as tx:
            await facts.put_fact(tx, RECONCILE_TRIED, str(at_ms))

    async def _reconcile_months(self, now_ms: int) -> None:
        this = Calendar().at(now_ms)
        before = Calendar().at(this.start - 1)
        n_done = await self.invoice_reconciler.watch(
            start_ms=before.start - DAY_MS,
            end_ms=now_ms,
            invoices_max=INVOICES_PER_RUN,
        )
        left = SERIES_PER_RUN - 2 * n_done
        n_done = await self._reconcile(before, now_ms=now_ms, series_max=left // 2)
        await self._reconcile(this, now_ms=now_ms, series_max=left - n_done)

    async def _reconcile(self, month: Period, *, now_ms: int, series_max: int) -> int:
        """Compare what Stripe has had time to add up; return how many series."""
        end_ms = min(month.end, (now_ms - LAG_MS) // HOUR_MS * HOUR_MS)
        if end_ms <= month.start:
            return 0
        return await self.reconciler.watch(
            start_ms=month.start, end_ms=end_ms, series_max=series_max
        )

    async def stop(self, *, timeout_s: float) -> None:
        """Send nothing more, and wait for the answers that are due.

        What is not answered in time is sent again after the next start.
        """
        if self.reporter is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.reporter.stop(), timeout_s)

    async def close(self) -> None:
        """End every connection to Stripe."""
        await self.api.close()
