"""Whatever happens to the files: what is final stays, and every call is paid for once.

Random months of a customer who changes plans, zones and names, whose plans are edited
and who leaves and comes back, against a reference that keeps each call with the price
that held on its day.
"""

import asyncio
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st

from meterline_sidecar.clock import DAY_MS, format_time_ms, parse_time_ms
from tests.web.conftest import web_at
from tests.web.test_final import CALLS, Desk

START_MS: Final = parse_time_ms("2026-01-01T00:00:00Z")
PLANS: Final = ("basic", "pro")
ZONES: Final = ("UTC", "Europe/Berlin", "America/New_York")
MONTHS: Final = [f"2026-{month:02}" for month in range(1, 13)]

Step = tuple[str, int]
STEPS: Final = st.lists(
    st.one_of(
        st.tuples(st.just("use"), st.integers(1, 9)),
        st.tuples(st.just("wait"), st.integers(1, 25)),
        st.tuples(st.just("plan"), st.integers(0, 1)),
        st.tuples(st.just("price"), st.integers(1, 9)),
        st.tuples(st.just("zone"), st.integers(0, 2)),
        st.tuples(st.just("name"), st.integers(0, 9)),
        st.tuples(st.just("late"), st.integers(1, 20)),
        st.tuples(st.just("close"), st.just(0)),
    ),
    max_size=14,
)


@dataclass
class Reference:
    """What the files say today, and each call with the price of its day."""

    day: int = 0
    plan: str = "basic"
    prices: dict[str, int] = field(default_factory=lambda: {"basic": 1, "pro": 5})
    zone: str = "UTC"
    name: str = "Acme"
    held: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """From which day on which price held, in cents; the last of a day counts."""
    calls: list[int] = field(default_factory=list[int])
    """The day of each call."""

    def note_price(self) -> None:
        day = self.day if self.held else 0
        self.held.append((day, self.prices[self.plan]))

    def price_on(self, day: int) -> int:
        return [price for from_day, price in self.held if from_day <= day][-1]

    @property
    def owed(self) -> Decimal:
        return (
            sum((Decimal(self.price_on(day)) for day in self.calls), Decimal(0)) / 100
        )

    @property
    def files(self) -> tuple[str, str]:
        meterline = (
            f'{CALLS}[[customer]]\nid = "acme"\nname = "{self.name}"\n'
            f'subjects = ["acme_*"]\nplan = "{self.plan}"\n'
            f'time_zone = "{self.zone}"\nstarts = 2026-01-01\n'
        )
        pricing = "".join(
            f'[[plan]]\nname = "{name}"\ncurrency = "usd"\n[[plan.price]]\n'
            f'meter = "calls"\nmodel = "per_unit"\nunit_amount = "0.0{cents}"\n'
            for name, cents in self.prices.items()
        )
        return meterline, pricing


@contextmanager
def folder() -> Generator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@settings(max_examples=25, deadline=None)
@given(STEPS)
def test_every_call_is_paid_for_once_at_the_price_of_its_day(steps: list[Step]) -> None:
    with folder() as path:
        asyncio.run(play(path, steps))


async def play(path: Path, steps: list[Step]) -> None:
    async with web_at(path, meterline=CALLS, pricing="") as web:
        desk, known = Desk(web, path), Reference()
        finals: dict[str, Any] = {}
        desk.clock(format_time_ms(START_MS + DAY_MS // 2))
        known.note_price()
        await desk.load(*known.files)
        for step in [*steps, ("wait", 25), ("wait", 25), ("close", 0)]:
            await take(desk, known, finals, step)
            for period, final in finals.items():
                assert bare(await desk.invoice(period)) == final
        billed = sum((Decimal(final["due"]) for final in finals.values()), Decimal(0))
        now_open = next(month for month in MONTHS if month not in finals)
        draft = Decimal((await desk.invoice(now_open))["due"])
        assert billed + draft == known.owed


def bare(answer: Any) -> Any:
    """Return an invoice without what says how fresh the answer is."""
    return {**answer, "fresh_as_of": ""}


async def take(
    desk: Desk, known: Reference, finals: dict[str, Any], step: Step
) -> None:
    what, n = step
    now_ms = START_MS + known.day * DAY_MS + DAY_MS // 2
    match what:
        case "use":
            await desk.use(format_time_ms(now_ms - 1), n)
            known.calls += [known.day] * n
        case "late":
            day = max(known.day - n, 0)
            at_ms = START_MS + day * DAY_MS + DAY_MS // 2
            await desk.use(format_time_ms(at_ms), 1)
            known.calls.append(day)
        case "wait":
            known.day += n
            desk.clock(format_time_ms(START_MS + known.day * DAY_MS + DAY_MS // 2))
        case "close":
            for month in MONTHS[: (known.day + 2) // 31]:
                answer = await desk.close(month)
                if "due" in answer:
                    finals.setdefault(month, bare(answer))
        case _:
            if what == "plan":
                known.plan = PLANS[n]
            elif what == "price":
                known.prices[known.plan] = n
            elif what == "zone":
                known.zone = ZONES[n]
            else:
                known.name = f"Acme {n}"
            known.note_price()
            await desk.load(*known.files)
