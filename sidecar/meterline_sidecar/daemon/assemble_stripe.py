"""Puts together what reports to Stripe: which parts there are, and with what settings."""

import asyncio
import os
from collections.abc import Callable, MutableMapping
from decimal import Decimal
from typing import Final

from meterline_pricing import Period, PricingError
from meterline_pricing.tools import invoice_between
from meterline_sidecar.access.secret import SecretSource
from meterline_sidecar.billing.at_stripe import AtStripe
from meterline_sidecar.billing.heard import HeardFromStripe
from meterline_sidecar.clock import Clock, SystemClock
from meterline_sidecar.config.shape import Config
from meterline_sidecar.config.stripe import STRIPE_KEY_VARIABLE
from meterline_sidecar.daemon.assemble_billing import Bills
from meterline_sidecar.daemon.reload import LoadedFiles
from meterline_sidecar.decimals import Number
from meterline_sidecar.store.port import Database
from meterline_sidecar.stripe.account import LedgerAccount
from meterline_sidecar.stripe.billed import BilledMeters
from meterline_sidecar.stripe.by_hand import RowsByHand
from meterline_sidecar.stripe.calls import Accounts
from meterline_sidecar.stripe.copy_guard import CopyGuard, SentMark
from meterline_sidecar.stripe.door import StripeDoor
from meterline_sidecar.stripe.enqueue import Enqueuer
from meterline_sidecar.stripe.invoice_check import InvoiceReconciler
from meterline_sidecar.stripe.invoicing import Invoicer
from meterline_sidecar.stripe.pacing import Rate
from meterline_sidecar.stripe.provision.apply import Provisioner
from meterline_sidecar.stripe.reconcile import Reconciler
from meterline_sidecar.stripe.report import Reporter
from meterline_sidecar.stripe.service import StripeService
from meterline_sidecar.stripe.unbilled import Amounts, Unbilled
from meterline_sidecar.stripe.webhooks import Webhooks
from meterline_sidecar.terms.agreed import plan_of
from meterline_sidecar.terms.at_stripe import FirstDays, StripeIds
from meterline_sidecar.terms.book import Terms

RATE_LIVE: Final = 500
RATE_SANDBOX: Final = 25
"""Source: docs.stripe.com/rate-limits, read 2026-05-05; live mode takes 1,000."""
SECRET_VARIABLE: Final = "METERLINE_STRIPE_WEBHOOK_SECRET"  # noqa: S105 - its name


def open_api(
    config: Config,
    *,
    environ: MutableMapping[str, str],
    accounts: Accounts | None = None,
) -> StripeDoor:
    """Return the way to Stripe; its key is taken out of ``environ``.

    Args:
        accounts: asked about each key before it is used; ``None``: any will do.
    """
    key = SecretSource(
        file=config.stripe.api_key_file,
        setting="stripe.api_key_file",
        variable=STRIPE_KEY_VARIABLE,
        credential="stripe_api_key",
        environ=environ,
    )
    return StripeDoor(
        key.read,
        api_base=config.stripe.api_base,
        meter_events_base=config.stripe.meter_events_base,
        accounts=accounts,
    )


def open_stripe(
    files: Callable[[], Config],
    database: Database,
    *,
    terms: Terms,
    clock: Clock,
    environ: MutableMapping[str, str] = os.environ,
) -> StripeService:
    """Return what reports to Stripe, within a running event loop.

    The key is taken out of ``environ``, so that no child process inherits it.

    Args:
        files: what they say now.
    """
    config = files()
    stripe = config.stripe
    api = open_api(config, environ=environ, accounts=LedgerAccount(database))
    secrets = _webhook_secrets(config, environ)
    customers = StripeIds(terms, clock=clock)

    def is_collected(name: str) -> bool:
        who = terms.customer(name, clock.now_ms())
        return who is not None and files().collects(name, who.plan) is not None

    meters = BilledMeters(database, terms, config)
    guard = CopyGuard(
        SentMark(config.sidecar.database), is_shared=database.others_write
    )
    return StripeService(
        database=database,
        api=api,
        meters=meters,
        enqueuer=Enqueuer(
            database,
            meters=meters.named,
            customers=customers,
            starts_ms=FirstDays(terms),
            is_collected=is_collected,
            clock=clock,
            settle_ms=stripe.settle_s * 1_000,
        ),
        reporter=_reporter(config, database, api, clock=clock, guard=guard),
        copy_guard=guard,
        reconciler=Reconciler(database, api, clock=clock),
        invoice_reconciler=InvoiceReconciler(database, api, clock=clock),
        webhooks=Webhooks(
            database, api, secrets=secrets.read_each, clock=clock, wall=SystemClock()
        ),
        by_hand=RowsByHand(database, customers=customers, clock=clock),
        provisioner=Provisioner(api, config, clock=clock),
        unbilled=Unbilled(
            database, api, meters=meters.named, amounts=_amounts(terms), clock=clock
        ),
        clock=clock,
        reconcile_every_ms=stripe.reconcile_every_s * 1_000,
    )


def _webhook_secrets(config: Config, environ: MutableMapping[str, str]) -> SecretSource:
    return SecretSource(
        file=config.stripe.webhook_secret_file,
        setting="stripe.webhook_secret_file",
        variable=SECRET_VARIABLE,
        credential="stripe_webhook_secret",
        environ=environ,
    )


def collect_through(
    stripe: StripeService,
    database: Database,
    bills: Bills,
    files: LoadedFiles,
    terms: Terms,
    clock: Clock,
) -> AtStripe:
    """Have final invoices collected through Stripe, and keep what becomes of them.

    Args:
        database: seals what is written of calls.
    """
    wall = SystemClock()
    books = AtStripe(
        database,
        bills.collection,
        config=lambda: files.config,
        stripe_ids=StripeIds(terms, clock=clock),
        wall=wall,
    )
    stripe.invoicer = Invoicer(database, stripe.api, books, wall=wall)
    heard = HeardFromStripe(bills.collection, customer=bills.customers.get)
    stripe.webhooks.books = stripe.invoice_reconciler.books = heard
    return books


def _amounts(terms: Terms) -> Amounts:
    """Return what says what a quantity of one meter comes to by a customer's plan."""

    def amount(
        customer: str, meter: str, month: Period, before: Number, after: Number
    ) -> tuple[Decimal, str] | None:
        if not terms.entries("customer", customer):
            return None
        try:
            plan = plan_of(terms, customer, month)
            if plan is None:
                return None
            less, more = sorted((max(before, 0), max(after, 0)))
            found = invoice_between(plan, {meter: less}, {meter: more}, is_last=False)
        except PricingError:
            return None
        return (found.total if after >= before else -found.total), plan.currency

    return amount


def _reporter(
    config: Config,
    database: Database,
    api: StripeDoor,
    *,
    clock: Clock,
    guard: CopyGuard,
) -> Reporter | None:
    """Return what sends, ``None`` in a dry run."""
    if config.stripe.mode != "send":
        return None
    rate = config.stripe.rate_per_s or (RATE_LIVE if api.is_live else RATE_SANDBOX)
    return Reporter(
        database,
        api,
        clock=clock,
        wall=SystemClock(),
        copy_guard=guard,
        rate=Rate(rate, asyncio.get_running_loop().time()),
        stream_above_per_s=config.stripe.stream_above_per_s,
    )
