"""Periods close by themselves, in order; what is held up is named, and holds up no other."""

from typing import Any

import pytest

from meterline_sidecar.billing import close_piece
from meterline_sidecar.billing.invoices import Invoices
from meterline_sidecar.clock import DAY_MS, HOUR_MS
from meterline_sidecar.store.invoice_states import states_of
from tests.plans import HEAD, starter_each
from tests.producer import NOON_MS, Connection, batch, event
from tests.sidecar_process import METERLINE
from tests.web.conftest import OpenWeb, Web, form

DECEMBER_MS = 1_796_083_200_000
JANUARY_MS = DECEMBER_MS + 31 * DAY_MS
BETA = """
[[customer]]
id = "beta"
subjects = ["beta_*"]
plan = "{plan}"
"""
TWO = METERLINE + BETA.format(plan="starter")
LATER = (
    HEAD.replace("starter", "later").replace("2026-01-01", "2026-12-01")
    + '[[plan.price]]\nname = "fee"\nmodel = "flat"\namount = "30"\n'
)
BY_HAND = '[billing]\nclose = "by_hand"\n'
EACH = starter_each("0.50")


async def closed_at(web: Web, time_ms: int) -> None:
    """Let the sidecar close what is due by itself at a time."""
    web.clock.time_ms = time_ms
    await web.parts.closer.run()


async def status(web: Web, customer: str = "acme", period: str = "2026-11") -> str:
    answer = await web.get(f"/v1/customers/{customer}/invoice", period=period)
    return f"{answer['status']} {answer['due']}"


async def ask(web: Web, **query: Any) -> dict[str, Any]:
    """Close as a person does, and return what came of it."""
    answer = await web.http.post("/v1/close", params=query)
    assert answer.status_code == 200, answer.text
    await web.parts.closer.run()
    run: dict[str, Any] = (await web.get("/v1/close"))["asked"]
    assert run["ended"] is not None
    return run


async def test_a_period_becomes_final_by_itself_once_its_grace_is_over(
    open_web: OpenWeb,
) -> None:
    async with open_web(pricing=EACH) as web:
        await web.parts.closer.run()
        await web.ship(event(), event())
        await closed_at(web, DECEMBER_MS + DAY_MS - 1)
        state = await web.get("/v1/close")
        assert await status(web) == "draft 1.00"
        assert [one["grace_ends"] for one in state["in_grace"]] == [
            "2026-12-02T00:00:00.000Z"
        ]

        await closed_at(web, DECEMBER_MS + DAY_MS + 60_000)

        assert await status(web) == "final 1.00"
        state = await web.get("/v1/close")
        assert state["in_grace"] == state["held"] == []
        assert state["automatic"]["totals"] == [{"amount": "1.00", "currency": "usd"}]
        async with web.parts.database.reading() as tx:
            (step,) = await states_of(tx, 1)
        assert (step.state, step.author) == ("final", "schedule")
        assert step.at_ms == DECEMBER_MS + DAY_MS + 60_000


async def test_while_the_clock_is_doubted_only_people_close(open_web: OpenWeb) -> None:
    async with open_web(pricing=EACH) as web:
        await web.parts.closer.run()
        await web.ship(event())
        web.clock.time_ms = DECEMBER_MS + 2 * DAY_MS

        await web.parts.closer.run(by_itself=False)
        assert await status(web) == "draft 0.50"
        await web.http.post("/v1/close")
        await web.parts.closer.run(by_itself=False)

        assert await status(web) == "final 0.50"


async def test_after_a_long_absence_every_period_is_closed_in_order_and_once(
    open_web: OpenWeb,
) -> None:
    async with open_web(meterline=TWO, pricing=EACH) as web:
        await web.parts.closer.run()
        await web.ship(event(), event(subject="beta_1"))
        await closed_at(web, JANUARY_MS + 33 * DAY_MS)
        await closed_at(web, JANUARY_MS + 34 * DAY_MS)

        async with web.parts.database.reading() as tx:
            rows = await tx.fetch_all(
                "SELECT customer, period FROM invoices ORDER BY id"
            )
        assert rows == [
            (customer, period)
            for period in ("2026-11", "2026-12", "2027-01")
            for customer in ("acme", "beta")
        ]


async def test_what_cannot_be_rated_holds_up_its_customer_and_no_other(
    open_web: OpenWeb,
) -> None:
    meterline = METERLINE + BETA.format(plan="later")
    async with open_web(meterline=meterline, pricing=EACH + LATER) as web:
        await web.parts.closer.run()
        await web.ship(event(), event(subject="beta_1"))
        await closed_at(web, DECEMBER_MS + 2 * DAY_MS)

        assert await status(web) == "final 0.50"
        state = await web.get("/v1/close")
        (held,) = state["held"]
        assert (held["customer"], held["period"]) == ("beta", "2026-11")
        assert "is not effective on" in held["why"]
        problems = (await web.get("/status"))["problems"]
        (told,) = (one for one in problems if one["code"] == "period_held")
        assert told["text"] == "not final yet: beta (2026-11)"


async def test_a_fault_of_ours_holds_up_the_customer_that_meets_it_and_no_other(
    open_web: OpenWeb, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = "".join(
        f'[[customer]]\nid = "c{i}"\nsubjects = ["s{i}"]\nplan = "starter"\n'
        for i in range(5)
    )
    whole = Invoices.close

    async def close(self: Invoices, *given: Any, **named: Any) -> Any:
        final = await whole(self, *given, **named)
        if given[2].id == "c2":  # after its rows are written: they must not stay
            raise ZeroDivisionError("by nothing")
        return final

    async with open_web(meterline=METERLINE + more, pricing=EACH) as web:
        await web.parts.closer.run()
        await web.ship(event())
        monkeypatch.setattr(Invoices, "close", close)
        await closed_at(web, DECEMBER_MS + 2 * DAY_MS)

        (held,) = (await web.get("/v1/close"))["held"]
        assert held["customer"] == "c2"
        assert "ZeroDivisionError: by nothing" in held["why"]
        assert (await status(web, "c2")).startswith("draft")
        for name in ("acme", "c0", "c1", "c3", "c4"):
            assert (await status(web, name)).startswith("final")
        monkeypatch.undo()
        await closed_at(web, DECEMBER_MS + 3 * DAY_MS)
        assert (await status(web, "c2")).startswith("final")


async def test_what_a_gap_holds_up_is_closed_once_it_has_come(
    open_web: OpenWeb,
) -> None:
    async with open_web(pricing=EACH) as web:
        await web.parts.closer.run()
        async with Connection(web.parts.config.sidecar.socket) as app:
            await app.hello(recorded_seq=2)
            await app.ship(batch(event()))
        await closed_at(web, DECEMBER_MS + 2 * DAY_MS)
        (held,) = (await web.get("/v1/close"))["held"]
        assert "recorded 2 to 2, which have not arrived" in held["why"]
        assert (await status(web)).startswith("draft")

        await web.ship(event())
        await closed_at(web, DECEMBER_MS + 2 * DAY_MS + 60_000)

        assert await status(web) == "final 1.00"
        assert (await web.get("/v1/close"))["held"] == []


async def test_a_person_can_close_over_a_gap_and_the_invoice_says_so(
    open_web: OpenWeb,
) -> None:
    async with open_web(pricing=EACH) as web:
        async with Connection(web.parts.config.sidecar.socket) as app:
            await app.hello(recorded_seq=2)
            await app.ship(batch(event()))
        web.clock.time_ms = DECEMBER_MS + 2 * DAY_MS
        run = await ask(web)
        assert (run["closed"], run["n_held"]) == (0, 1)

        run = await ask(web, accept_gap="true")

        assert (run["closed"], run["n_held"]) == (1, 0)
        answer = await web.get("/v1/customers/acme/invoice", period="2026-11")
        assert "recorded 2 to 2" in answer["accepted_gaps"][0]


async def test_what_ended_before_periods_closed_by_themselves_is_left_to_people(
    open_web: OpenWeb,
) -> None:
    async with open_web(meterline=METERLINE + BY_HAND, pricing=EACH) as web:
        await web.ship(event())
        await closed_at(web, DECEMBER_MS + 9 * DAY_MS)
        assert (await status(web)).startswith("draft")
        clock = web.clock

    async with open_web(pricing=EACH, clock=clock) as web:
        await web.parts.closer.run()
        await closed_at(web, JANUARY_MS + 2 * DAY_MS)
        (held,) = (await web.get("/v1/close"))["held"]
        assert "ended before periods closed by themselves" in held["why"]
        codes = [one["code"] for one in (await web.get("/status"))["problems"]]
        assert "period_not_closed" in codes
        assert "period_held" not in codes

        run = await ask(web, customer="acme")

        assert [one["period"] for one in run["invoices"]] == ["2026-11", "2026-12"]
        assert (await web.get("/v1/close"))["held"] == []


async def test_what_somebody_makes_final_waits_no_more_at_once(
    open_web: OpenWeb,
) -> None:
    async def by_hand(web: Web, month: str) -> None:
        path = f"/v1/customers/acme/invoice/finalize?period={month}"
        assert (await web.http.post(path)).status_code == 200

    async with open_web(meterline=METERLINE + BY_HAND, pricing=EACH) as web:
        await web.ship(event())
        await closed_at(web, DECEMBER_MS + 9 * DAY_MS)
        clock = web.clock

    meterline = METERLINE + BETA.format(plan="starter")
    async with open_web(meterline=meterline, pricing=EACH, clock=clock) as web:
        await web.ship(event(subject="beta_1", time_ms=DECEMBER_MS + DAY_MS))
        await web.parts.closer.run()
        (held,) = (await web.get("/v1/close"))["held"]
        assert (held["customer"], held["period"]) == ("acme", "2026-11")
        await by_hand(web, "2026-11")

        assert (await web.get("/v1/close"))["held"] == []
        assert "Nothing is held up." in (await web.http.get("/close")).text

        await closed_at(web, JANUARY_MS + 1)
        waiting = [one["customer"] for one in (await web.get("/v1/close"))["in_grace"]]
        assert waiting == ["acme", "beta"]
        await by_hand(web, "2026-12")

        found = await web.get("/v1/close")
        assert [one["customer"] for one in found["in_grace"]] == ["beta"]
        await web.parts.closer.run()
        assert (await web.get("/v1/close"))["n_in_grace"] == 1


async def test_each_plan_and_customer_can_have_a_grace_of_its_own(
    open_web: OpenWeb,
) -> None:
    rules = (
        "[billing]\ngrace_hours = 48\n"
        '[[grace]]\nplan = "starter"\nhours = 12\n'
        '[[grace]]\ncustomer = "beta"\nhours = 0\n'
    )
    async with open_web(meterline=TWO + rules, pricing=EACH) as web:
        await web.parts.closer.run()
        await web.ship(event(), event(subject="beta_1"))
        await closed_at(web, DECEMBER_MS)
        assert await status(web, "beta") == "final 0.50"
        assert await status(web) == "draft 0.50"

        await closed_at(web, DECEMBER_MS + 12 * HOUR_MS)
        assert await status(web) == "final 0.50"


async def test_a_dry_run_says_what_closing_comes_to_and_changes_nothing(
    open_web: OpenWeb,
) -> None:
    async with open_web(meterline=TWO, pricing=EACH) as web:
        await web.ship(event(), event(subject="beta_1"), event(subject="beta_2"))
        web.clock.time_ms = DECEMBER_MS + 1
        assert (await ask(web))["due"] == 0  # in their grace

        dry = await ask(web, dry_run="true", skip_grace="true", period="2026-11")
        assert dry["totals"] == [{"amount": "1.50", "currency": "usd"}]
        assert (await status(web)).startswith("draft")
        run = await ask(web, skip_grace="true", period="2026-11")

        names = ("closed", "totals", "invoices", "held")
        assert {name: run[name] for name in names} == {n: dry[n] for n in names}
        assert await status(web, "beta") == "final 1.00"


async def test_a_period_waits_for_the_one_before_it(open_web: OpenWeb) -> None:
    async with open_web(pricing=EACH) as web:
        await web.ship(event())
        web.clock.time_ms = JANUARY_MS + 2 * DAY_MS

        run = await ask(web, period="2026-12")

        assert run["closed"] == 0
        assert run["held"][0]["why"] == "their 2026-11 is not final, and comes first"


async def test_who_was_taken_out_gets_their_last_invoice_as_well(
    open_web: OpenWeb,
) -> None:
    async with open_web(meterline=TWO, pricing=EACH) as web:
        await web.parts.closer.run()
        await web.ship(event(subject="beta_1", time_ms=NOON_MS - 60_000))
        clock = web.clock
    async with open_web(pricing=EACH, clock=clock) as web:
        (told,) = (await web.get("/status"))["problems"]
        assert (told["code"], told["severity"]) == ("removed_open", "info")
        assert told["text"].endswith("unbilled usage or fees: beta (2026-11)")

        await closed_at(web, DECEMBER_MS)

        assert await status(web, "beta") == "final 0.50"
        web.parts.attention.forget()
        codes = [one["code"] for one in (await web.get("/status"))["problems"]]
        assert "removed_open" not in codes


async def test_two_cannot_close_at_once(open_web: OpenWeb) -> None:
    async with open_web(pricing=EACH) as web:
        assert (await web.http.post("/v1/close")).status_code == 200
        unknown = await web.http.post("/v1/close", params={"customer": "acmee"})
        assert "did you mean acme?" in unknown.text
        answer = await web.http.post("/v1/close")
        assert answer.status_code == 409
        assert "wait for the end of that" in answer.text


async def test_pieces_of_any_size_come_to_the_same(
    open_web: OpenWeb, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        close_piece, "PIECE_S_MAX", 0.0
    )  # one customer to a transaction
    async with open_web(meterline=TWO, pricing=EACH) as web:
        await web.parts.closer.run()
        await web.ship(event(), event(subject="beta_1"))
        await closed_at(web, DECEMBER_MS + 2 * DAY_MS)

        assert [await status(web, name) for name in ("acme", "beta")] == [
            "final 0.50",
            "final 0.50",
        ]


async def test_the_page_shows_what_is_final_what_waits_and_what_is_held_up(
    open_web: OpenWeb,
) -> None:
    meterline = METERLINE + BETA.format(plan="later")
    async with open_web(meterline=meterline, pricing=EACH + LATER) as web:
        empty = (await web.http.get("/close")).text
        assert "No period is over yet" in empty
        await web.parts.closer.run()
        await web.ship(event(), event(subject="beta_1"))
        await closed_at(web, DECEMBER_MS + 1)
        assert "2026-12-02 00:00" in (await web.http.get("/close")).text
        await closed_at(web, DECEMBER_MS + 2 * DAY_MS)

        page = (await web.http.get("/close")).text

        assert "1 invoice became final" in page
        assert "by schedule" in page
        assert "is not effective on" in page
        for data in ({"period": "2026-13"}, {"x": "1"}, {"skip_grace": "no"}):
            answer = await web.http.post("/close", data=form(**data))
            assert answer.status_code == 400, data
        twice = await web.http.post(
            "/close", content="once=1&period=2026-11&period=2026-10"
        )
        assert "more than once" in twice.text
