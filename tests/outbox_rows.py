"""Outbox rows for tests, and a reporter that does not wait."""

from dataclasses import dataclass, field
from pathlib import Path

from meterline_sidecar.access.secret import Secret
from meterline_sidecar.clock import HOUR_MS
from meterline_sidecar.meters import Mode
from meterline_sidecar.store import outbox
from meterline_sidecar.store.outbox import NewRow, OutboxRow
from meterline_sidecar.store.sqlite.driver import SqliteDatabase
from meterline_sidecar.stripe.account import LedgerAccount
from meterline_sidecar.stripe.api import StripeApi
from meterline_sidecar.stripe.copy_guard import CopyGuard, SentMark
from meterline_sidecar.stripe.meter_events import identifier
from meterline_sidecar.stripe.pacing import Backoff, Breaker, Rate
from meterline_sidecar.stripe.report import MeterEvents, Reporter
from tests.clock import FakeClock
from tests.producer import NOON_MS
from tests.stripe_server.account import Account
from tests.stripe_server.server import StripeServer

KEY = "sk_test_meterline"
EARLIER_MS = NOON_MS - HOUR_MS


@dataclass
class Shop:
    """An outbox, a reporter, and a Stripe account behind real HTTP."""

    database: SqliteDatabase
    clock: FakeClock
    wall: FakeClock
    server: StripeServer
    base: str
    keys: list[Secret] = field(default_factory=lambda: [Secret(KEY)])
    apis: list[StripeApi] = field(default_factory=list[StripeApi])

    @classmethod
    async def open(cls, path: Path) -> "Shop":
        clock = FakeClock()
        account = Account(now_s=lambda: clock.now_ms() / 1000)
        account.add_meter("api_calls")
        server = StripeServer(account)
        database = await SqliteDatabase.open(path)
        async with database.transaction() as tx:
            await outbox.start(tx, "install")
        SentMark(path).write(0)
        return cls(database, clock, FakeClock(), server, await server.start())

    async def reopen(self) -> None:
        """Open the database again, as the next process would."""
        self.database = await SqliteDatabase.open(self.database.path)

    async def close(self) -> None:
        for api in self.apis:
            await api.close()
        await self.server.close()
        await self.database.close()

    def stripe(self) -> StripeApi:
        api = StripeApi(
            lambda: self.keys[-1] if self.keys else None,
            api_base=self.base,
            meter_events_base=self.base,
            read_backoff=Backoff(first_s=0.01, max_s=0.02),
            accounts=LedgerAccount(self.database),
        )
        self.apis.append(api)
        return api

    def reporter(
        self,
        stripe: MeterEvents | None = None,
        *,
        rate: float | Rate = 10_000,
        stream_above_per_s: float | None = None,
    ) -> Reporter:
        """Return a new reporter, as after a restart."""
        return Reporter(
            self.database,
            stripe or self.stripe(),
            clock=self.clock,
            wall=self.wall,
            copy_guard=CopyGuard(SentMark(self.database.path)),
            rate=rate if isinstance(rate, Rate) else Rate(rate, 0),
            stream_above_per_s=stream_above_per_s,
            backoff=Backoff(first_s=0.01, max_s=0.02),
            breaker=Breaker(first_s=0.01, max_s=0.02),
        )

    async def report(self, *, runs: int = 200) -> None:
        """Run one reporter until no row waits, as the schedule would."""
        reporter = self.reporter()
        for _ in range(runs):
            self.wall.time_ms += 1_000
            await reporter.run()
            counts = await self.counts()
            if counts["pending"] == 0:
                return

    async def add(
        self,
        value: int = 1,
        *,
        customer: str = "acme",
        event_name: str = "api_calls",
        mode: Mode = "delta",
        hour_ms: int = EARLIER_MS,
        part: int = 0,
        scale: int = 0,
    ) -> int:
        """Add one row and return its id."""
        row = NewRow(
            customer=customer,
            stripe_customer=f"cus_{customer}",
            meter=event_name,
            event_name=event_name,
            mode=mode,
            hour_ms=hour_ms,
            part=part,
            value=value,
            scale=scale,
            identifier=identifier(
                "install",
                customer=customer,
                event_name=event_name,
                hour_ms=hour_ms,
                part=part,
            ),
            created_ms=self.clock.now_ms(),
        )
        async with self.database.transaction() as tx:
            return await outbox.add(tx, row)

    async def row(self, row_id: int) -> OutboxRow:
        async with self.database.reading() as tx:
            row = await outbox.get(tx, row_id)
        assert row is not None
        return row

    async def counts(self) -> dict[outbox.State, int]:
        async with self.database.reading() as tx:
            return await outbox.counts(tx)

    def total(self, customer: str = "acme", event_name: str = "api_calls") -> int:
        """Return what Stripe bills."""
        return int(self.server.account.total(event_name, f"cus_{customer}"))
