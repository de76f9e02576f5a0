"""Everything that tells Stripe, put together from the configuration."""

import asyncio
import contextlib
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Final

from meterline_sidecar.clock import Clock, SystemClock
from meterline_sidecar.config import Config
from meterline_sidecar.issue import BilledMeter, Issuer
from meterline_sidecar.keys import SecretSource
from meterline_sidecar.pacing import Rate
from meterline_sidecar.report import Reporter
from meterline_sidecar.sent_mark import SentMark
from meterline_sidecar.store import outbox
from meterline_sidecar.store.outbox import State
from meterline_sidecar.store.sqlite import SqliteDatabase
from meterline_sidecar.stripe_api import StripeApi

RATE_LIVE: Final = 500
RATE_SANDBOX: Final = 25
"""Source: docs.stripe.com/rate-limits, read 2026-05-05; live mode takes 1,000."""
KEY_VARIABLE: Final = "METERLINE_STRIPE_API_KEY"


@dataclass(frozen=True, kw_only=True)
class StripeSide:
    """The parts that tell Stripe."""

    database: SqliteDatabase
    api: StripeApi
    issuer: Issuer
    reporter: Reporter | None
    """``None`` in a dry run: the outbox fills and nothing is sent."""

    async def report(self) -> None:
        """Issue what is closed and send what is due."""
        await self.issuer.run()
        if self.reporter is not None:
            await self.reporter.run()

    async def counts(self) -> dict[State, int]:
        """Return how many rows of the outbox are in each state."""
        async with self.database.reading() as tx:
            return await outbox.counts(tx)

    async def problems(self) -> list[str]:
        """Return what a person should look at, in words."""
        found: list[str] = []
        if self.reporter is not None and self.reporter.problem is not None:
            found.append(f"Stripe is not told: {self.reporter.problem}")
        counts = await self.counts()
        for state, what in WORDS.items():
            if counts[state]:
                found.append(f"{counts[state]} outbox row(s) {what}")
        return found

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
    "dead": "were refused by Stripe: see `meterline outbox list --state dead`",
    "rejected": "were dropped by Stripe later: see `meterline outbox list`",
    "expired": "got too old for Stripe before they could be sent",
}


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
    key = SecretSource(
        file=stripe.api_key_file,
        variable=KEY_VARIABLE,
        credential="stripe_api_key",
        environ=environ,
    )
    api = StripeApi(
        key.read,
        api_base=stripe.api_base,
        meter_events_base=stripe.meter_events_base,
    )
    issuer = Issuer(
        database,
        meters=[
            BilledMeter(
                meter.meter.name,
                meter.meter.aggregation,
                meter.stripe_event_name,
                meter.stripe_mode,
            )
            for meter in config.meters
            if meter.bill_through == "meter"
        ],
        customers={c.id: c.stripe_customer for c in config.customers},
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
    )
