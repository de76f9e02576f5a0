"""What plans grant pays once, whatever becomes of the plans, invoices and usage.

Several plans grant a credit of one name, each for its own meter. Of these only one is
used, so all that credits pay is what its plan granted: exactly that, or all usage of it.
"""

import asyncio
import os
import tempfile
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Final

from hypothesis import example, given, settings
from hypothesis import strategies as st

from meterline_sidecar.clock import DAY_MS
from meterline_sidecar.terms.files import wanted_of
from tests.clock import FakeClock
from tests.producer import event
from tests.web.again import computed_again
from tests.web.conftest import Web, configure, web_at
from tests.web.month_ends import at_ms, each, of, plan

HISTORIES: Final = int(os.environ.get("HISTORIES", "5"))
GRANTED: Final = 100
PLANS: Final = ("a", "b", "c")
USED: Final = "b"
METERS: Final = '[billing]\nclose = "by_hand"\n' + "".join(
    f'[[meter]]\nname = "{name}"\naggregation = "sum"\nvalue = "quantities.{name}"\n'
    for name in PLANS
)
PRICING: Final = plan(name="base") + "".join(
    plan(each("1", name), of("credit", f"amount = {GRANTED}"), name=name)
    for name in PLANS
)
Step = tuple[str, int, int]
STEPS: Final = st.lists(
    st.tuples(
        st.sampled_from(
            [
                *("plans", "plans", "use", "use", "late", "correct"),
                *("month end", "month end", "void", "close void", "note"),
            ]
        ),
        st.integers(0, 59),
        st.integers(1, 70),
    ),
    min_size=6,
    max_size=24,
)


@settings(max_examples=HISTORIES, deadline=None)
@example(  # the main plan is replaced, and then it is gone: what was beside it stays
    [
        ("plans", 0, 1),  # a, b
        ("use", 0, 60),
        ("plans", 2, 2),  # c, a, b
        ("month end", 0, 1),
        ("use", 0, 30),
        ("plans", 4, 3),  # b
        ("use", 0, 60),
        ("month end", 0, 1),
    ]
)
@example(  # another plan goes on with it, and then both are there
    [
        ("plans", 4, 3),  # b
        ("use", 0, 60),
        ("plans", 2, 3),  # c
        ("month end", 0, 1),
        ("plans", 4, 1),  # b, c
        ("use", 0, 60),
        ("void", 0, 1),
        ("close void", 0, 1),
        ("month end", 0, 1),
    ]
)
@given(STEPS)
def test_a_grant_pays_exactly_once_whatever_becomes_of_its_plan(
    steps: list[Step],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_play(Path(folder), steps))


async def _play(folder: Path, steps: list[Step]) -> None:
    clock = FakeClock(at_ms("2026-11-02T01:00Z"))
    files = {"meterline": METERS + _customer("base", ()), "pricing": PRICING}
    async with web_at(folder, clock=clock, **files) as web:
        account = _Account(web, folder)
        for step in steps:
            await account.take(*step)
        await account.take("month end", 0, 0)
        await account.take("close void", 0, 0)
        await account.take("month end", 0, 0)

        found = (await web.get("/v1/customers/acme/statement"))["balances"]
        owed = sum((Decimal(one["amount"]) for one in found), Decimal(0))
        due = sum(account.counted.values())
        assert owed + sum(account.noted.values()) == due - min(GRANTED, due)
        assert (await computed_again(web)).findings == []


class _Account:
    """What happens to a customer, and what it must come to."""

    def __init__(self, web: Web, folder: Path) -> None:
        self._web = web
        self._folder = folder
        self._held: list[tuple[int, bool]] = [(0, False)]
        """From when on the plan whose meter is used is held, or not."""
        self._n_events = 0
        self._open = self._month()
        self.counted: dict[int, int] = {}
        """By event, what was used that the plan has a price for."""
        self.noted: dict[str, int] = {}
        """By period, credit notes to its invoice."""

    async def take(self, what: str, a: int, b: int) -> None:
        match what:
            case "plans":
                await self._change(a, b)
            case "use":
                await self._use(self._web.clock.time_ms, b)
            case "late":
                first = at_ms("2026-11-01T12:00Z")
                days = (self._web.clock.time_ms - first) // DAY_MS
                await self._use(first + DAY_MS * (a % (days + 1)), b)
            case "correct":
                await self._correct(a)
            case "month end":
                await self._month_end()
            case "void":
                for number, period in (await self._invoices("final"))[
                    a % 3 : a % 3 + 1
                ]:
                    await self._post(number, "void", {})
                    self.noted.pop(period, None)
            case "close void":
                for period in sorted(await self._void_periods()):
                    await self._close(period)
            case _:
                await self._note(a)

    async def _change(self, a: int, b: int) -> None:
        """Change which plans are held, from the beginning of the next day on."""
        self._web.clock.time_ms += DAY_MS
        order = [*PLANS[a % 3 :], *PLANS[: a % 3]]
        main, *beside = (["base"] if a % 2 else []) + order[: 1 + b % 3]
        files = {"meterline": METERS + _customer(main, beside), "pricing": PRICING}
        config = configure(self._folder, **files)
        await self._web.parts.terms.load(wanted_of(config), author="test")
        today = self._web.clock.time_ms // DAY_MS * DAY_MS
        self._held.append((today, USED in (main, *beside)))

    async def _use(self, time_ms: int, n: int) -> None:
        await self._web.ship(
            event(time_ms=time_ms, subject="acme_1", quantities={USED: n})
        )
        self._n_events += 1
        is_held = next(held for at, held in reversed(self._held) if at <= time_ms)
        if is_held:
            self.counted[self._n_events] = n

    async def _correct(self, a: int) -> None:
        of = list(self.counted)[a % 3 : a % 3 + 1]
        if not of:
            return
        body = {"events": of, "reason": "a test"}
        answer = await self._web.http.post("/v1/corrections", json=body)
        assert answer.status_code == 200, answer.text
        await self._web.parts.aggregator.run()
        del self.counted[of[0]]
        self._n_events += 1  # of the correction itself

    async def _month_end(self) -> None:
        while self._month() == self._open:
            self._web.clock.time_ms += DAY_MS
        period, self._open = self._open, self._month()
        await self._close(period)

    async def _close(self, period: str) -> None:
        path = "/v1/customers/acme/invoice/finalize"
        answer = await self._web.http.post(path, params={"period": period})
        assert answer.status_code == 200, answer.text

    async def _note(self, a: int) -> None:
        for number, period in (await self._invoices("final"))[a % 3 : a % 3 + 1]:
            found = await self._web.get(f"/v1/invoices/{number}")
            if any(Decimal(one["amount"]) >= 1 for one in found["left"]):
                await self._post(number, "credit", {"amount": "1.00"})
                self.noted[period] = self.noted.get(period, 0) + 1

    async def _post(self, number: str, what: str, body: dict[str, str]) -> None:
        body = {"reason": "a test", **body}
        answer = await self._web.http.post(f"/v1/invoices/{number}/{what}", json=body)
        assert answer.status_code == 200, answer.text

    async def _invoices(self, *states: str) -> list[tuple[str, str]]:
        listed = await self._web.get("/v1/invoices", kind="invoice", limit=100)
        return [
            (one["number"], one["period"])
            for one in listed["documents"]
            if (one["state"] == "void") == (states == ("void",))
        ]

    async def _void_periods(self) -> set[str]:
        void = {period for _, period in await self._invoices("void")}
        return void - {period for _, period in await self._invoices("final")}

    def _month(self) -> str:
        at = datetime.fromtimestamp(self._web.clock.time_ms / 1000, UTC)
        return f"{at:%Y-%m}"


def _customer(main: str, beside: tuple[str, ...] | list[str]) -> str:
    held = ", ".join(f'{{ plan = "{name}" }}' for name in beside)
    return (
        '[[customer]]\nid = "acme"\nsubjects = ["acme_*"]\nstarts = 2026-11-01\n'
        f'plan = "{main}"\nplans = [{held}]\n'
    )
