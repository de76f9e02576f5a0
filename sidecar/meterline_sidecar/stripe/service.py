"""Everything that tells Stripe, put together from the configuration."""

import asyncio
import contextlib
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from msgspec import Struct

from meterline_pricing import Calendar, Period
from meterline_sidecar.access.secret import SecretSource
from meterline_sidecar.clock import HOUR_MS, Clock, SystemClock
from meterline_sidecar.config.shape import STRIPE_KEY_VARIABLE, Config, calendar_of
from meterline_sidecar.errors import MeterlineError
from meterline_sidecar.store import facts, outbox, reconciliation, stripe_events
from meterline_sidecar.store import outbox_sending as sending
from meterline_sidecar.store.outbox import State
from meterline_sidecar.store.sqlite.driver import SqliteDatabase
from meterline_sidecar.stripe.api import StripeApi
from meterline_sidecar.stripe.by_hand import OutboxDesk
from meterline_sidecar.stripe.copy_guard import SentMark
from meterline_sidecar.stripe.issue import BilledMeter, Issuer
from meterline_sidecar.stripe.pacing import Rate
from meterline_sidecar.stripe.provision.apply import Provisioner
from meterline_sidecar.stripe.reconcile import Reconciler
from meterline_sidecar.stripe.report import Reporter
from meterline_sidecar.stripe.webhooks import Webhooks

RATE_LIVE: Final = 500
RATE_SANDBOX: Final = 25
"""Source: docs.stripe.com/rate-limits, read 2026-05-05; live mode takes 1,000."""
RECONCILE_TRIED: Final = "reconcile_tried_ms"
SERIES_PER_RUN: Final = 300
"""Customers and meters that one run compares: a read each, of 10,000 a month."""
SKEW_S_MAX: Final = 60
ATTEMPTS_SAID: Final = 6
"""A row that failed so often, in about a minute, is told of in ``/status``."""
LAG_MS: Final = 3 * HOUR_MS
"""Later hours are not compared by themselves: Stripe's totals come with a delay."""
SECRET_VARIABLE: Final = "METERLINE_STRIPE_WEBHOOK_SECRET"  # noqa: S105 - its name


class ReconciliationStatus(Struct, frozen=True, kw_only=True):
    """The last comparison with Stripe's own totals."""

    checked_ms: int | None
    """``None`` before the first."""
    age_s: int | None
    every_s: int
    """How often it happens by itself; 0 for never."""
    different: int
    """Customers and meters, by month, that did not match."""


class Look(NamedTuple):
    """How telling Stripe fares."""

    counts: dict[State, int]
    """How many rows of the outbox are in each state."""
    reconciliation: ReconciliationStatus
    problems: tuple[str, ...]
    """What a person should look at, in words."""


@dataclass(frozen=True, kw_only=True)
class StripeSide:
    """The parts that tell Stripe."""

    database: SqliteDatabase
    api: StripeApi
    issuer: Issuer
    reporter: Reporter | None
    """``None`` in a dry run: the outbox fills and nothing is sent."""
    reconciler: Reconciler
    webhooks: Webhooks
    desk: OutboxDesk
    provisioner: Provisioner
    clock: Clock
    reconcile_every_ms: int
    drift: list[str] = field(default_factory=list[str])
    """What is wrong with the meters at Stripe, as of the last look."""

    async def report(self) -> None:
        """Issue what is closed and send what is due."""
        await self.issuer.run()
        if self.reporter is not None:
            await self.reporter.run()

    async def report_now(self) -> None:
        """Do the same, and wait for no retry: somebody asks for it."""
        if self.reporter is not None:
            self.reporter.hurry()
        await self.report()

    async def look_at_meters(self) -> None:
        """See whether the meters at Stripe are such as the configuration says.

        A ``set`` hour that is told to a meter without a time window would be added
        up with its corrections.
        """
        if self.reporter is not None:
            self.drift[:] = await self.provisioner.drift()

    async def reconcile_if_due(self) -> None:
        """Compare this month with Stripe's totals, and the last one until it is equal.

        Once in ``reconcile_every_ms``, however often it is called and restarted:
        Stripe counts reads.
        """
        now_ms = self.clock.now_ms()
        async with self.database.reading() as tx:
            tried = await facts.get_fact(tx, RECONCILE_TRIED)
        is_recent = abs(now_ms - int(tried or 0)) < self.reconcile_every_ms
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
        n_series = await self._reconcile(before, now_ms, SERIES_PER_RUN // 2)
        await self._reconcile(this, now_ms, SERIES_PER_RUN - n_series)

    async def _reconcile(self, month: Period, now_ms: int, series_max: int) -> int:
        """Compare what Stripe has had time to add up; return how many series."""
        end_ms = min(month.end, (now_ms - LAG_MS) // HOUR_MS * HOUR_MS)
        if end_ms <= month.start:
            return 0
        return await self.reconciler.watch(
            start_ms=month.start, end_ms=end_ms, series_max=series_max
        )

    async def look(self) -> Look:
        """Return how telling Stripe fares, in one look at the ledger."""
        async with self.database.reading() as tx:
            counts = await outbox.counts(tx)
            checked_ms, n_different = await reconciliation.last(tx)
            n_unexplained = await stripe_events.unexplained(tx)
            n_failing, why = await sending.failing(tx, attempts_min=ATTEMPTS_SAID)
        age_ms = None if checked_ms is None else self.clock.now_ms() - checked_ms
        compared = ReconciliationStatus(
            checked_ms=checked_ms,
            age_s=None if age_ms is None else age_ms // 1_000,
            every_s=self.reconcile_every_ms // 1_000,
            different=n_different,
        )
        problems = [*self._problems(counts, compared, n_unexplained)]
        if n_failing:
            problems.append(f"{n_failing} outbox row(s) fail again and again: {why}")
        return Look(counts, compared, tuple(problems))

    def _problems(
        self,
        counts: dict[State, int],
        compared: ReconciliationStatus,
        n_unexplained: int,
    ) -> Iterator[str]:
        """Yield what a person should look at, in words."""
        if self.reporter is not None and self.reporter.problem is not None:
            yield f"Stripe is not told: {self.reporter.problem}"
        yield from self.drift
        if abs(self.api.clock_ahead_s) > SKEW_S_MAX:
            yield (
                f"this machine's clock is {self.api.clock_ahead_s} s ahead of Stripe's:"
                " usage falls into wrong hours; set it right"
            )
        for state, what in WORDS.items():
            if counts[state]:
                yield f"{counts[state]} outbox row(s) {what}"
        if compared.different:
            yield (
                f"Stripe's totals differ from the ledger's for {compared.different}"
                " customer(s) and meter(s): see `meterline reconcile`"
            )
        if n_unexplained:
            yield (
                f"Stripe dropped {n_unexplained} meter event(s) without saying which:"
                " `meterline reconcile` finds them"
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


WORDS: Final[dict[State, str]] = {
    "parked": "wait for a meter at Stripe, or for a customer's stripe_customer",
    "unresolved": "may or may not have been counted: run `meterline reconcile`",
    "dead": "were refused or dropped: see `meterline outbox list --state dead`",
    "rejected": "were dropped by Stripe later: `meterline outbox list --state rejected`",
    "expired": "got too old for Stripe before they could be sent",
}


def open_api(config: Config, *, environ: MutableMapping[str, str]) -> StripeApi:
    """Return the way to Stripe; its key is taken out of ``environ``."""
    key = SecretSource(
        file=config.stripe.api_key_file,
        variable=STRIPE_KEY_VARIABLE,
        credential="stripe_api_key",
        environ=environ,
    )
    return StripeApi(
        key.read,
        api_base=config.stripe.api_base,
        meter_events_base=config.stripe.meter_events_base,
    )


def open_stripe(
    config: Config,
    database: SqliteDatabase,
    *,
    clock: Clock,
    environ: MutableMapping[str, str],
) -> StripeSide:
    """Return the Stripe side of a sidecar, within a running event loop.

    The key is taken out of ``environ``, so that no child process inherits it.
    """
    stripe = config.stripe
    api = open_api(config, environ=environ)
    secret = SecretSource(
        file=stripe.webhook_secret_file,
        variable=SECRET_VARIABLE,
        credential="stripe_webhook_secret",
        environ=environ,
    )
    customers = {c.id: c.stripe_customer for c in config.customers}
    issuer = Issuer(
        database,
        meters=_billed_meters(config),
        customers=customers,
        starts_ms={
            c.id: calendar_of(c).start_of(c.starts)
            for c in config.customers
            if c.starts is not None
        },
        clock=clock,
        settle_ms=stripe.settle_s * 1_000,
    )
    rate = stripe.rate_per_s or (RATE_LIVE if api.is_live else RATE_SANDBOX)
    reporter = Reporter(
        database,
        api,
        clock=clock,
        wall=SystemClock(),
        mark=SentMark(database.path),
        rate=Rate(rate, asyncio.get_running_loop().time()),
        stream_above_per_s=stripe.stream_above_per_s,
    )
    return StripeSide(
        database=database,
        api=api,
        issuer=issuer,
        reporter=reporter if stripe.mode == "send" else None,
        reconciler=Reconciler(database, api, clock=clock),
        webhooks=Webhooks(
            database, api, secret=secret.read, clock=clock, wall=SystemClock()
        ),
        desk=OutboxDesk(database, customers=customers, clock=clock),
        clock=clock,
        provisioner=Provisioner(api, config, clock=clock),
        reconcile_every_ms=stripe.reconcile_every_s * 1_000,
    )


def _billed_meters(config: Config) -> list[BilledMeter]:
    return [
        BilledMeter(
            meter.meter.name,
            meter.meter.aggregation,
            meter.stripe_event_name,
            meter.stripe_mode,
        )
        for meter in config.meters
        if meter.bill_through == "meter"
    ]
