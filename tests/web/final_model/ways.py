"""One life of two customers, lived by a sidecar that learns of it in one of two ways.

One way, a sidecar learns of each event as late as it comes, closes month by month, has
corrections and void invoices, dies now and then, and tells Stripe all the time. The other
way it knows from the start what counts in the end, and closes when all is over. What was
agreed, and when, is the same. So what is owed must be the same.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple

from meterline_sidecar.clock import parse_time_ms
from meterline_sidecar.stripe.invoicing import Invoicer
from meterline_sidecar.stripe.pacing import Backoff
from meterline_sidecar.terms.files import wanted_of
from tests.clock import FakeClock
from tests.producer import event
from tests.stripe_server.account import Account
from tests.stripe_server.server import StripeServer
from tests.web.conftest import Web, configure, web_at
from tests.web.final_model.mortal import Killed, Life, mortal_connections

START_MS: Final = parse_time_ms("2026-01-01T12:00:00Z")
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
WHO: Final = ("acme", "bolt")
PLANS: Final = ("monthly", "trial", "weekly", "quarterly")
ZONES: Final = ("UTC", "Europe/Berlin", "America/New_York", "Pacific/Auckland")
GRACE_H: Final = 72
"""What is agreed from the beginning of today on reaches into nothing that is final."""

PRICING: Final = "".join(
    f'[[plan]]\nname = "{name}"\ncurrency = "usd"\n{more}\n'
    f'[[plan.price]]\nname = "fee"\nmodel = "flat"\namount = "{fee}"\n'
    f'[[plan.price]]\nname = "calls"\nmeter = "calls"\nmodel = "graduated"\n'
    f'tiers = [{{ up_to = 20, unit_amount = "{first}" }}, {{ unit_amount = "0.01" }}]\n'
    for name, more, fee, first in (
        ("monthly", 'tiers_on_change = "continue"', "30.10", "0.05"),
        ("trial", "trial_days = 20", "49.99", "0"),
        ("weekly", 'period = "week"', "7", "0.03"),
        ("quarterly", 'period = "quarter"', "100", "0.02"),
    )
) + "".join(
    f'[[plan]]\nname = "addon {period}"\ncurrency = "usd"\nperiod = "{period}"\n'
    f"{more}"
    '[[plan.price]]\nname = "odd"\nmeter = "odd"\nmodel = "per_unit"\n'
    'unit_amount = "0.37"\n'
    '[[plan.price]]\nname = "support"\nmodel = "flat"\namount = "11"\n'
    for period, more in (
        ("month", 'tiers_on_change = "continue"\n'),
        ("week", ""),
        ("quarter", ""),
    )
)
ADDONS: Final = {"monthly": "month", "weekly": "week", "quarterly": "quarter"}
METERS: Final = "".join(
    f'[[meter]]\nname = "{name}"\naggregation = "count"\n'
    f'where = {{ status = "{status}" }}\n'
    for name, status in (("calls", 200), ("odd", 500))
)


class Call(NamedTuple):
    """A call of a customer."""

    time_ms: int
    who: str
    status: int


@dataclass
class Said:
    """What the files say of a customer."""

    plan: str = "monthly"
    has_addon: bool = False
    zone: str = "UTC"
    anchor_day: int | None = None


@dataclass
class Way:
    """A sidecar, and how it learns.

    Args:
        knows: all calls that count in the end, where it knows them from the start.
    """

    folder: Path
    knows: list[Call] | None = None
    now_ms: int = START_MS
    said: dict[str, Said] = field(
        default_factory=lambda: {name: Said() for name in WHO}
    )
    known: list[tuple[int, Call]] = field(default_factory=list[tuple[int, Call]])
    """What counts, by the ids of events; 0: of one that a correction added."""
    corrected: dict[int, list[tuple[int, Call]]] = field(
        default_factory=dict[int, list[tuple[int, Call]]]
    )
    """By correction: what it made void."""
    fuse: int | None = None
    n_deaths: int = 0
    n_asked: int = 0

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        """Run the sidecar, and a Stripe that is told of what it closes."""
        self._life = Life()
        self.server = StripeServer(Account(now_s=lambda: self.now_ms / 1000))
        base = await self.server.start()
        (self.folder / "stripe.key").write_text("sk_test_meterline")
        self._stripe = (
            f'[[collect]]\n[stripe]\nmode = "send"\napi_base = "{base}"\n'
            'api_key_file = "stripe.key"\n'
        )
        self._wall = FakeClock(4_000_000_000_000)
        with mortal_connections(lambda: self._life):
            await self._open()
            await self._tell()
            yield
            await self._opening.__aexit__(None, None, None)
        await self.server.close()

    async def _open(self) -> None:
        meterline = self._files()
        clock = FakeClock(self.now_ms)
        self._opening: Any = web_at(
            self.folder, clock=clock, meterline=meterline, pricing=PRICING
        )
        self.web: Web = await self._opening.__aenter__()

    def _files(self) -> str:
        customers = ""
        for name, said in self.said.items():
            addon = ADDONS.get(said.plan)
            plans = (
                f'plans = [{{ plan = "addon {addon}" }}]\n'
                if said.has_addon and addon
                else ""
            )
            anchor = (
                f"anchor = 2026-01-{said.anchor_day:02}\n" if said.anchor_day else ""
            )
            customers += (
                f'[[customer]]\nid = "{name}"\nsubjects = ["{name}_*"]\n'
                f'plan = "{said.plan}"\n{plans}time_zone = "{said.zone}"\n{anchor}'
                f'starts = 2026-01-01\nstripe_customer = "cus_{name}"\n'
            )
        billing = f'[billing]\nclose = "by_hand"\ngrace_hours = {GRACE_H}\n'
        return METERS + customers + billing + self._stripe

    # --- what happens in both ways

    def wait(self, hours: int) -> None:
        self.now_ms += hours * HOUR_MS
        self.web.clock.time_ms = self.now_ms

    async def load(self) -> None:
        self.wait(0)
        config = configure(self.folder, meterline=self._files(), pricing=PRICING)
        await self.web.parts.terms.load(wanted_of(config), author="test")

    # --- what happens in one of them

    async def use(self, who: str, n: int, *, status: int, ago_ms: int) -> None:
        at_ms = max(self.now_ms - ago_ms, START_MS - 10 * HOUR_MS)
        await self.ship([Call(at_ms, who, status)] * n)

    async def ship(self, calls: list[Call]) -> None:
        if not calls:
            return
        await self.web.ship(
            *(
                event(time_ms=call.time_ms, subject=f"{call.who}_1", status=call.status)
                for call in calls
            )
        )
        async with self.web.parts.database.reading() as tx:
            rows = await tx.fetch_all("SELECT max(id) FROM events")
        last_id = rows[0][0]
        ids = range(last_id - len(calls) + 1, last_id + 1)
        self.known += zip(ids, calls, strict=True)

    async def correct(self, which: int, n: int, *, moves: bool) -> None:
        """Make calls void, or give them to the other customer."""
        start = which * len(self.known) // 10
        some = [one for one in self.known[start : start + n] if one[0]]
        if moves:
            some = [one for one in some if one[1].who == WHO[0]]
        if not some:
            return
        self.n_asked += 1
        body: dict[str, Any] = {
            "events": [event_id for event_id, _ in some],
            "reason": "the model",
            "key": f"the {self.n_asked}th of the model",
        }
        if moves:
            body["set"] = {"subject": f"{WHO[1]}_1"}
        answer = await self._post("/v1/corrections", body)
        for one in some:
            self.known.remove(one)
        self.known += [(0, call._replace(who=WHO[1])) for _, call in some if moves]
        if not moves:
            self.corrected[answer["correction"]["correction"]] = some

    async def revert(self, which: int) -> None:
        if self.corrected:
            correction = list(self.corrected)[which % len(self.corrected)]
            path = f"/v1/corrections/{correction}/revert"
            await self._post(path, {}, reason="model")
            self.known += self.corrected.pop(correction)

    async def close(self, *, skips_grace: bool = False) -> None:
        """Make final what is due, and tell Stripe."""

        async def work() -> None:
            query = {"skip_grace": skips_grace}
            answer = await self.web.http.post("/v1/close", params=query)
            assert answer.status_code == 200, answer.text
            await self.web.parts.closer.run()

        if not await self._done(work()):
            await work()
        await self._tell()

    async def void(self, who: str, which: int) -> None:
        """Take an invoice back; its period is open until it is closed again."""
        query = {"customer": who, "kind": "invoice"}
        page = await self.web.get("/v1/invoices", **query)
        numbers = [d["number"] for d in page["documents"] if d["state"] != "void"]
        if numbers:
            number = numbers[which % len(numbers)]
            found = await self.web.get(f"/v1/invoices/{number}")
            if found["state"] != "paid":  # as what came to nothing is at once
                await self._post(f"/v1/invoices/{number}/void", {"reason": "model"})
                await self._tell()

    async def close_void(self) -> None:
        for held in (await self.web.get("/v1/close"))["held"]:
            path = f"/v1/customers/{held['customer']}/invoice/finalize"
            answer = await self._post(path, None, period=held["period"])
            assert answer["status"] == "final"
        await self._tell()

    async def _post(self, path: str, body: object, **query: Any) -> Any:
        answers: list[Any] = []

        async def ask() -> None:
            answers.append(await self.web.http.post(path, json=body, params=query))

        if not await self._done(ask()):
            await ask()
            if answers[-1].status_code == 409:
                return None  # it was done before
        assert answers[-1].status_code == 200, answers[-1].text
        return answers[-1].json()

    async def _done(self, work: Any) -> bool:
        """Do something; say whether the process lived on."""
        n, self.fuse = self.fuse or 2**62, None
        if await self._life.spend(n, work):
            return True
        self.n_deaths += 1
        with suppress(Killed, AssertionError):
            await self._opening.__aexit__(Killed, Killed(), None)
        self._life = Life()
        await self._open()
        await self.web.parts.aggregator.run()
        return False

    async def _tell(self) -> None:
        stripe = self.web.parts.stripe
        await self.web.parts.at_stripe.run()
        invoicer = Invoicer(
            *(stripe.database, stripe.api, self.web.parts.at_stripe),
            wall=self._wall,
            backoff=Backoff(first_s=0.0),
        )
        await invoicer.run()

    # --- what it comes to

    async def account(self, who: str) -> Decimal:
        """Return what a customer owes by all documents."""
        found = await self.web.get(f"/v1/customers/{who}/statement")
        return sum((Decimal(one["amount"]) for one in found["balances"]), Decimal(0))

    async def told(self, who: str) -> Decimal:
        """Return what a customer owes by what Stripe was told."""
        there = self.server.catalog.invoices
        cents = sum(
            one["total"]
            for one in there.invoices.values()
            if one["customer"] == f"cus_{who}" and one["status"] != "void"
        )
        return Decimal(cents) / 100

    async def all_documents(self) -> list[bytes]:
        """Return all that is final, byte for byte."""
        async with self.web.parts.database.reading() as tx:
            rows = await tx.fetch_all("SELECT id, document FROM invoices ORDER BY id")
        return [str(row).encode() for row in rows]
