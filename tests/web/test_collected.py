"""Final invoices are collected through Stripe: each once, to the cent, whatever happens."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from meterline_sidecar.errors import ConfigError
from meterline_sidecar.store import facts
from meterline_sidecar.store import stripe_calls as store
from meterline_sidecar.store.port import Database, Tx
from meterline_sidecar.stripe import service
from meterline_sidecar.stripe.invoicing import Invoicer
from meterline_sidecar.stripe.pacing import Backoff
from tests.clock import FakeClock
from tests.stripe_server.account import Account
from tests.stripe_server.server import StripeServer
from tests.stripe_server.v2 import sign
from tests.web.conftest import configure, web_at
from tests.web.test_collection import TIERS, left, shown, states, take
from tests.web.test_final import CALLS, Desk, customer

SECRET = "whsec_test"
HOUR_MS = 3_600_000
DIFFERS = "stripe_invoice_differs"
COLLECT = "[[collect]]\n"
SEND = 'collection_method = "send_invoice"\ndays_until_due = 7\n'
ACME = customer(more='starts = 2026-10-01\nstripe_customer = "cus_1"')
TAXED = TIERS + '[[plan.tax]]\nname = "VAT"\npercent = "19"\n'


class Killed(BaseException):
    """The process dies here."""


class Till:
    """A desk whose invoices go to a Stripe account."""

    def __init__(self, desk: Desk, server: StripeServer) -> None:
        self.desk = desk
        self.server = server
        self.parts = desk.web.parts
        self.wall = FakeClock(4_000_000_000_000)  # keys of before are forgotten

    @property
    def at_stripe(self) -> Any:
        return self.server.catalog.invoices

    @property
    def money(self) -> Any:
        return self.at_stripe.paid

    def invoicer(self, database: Any = None, stripe: Any = None) -> Invoicer:
        """Return what tells Stripe, as after a start."""
        usual = self.parts.stripe
        return Invoicer(
            database or usual.database,
            stripe or usual.api,
            self.parts.at_stripe,
            wall=self.wall,
            backoff=Backoff(first_s=0.0),
        )

    async def tell(self, runs: int = 1) -> None:
        await self.parts.at_stripe.run()
        for _ in range(runs):
            await self.invoicer().run()

    async def stop_before(self, path: str) -> None:
        """Tell Stripe up to a call, and die there."""
        counted = Counted(self, dies_on=path)
        with pytest.raises(Killed):
            await self.invoicer(cast("Database", counted), counted).run()

    async def close(self, period: str = "2026-10") -> Any:
        return await self.desk.close(period)

    async def calls(self, invoice_id: int = 1) -> list[store.CallRow]:
        async with self.parts.database.reading() as tx:
            return await store.calls_of(tx, [invoice_id])

    def only(self) -> dict[str, Any]:
        """Return the one invoice that there is at Stripe."""
        (found,) = self.at_stripe.invoices.values()
        return cast("dict[str, Any]", found)

    def amounts(self, name: str | None = None) -> list[tuple[str, int]]:
        lines = self.at_stripe.lines(name or self.only()["id"])
        return [(line["description"], line["amount"]) for line in lines]

    async def hear(self, kind: str, about: Mapping[str, Any]) -> None:
        body = self.at_stripe.event(kind, dict(about))
        for _ in range(2):  # Stripe says it again
            header = sign(body, SECRET, at_s=self.parts.clock.now_ms() // 1000)
            answer = await self.desk.web.http.post(
                "/stripe/webhook", content=body, headers={"Stripe-Signature": header}
            )
            assert answer.status_code == 200, answer.text
            await self.parts.stripe.webhooks.process()

    async def reconcile(self, period: str = "2026-10") -> Any:
        answer = await self.desk.web.http.post(
            "/v1/reconcile", params={"period": period}
        )
        assert answer.status_code == 200, answer.text
        return answer.json()


@asynccontextmanager
async def till_at(
    folder: Path,
    rule: str = COLLECT,
    pricing: str = TIERS,
    more: str = ACME,
    calls: str = CALLS,
) -> AsyncGenerator[Till]:
    """Run a sidecar in December that collects through a Stripe of its own."""
    clock = FakeClock()
    server = StripeServer(Account(now_s=lambda: clock.now_ms() / 1000))
    base = await server.start()
    (folder / "stripe.key").write_text("sk_test_meterline")
    (folder / "hook").write_text(SECRET)
    stripe = (
        f'[stripe]\nmode = "send"\napi_base = "{base}"\napi_key_file = "stripe.key"\n'
        'webhook_secret_file = "hook"\n'
    )
    meterline = calls + more + rule + stripe
    async with web_at(folder, meterline=meterline, pricing=pricing) as web:
        desk = Desk(web, folder)
        desk.clock("2026-12-02T12:00:00Z")
        till = Till(desk, server)
        await till.tell()  # from now on
        await desk.use("2026-10-10T00:00:00Z", 11)
        yield till
    await server.close()


@pytest.fixture
async def till(tmp_path: Path) -> AsyncGenerator[Till]:
    async with till_at(tmp_path) as till:
        yield till


async def test_a_final_invoice_is_one_at_stripe_with_an_item_for_each_line(
    till: Till,
) -> None:
    assert (await till.close())["due"] == "2.03"
    await till.tell()

    found = till.only()
    assert (found["status"], found["total"], found["currency"]) == ("open", 203, "usd")
    assert (found["customer"], found["auto_advance"]) == ("cus_1", True)
    assert found["metadata"]["meterline_number"] == "INV-0001"
    assert till.amounts() == [("fee", 100), ("calls", 103)]
    here = await shown(till.desk)
    assert states(here) == ["final", "sent"]
    assert here["steps"][-1]["author"] == "stripe"
    keys = set(till.server.account.keys)
    assert len(keys) == len(await till.calls()) == 4
    await till.tell(runs=3)
    assert till.only() == found
    (compared,) = (await till.reconcile())["invoices"]
    assert (compared["verdict"], compared["ours"], compared["theirs"]) == (
        "equal",
        203,
        203,
    )


async def test_what_is_to_be_paid_by_the_customer_is_sent_to_them(
    tmp_path: Path,
) -> None:
    async with till_at(tmp_path, COLLECT + SEND) as till:
        await till.close()
        await till.tell()

        assert till.only()["days_until_due"] == "7"
        assert till.at_stripe.sent == [till.only()["id"]]
        assert states(await shown(till.desk)) == ["final", "sent"]


async def test_what_was_final_before_is_left_to_people(tmp_path: Path) -> None:
    async with till_at(tmp_path, rule="") as till:
        await till.close()
        await till.tell()

        assert till.at_stripe.invoices == {}
    async with till_at(tmp_path) as till:
        assert await till.calls() == []


@pytest.mark.parametrize(
    ("currency", "each", "total"), [("jpy", "3", 33), ("kwd", "0.01", 110)]
)
async def test_amounts_are_exact_whatever_the_decimals(
    tmp_path: Path, currency: str, each: str, total: int
) -> None:
    plan = (
        f'[[plan]]\nname = "basic"\ncurrency = "{currency}"\n[[plan.price]]\n'
        f'meter = "calls"\nmodel = "per_unit"\nunit_amount = "{each}"\n'
    )
    async with till_at(tmp_path, pricing=plan) as till:
        await till.close()
        await till.tell()

        assert till.only()["total"] == total
        (compared,) = (await till.reconcile())["invoices"]
        assert compared["verdict"] == "equal"


async def test_what_stripe_cannot_say_exactly_is_held_and_told_of(
    tmp_path: Path,
) -> None:
    plan = (
        '[[plan]]\nname = "basic"\ncurrency = "kwd"\n[[plan.price]]\n'
        'meter = "calls"\nmodel = "per_unit"\nunit_amount = "0.001"\n'
    )
    async with till_at(tmp_path, pricing=plan) as till:
        await till.close()
        await till.tell()

        assert till.at_stripe.invoices == {}
        (held,) = await till.calls()
        assert "only whole tens of its thousandths" in str(held.reason)
        status = await till.desk.web.get("/status")
        problem = next(
            one for one in status["problems"] if one["code"] == "stripe_invoice_held"
        )
        assert "INV-0001" in problem["text"]
        (compared,) = (await till.reconcile())["invoices"]
        assert compared["verdict"] == "held"


async def test_an_adjustment_below_zero_is_an_item_and_a_whole_one_a_balance(
    till: Till,
) -> None:
    await till.close()
    await till.tell()
    first = till.only()["id"]
    # October is invoiced again, of less: what was billed elsewhere is taken back.
    await till.desk.use("2026-10-11T00:00:00Z", 200)
    await till.close("2026-11")  # 1.00, and 6.00 of October
    await take(till.desk, "INV-0001", "void")
    await till.tell()
    cheap = TIERS.replace('"0.10"', '"0.00"').replace('"0.03"', '"0.00"')
    await till.desk.load(CALLS + ACME, cheap.replace("version", "version"))
    again = await till.close()
    await till.tell()

    assert till.at_stripe.invoices[first]["status"] == "void"
    assert float(again["due"]) < 0 or again["adjustments"]
    last = list(till.at_stripe.invoices.values())[-1]
    assert last["total"] == round(float(again["due"]) * 100)
    assert ("Adjustment of 2026-10", -600) in till.amounts(last["id"])


@pytest.mark.parametrize("tax", ["ours", "stripe"])
async def test_taxes_are_lines_of_ours_or_left_to_stripe(
    tmp_path: Path, tax: str
) -> None:
    rule = f'{COLLECT}tax = "{tax}"\n'
    pricing = TAXED if tax == "ours" else TIERS
    async with till_at(tmp_path, rule, pricing) as till:
        await till.close()
        await till.tell()

        assert ("VAT", 39) in till.amounts() or tax == "stripe"
        assert ("automatic_tax" in till.only()) == (tax == "stripe")


async def test_two_taxes_of_one_invoice_are_refused(tmp_path: Path) -> None:
    async with till_at(tmp_path, f'{COLLECT}tax = "stripe"\n', TAXED) as till:
        await till.close()
        await till.tell()

        assert till.at_stripe.invoices == {}
        assert "Stripe Tax would add others" in str((await till.calls())[0].reason)


TOLD = CALLS + 'bill_through = "meter"\n'
BOTH = ACME + customer("bolt", subjects="bolt_*", more='stripe_customer = "cus_2"')
OF_ACME = '[[collect]]\ncustomer = "acme"\n'


def test_who_would_be_billed_both_ways_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        configure(tmp_path, meterline=TOLD + BOTH + COLLECT + OF_ACME, pricing=TIERS)

    (problem,) = refused.value.problems
    assert "bill customer bolt twice" in str(problem)
    ways = OF_ACME + COLLECT + 'bill_through = "none"\n'
    config = configure(tmp_path, meterline=TOLD + BOTH + ways, pricing=TIERS)
    assert config.collects("acme", "basic") is not None
    assert config.collects("bolt", "basic") is None


async def test_customers_of_one_ledger_go_each_their_own_way(tmp_path: Path) -> None:
    async with till_at(tmp_path, OF_ACME, more=BOTH, calls=TOLD) as till:
        web = till.desk.web
        for subject in ("acme_1", "bolt_1"):
            await till.desk.use("2026-12-02T10:00:00Z", 3, subject)
        await till.parts.stripe.enqueuer.run()
        rows = (await web.get("/v1/outbox"))["rows"]
        await web.http.post("/v1/close", params={"skip_grace": True})
        await web.parts.closer.run()
        await till.tell()

        assert {row["customer"] for row in rows} == {"bolt"}
        assert {i["customer"] for i in till.at_stripe.invoices.values()} == {"cus_1"}
        documents = (await web.get("/v1/invoices"))["documents"]
        assert {one["customer"] for one in documents} == {"acme"}


class Counted:
    """Lets a process die at one of its steps: before a commit, or around a call."""

    def __init__(self, till: Till, die_at: int = 0, *, dies_on: str = "none") -> None:
        self._dies_on = dies_on
        self._database = till.parts.stripe.database
        self._api = till.parts.stripe.api
        self._die_at = die_at
        self.n_steps = 0

    def step(self) -> None:
        self.n_steps += 1
        if self.n_steps == self._die_at:
            raise Killed

    @property
    def is_live(self) -> bool | None:
        return self._api.is_live

    def reading(self) -> Any:
        return self._database.reading()

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Tx]:
        async with self._database.transaction() as tx:
            yield tx
            self.step()
        self.step()

    async def call(
        self, method: Any, path: str, *given: Any, **more: Any
    ) -> dict[str, Any]:
        self.step()
        if self._dies_on in path:
            raise Killed
        answer = await self._api.call(method, path, *given, **more)
        self.step()
        return answer


async def start_over(till: Till) -> None:
    """Forget all that was told, here and there."""
    async with till.parts.database.transaction() as tx:
        await store.forget_calls(tx, 1)
        await facts.put_fact(tx, "stripe_told", '{"invoice":0,"state":9,"document":9}')
    for known in (till.at_stripe.invoices, till.at_stripe.items):
        known.clear()
    till.server.account.keys.clear()


async def test_a_kill_at_any_step_leaves_one_invoice_to_the_cent(
    tmp_path: Path,
) -> None:
    async with till_at(tmp_path, COLLECT + SEND) as till:
        await till.close()
        die_at, has_died = 1, True
        while has_died:
            await start_over(till)
            await till.parts.at_stripe.run()
            counted = Counted(till, die_at)
            has_died = False
            try:
                await till.invoicer(cast("Database", counted), counted).run()
            except Killed:
                has_died = True
            await till.invoicer().run()

            assert till.only()["status"] == "open", die_at
            assert till.amounts() == [("fee", 100), ("calls", 103)], die_at
            assert {row.state for row in await till.calls()} == {"done"}
            die_at += 1
        assert die_at > 30  # before and after each commit and each call


async def test_a_draft_that_was_edited_is_held_until_somebody_mends_it(
    till: Till,
) -> None:
    await till.close()
    await till.parts.at_stripe.run()
    await till.stop_before("/lines")  # the items are there, and it is not final
    (first, *_) = till.at_stripe.items.values()
    assert len(till.at_stripe.items) == 2
    first["amount"] = 1

    await till.tell()

    held = (await till.calls())[-1]
    assert held.state == "held"
    assert "'fee' is 1 usd and should be 100 usd" in str(held.reason)
    assert till.only()["status"] == "draft"
    told = await till.desk.web.get("/v1/invoices/INV-0001/stripe")
    assert told["calls"][-1]["state"] == "held"
    (listed,) = (await till.desk.web.get("/v1/invoices"))["documents"]
    assert listed["stripe"]["state"] == "held"
    assert listed["stripe"]["stripe_id"] == till.only()["id"]
    assert "should be 100 usd" in listed["stripe"]["reason"]
    first["amount"] = 100
    answer = await till.desk.web.http.post("/v1/invoices/INV-0001/stripe/retry")
    assert answer.status_code == 200, answer.text
    await till.tell()
    assert till.only()["status"] == "open"
    again = await till.desk.web.http.post("/v1/invoices/INV-0001/stripe/retry")
    assert again.status_code == 409
    listed = await till.desk.web.get("/v1/invoices/INV-0001")
    assert listed["stripe"]["state"] == "done"


async def test_a_draft_that_was_deleted_is_made_again_when_somebody_says_so(
    till: Till,
) -> None:
    await till.close()
    await till.parts.at_stripe.run()
    await till.stop_before("/lines")
    till.at_stripe.delete(till.only()["id"])

    await till.tell()
    assert "deleted its draft" in str((await till.calls())[-1].reason)
    await till.desk.web.http.post("/v1/invoices/INV-0001/stripe/retry")
    await till.tell()

    assert till.only()["status"] == "open"
    assert till.amounts() == [("fee", 100), ("calls", 103)]


async def test_who_has_no_id_at_stripe_is_held_until_they_have(tmp_path: Path) -> None:
    more = customer(more="starts = 2026-10-01")
    async with till_at(tmp_path, more=more) as till:
        await till.close()
        await till.tell()
        assert "has no stripe_customer" in str((await till.calls())[0].reason)

        await till.desk.load(CALLS + ACME, TIERS)
        await till.desk.web.http.post("/v1/invoices/INV-0001/stripe/retry")
        await till.tell()

        assert till.only()["total"] == 203


async def test_a_payment_at_stripe_pays_the_invoice_and_a_refund_opens_it(
    till: Till,
) -> None:
    await till.close()
    await till.tell()
    name = till.only()["id"]
    await till.hear("invoice.payment_failed", {"id": name, "attempt_count": 1})
    charge = till.at_stripe.pay(name)
    await till.hear("invoice.paid", till.only())

    paid = await shown(till.desk)
    assert states(paid) == ["final", "sent", "sent", "paid"]
    assert paid["steps"][2]["cause"] == "a payment failed at Stripe, attempt 1"
    assert [(one["amount"], one["reference"]) for one in paid["payments"]] == [
        ("2.03", name)
    ]
    await till.tell()
    assert len(await till.calls()) == 4  # Stripe is not told what it said

    await till.hear("charge.refunded", till.money.refunded(charge, 50))
    await till.hear("charge.refunded", till.money.refunded(charge, 70))
    back = await shown(till.desk)
    assert [one["amount"] for one in back["payments"]] == ["2.03", "-0.5", "-0.7"]
    assert (back["state"], left(back)) == ("sent", "1.20 usd")


async def test_what_ends_at_stripe_ends_here(till: Till) -> None:
    await till.close()
    await till.close("2026-11")
    await till.tell()
    first, second = till.at_stripe.invoices
    for name in (first, second):
        await till.hear("invoice.marked_uncollectible", {"id": name})
    await till.hear("invoice.voided", {"id": second})
    await till.hear("invoice.voided", {"id": "in_of_somebody_else"})

    assert states(await shown(till.desk))[-1] == "uncollectible"
    assert states(await shown(till.desk, "INV-0002"))[-1] == "void"
    assert (await shown(till.desk, "CN-0001"))["invoice"] == "INV-0002"


async def test_what_people_do_here_is_told(till: Till) -> None:
    for month in ("2026-10", "2026-11"):
        await till.close(month)
    await till.tell()
    first, second = till.at_stripe.invoices.values()
    part = await take(till.desk, "INV-0001", "payments", 409, amount="1.00")
    assert "collected through Stripe" in part
    await take(till.desk, "INV-0001", "credit", amount="0.50")
    await till.tell()
    (note,) = till.at_stripe.notes.values()
    assert (note["amount"], note["invoice"]) == (50, first["id"])
    assert first["amount_remaining"] == 153

    await take(till.desk, "INV-0001", "payments", amount="1.53")
    await take(till.desk, "INV-0002", "void")
    await till.tell()

    assert (first["status"], second["status"]) == ("paid", "void")
    assert len(till.at_stripe.notes) == 1  # a void one needs none
    await take(till.desk, "INV-0001", "credit", amount="0.10")
    await till.tell()
    assert list(till.at_stripe.notes.values())[-1]["credit_amount"] == 10
    both = (await till.reconcile())["invoices"]
    assert [one["verdict"] for one in both] == ["equal"]


async def test_an_invoice_that_is_void_before_stripe_has_it_is_never_there(
    till: Till,
) -> None:
    await till.close()
    await till.parts.at_stripe.run()
    await till.stop_before("/v1/invoiceitems")
    assert till.only()["status"] == "draft"

    await take(till.desk, "INV-0001", "void")
    await till.tell()

    assert till.at_stripe.invoices == {}
    (compared,) = (await till.reconcile())["invoices"]
    assert (compared["verdict"], compared["status"]) == ("equal", "deleted")


async def test_once_a_day_some_invoices_are_compared_until_they_are_equal(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "INVOICES_PER_RUN", 1)
    for month in ("2026-10", "2026-11"):
        await till.close(month)
    await till.tell()
    last = list(till.at_stripe.items.values())[-1]
    right = last["amount"]

    async def a_day_later() -> Any:
        till.desk.web.clock.time_ms += 24 * HOUR_MS
        await till.parts.stripe.reconcile_if_due()
        status = await till.desk.web.get("/status")
        found = [p["text"] for p in status["problems"] if p["code"] == DIFFERS]
        return status["reconciliation"]["invoices_different"], found

    last["amount"] = right + 1
    assert await a_day_later() == (0, [])  # another one comes first
    n_different, (text,) = await a_day_later()
    assert (n_different, text[:9]) == (1, "INV-0002:")
    assert f"is {right + 1} usd and should be {right} usd" in text
    await till.reconcile("2026-10")
    assert (await a_day_later())[0] == 1
    last["amount"] = right
    assert await a_day_later() == (0, [])


async def test_a_reconciliation_names_what_differs_to_the_cent(till: Till) -> None:
    await till.close()
    await till.tell()
    name = till.only()["id"]
    (first, second) = till.at_stripe.items.values()
    first["amount"], second["invoice"] = 99, "in_other"
    till.only()["status"] = "void"

    answer = await till.reconcile()

    (compared,) = answer["invoices"]
    assert (answer["is_equal"], compared["verdict"]) == (False, "different")
    assert compared["differences"] == [
        "'fee' is 99 usd and should be 100 usd",
        "'calls' of 103 is missing",
        "it is void at Stripe, and sent here: make it void here as well, with"
        " `meterline invoice NUMBER --void`, or invoice it there by hand",
    ]
    del till.at_stripe.invoices[name]
    (gone,) = (await till.reconcile())["invoices"]
    assert gone["verdict"] == "refused"
