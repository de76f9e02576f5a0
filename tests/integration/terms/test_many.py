"""What is agreed with very many customers: in few statements, and in steps."""

import random
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from meterline_sidecar.ledger.journal import Journal
from meterline_sidecar.store.open import open_ledger
from meterline_sidecar.store.port import Database, Ledger, Row, Tx, Value
from meterline_sidecar.terms import keeper as keeper_module
from meterline_sidecar.terms import settle
from meterline_sidecar.terms.claims import MARK
from meterline_sidecar.terms.diff import Wanted
from meterline_sidecar.terms.keeper import TermsKeeper
from tests.clock import FakeClock
from tests.unit.terms.agreements import customer, plan


class PowerCut(Exception):
    """The end of everything."""


class CountedTx:
    """A transaction that counts its statements."""

    def __init__(self, tx: Tx, n: Counter[str]) -> None:
        self._tx = tx
        self._n = n

    async def execute(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        self._n["statements"] += 1
        return await self._tx.execute(sql, parameters)

    async def execute_many(self, sql: str, rows: Iterable[Sequence[Value]]) -> None:
        self._n["statements"] += 1
        await self._tx.execute_many(sql, rows)

    async def fetch_one(self, sql: str, parameters: Sequence[Value] = ()) -> Row | None:
        self._n["statements"] += 1
        return await self._tx.fetch_one(sql, parameters)

    async def fetch_all(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        self._n["statements"] += 1
        return await self._tx.fetch_all(sql, parameters)


class CountedLedger(Database):
    """A ledger that counts what is asked of it, and can be cut off."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.n: Counter[str] = Counter()
        self.transactions_left = 1_000_000

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Tx]:
        if not self.transactions_left:
            raise PowerCut
        self.transactions_left -= 1
        self.n["transactions"] += 1
        async with self._ledger.transaction() as tx:
            yield CountedTx(tx, self.n)

    @asynccontextmanager
    async def reading(self) -> AsyncGenerator[Tx]:
        async with self._ledger.reading() as tx:
            yield CountedTx(tx, self.n)

    async def see(self, names: Iterable[str]) -> None:
        async with self._ledger.transaction() as tx:
            await tx.execute_many(
                "INSERT INTO subjects (name) VALUES (?)", [(name,) for name in names]
            )

    async def payers(self) -> dict[str, str | None]:
        async with self._ledger.reading() as tx:
            return dict(await tx.fetch_all("SELECT name, customer FROM subjects"))


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncGenerator[CountedLedger]:
    opened = await open_ledger(tmp_path / "meterline.db")
    yield CountedLedger(opened)
    await opened.close()


def wanted(n_customers: int, *, on: str = "basic") -> Wanted:
    return Wanted(
        customers=[
            customer(f"c{i}", subjects=(f"c{i}_*", f"account-{i}"), plan=on)
            for i in range(n_customers)
        ],
        plans=[plan("basic"), plan("pro")],
    )


async def started(ledger: CountedLedger, clock: FakeClock) -> TermsKeeper:
    keeper = TermsKeeper(ledger, Journal(b"key"), clock=clock)
    await keeper.start()
    return keeper


async def test_very_many_claims_cost_few_statements(ledger: CountedLedger) -> None:
    await ledger.see(["account-7", "c1999_x", "c5_1", "c5_2", "nobody"])
    keeper = await started(ledger, FakeClock())
    ledger.n.clear()

    await keeper.load(wanted(2_000), author="files")

    assert await ledger.payers() == {
        "account-7": "c7",
        "c1999_x": "c1999",
        "c5_1": "c5",
        "c5_2": "c5",
        "nobody": None,
    }
    assert ledger.n["statements"] < 100  # 4,000 rows of 500 to a step, four each


async def test_subjects_who_keep_their_payer_are_not_asked_for_one_by_one(
    ledger: CountedLedger,
) -> None:
    clock = FakeClock()
    await ledger.see(f"c0_{i}" for i in range(1_200))
    keeper = await started(ledger, clock)
    await keeper.load(wanted(1), author="files")
    clock.time_ms += 1_000
    ledger.n.clear()

    more = customer("c0", subjects=("c0_*", "c0_7*"), plan="basic")
    await keeper.load(
        Wanted(customers=[more], plans=[plan("basic"), plan("pro")]), author="files"
    )

    assert set((await ledger.payers()).values()) == {"c0"}
    assert ledger.n["statements"] < 60


async def test_a_load_that_is_cut_off_between_two_steps_is_finished_by_the_next(
    ledger: CountedLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_module, "ROWS_PER_TRANSACTION", 7)
    clock = FakeClock()
    await ledger.see(name for i in range(10) for name in (f"account-{i}", f"c{i}_1"))
    keeper = await started(ledger, clock)
    ledger.transactions_left = 2

    with pytest.raises(PowerCut):
        await keeper.load(wanted(10), author="files")
    ledger.transactions_left = 1_000
    clock.time_ms += 60_000
    again = await started(ledger, clock)
    await again.load(wanted(10), author="files")

    assert await ledger.payers() == {
        **{f"account-{i}": f"c{i}" for i in range(10)},
        **{f"c{i}_1": f"c{i}" for i in range(10)},
    }
    assert (await again.preview(wanted(10))).planned == ()


async def test_what_is_meant_is_found_whatever_lies_between(
    ledger: CountedLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settle, "SUBJECTS_PER_STEP", 3)
    dice = random.Random(7)
    letters = ["a", "b", "!", "*", "~", "\ud7ff", "\ue000", "\U0010ffff"]

    def word(longest: int) -> str:
        return "".join(dice.choices(letters, k=dice.randint(1, longest)))

    names = {word(4) for _ in range(120)}
    await ledger.see(names)
    for _ in range(60):
        texts = {word(3) + dice.choice(["", MARK]) for _ in range(dice.randint(0, 8))}
        if dice.random() < 0.1:
            texts.add(MARK)

        async with ledger.reading() as tx:
            found = [
                name async for some in settle.Meant(texts).all(tx) for _, name in some
            ]

        meant = {
            name
            for name in names
            for text in texts
            if name == text
            or (text.endswith(MARK) and name.startswith(text.removesuffix(MARK)))
        }
        # A text with the mark means what it begins, and never a name as it stands.
        assert set(found) == meant
