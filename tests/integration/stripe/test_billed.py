"""Which meters Stripe is told of, whatever becomes of them in the files."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from meterline_sidecar.clock import HOUR_MS
from meterline_sidecar.config.shape import Config, MeterConfig
from meterline_sidecar.config.sidecar import SidecarConfig
from meterline_sidecar.meters import Aggregation, Meter, Mode
from meterline_sidecar.store.outbox import OutboxRow
from meterline_sidecar.store.sqlite.driver import SqliteDatabase
from meterline_sidecar.stripe.billed import BilledMeter, BilledMeters
from meterline_sidecar.terms.book import Terms
from tests.agreed import terms_of
from tests.integration.stripe.test_enqueue import Books

CALLS = BilledMeter("calls", "count", "api_calls", "delta")


def meter(
    name: str,
    *,
    aggregation: Aggregation = "count",
    event_name: str = "api_calls",
    is_billed: bool = True,
    mode: Mode = "delta",
) -> MeterConfig:
    value = None if aggregation == "count" else "quantities.n"
    return MeterConfig(
        meter=Meter(name, aggregation, value=value),
        bill_through="meter" if is_billed else "none",
        stripe_event_name=event_name,
        stripe_mode=mode,
    )


def files(*meters: MeterConfig) -> Config:
    here = Path()
    places = SidecarConfig(socket=here, database=here, spool_dir=here)
    return Config(file=None, sidecar=places, meters=meters)


@pytest.fixture
async def books(tmp_path: Path) -> AsyncGenerator[Books]:
    books = Books(await SqliteDatabase.open(tmp_path / "meterline.db"))
    await books.open()
    yield books
    await books.database.close()


async def told(books: Books, *each: Config, terms: Terms | None = None) -> list[int]:
    """Enqueue what is used under one version of the files after the other."""
    rows: list[OutboxRow] = []
    for config in each:
        # Made anew each time, as by a restart: all that is known is in the ledger.
        meters = BilledMeters(books.database, terms or Terms(), config)
        books.meters = list(await meters.all())
        rows = await books.enqueue()
    return [row.value for row in rows]


async def test_what_a_meter_counted_before_it_was_taken_out_is_still_told(
    books: Books,
) -> None:
    await told(books, files(meter("calls")))
    await books.use({"calls": 5})
    books.close_hour()

    assert await told(books, files()) == [5]


async def test_what_comes_late_of_a_meter_that_is_gone_is_told(books: Books) -> None:
    await books.use({"calls": 5})
    books.close_hour()
    await told(books, files(meter("calls")))
    await books.use({"calls": 7})

    assert await told(books, files()) == [5, 2]


async def test_a_meter_with_another_name_takes_back_nothing_of_the_former(
    books: Books,
) -> None:
    await books.use({"calls": 5})
    books.close_hour()
    await told(books, files(meter("calls")))
    await books.use({"calls": 5, "requests": 3})

    assert await told(books, files(meter("requests"))) == [5, 3]
    assert await told(books, files(meter("hits")), files()) == [5, 3]


async def test_a_meter_of_another_kind_tells_nothing_of_the_former(
    books: Books,
) -> None:
    level = meter("seats", aggregation="latest", mode="set")
    await told(books, files(meter("calls")))

    (found,) = await BilledMeters(books.database, Terms(), files(level)).all()

    assert (found.name, found.former) == ("seats", ())


async def test_a_meter_that_the_files_bill_no_more_is_told_no_more(
    books: Books,
) -> None:
    await told(books, files(meter("calls")))
    await books.use({"calls": 5})
    books.close_hour()

    assert await told(books, files(meter("calls", is_billed=False))) == []
    books.clock.time_ms += HOUR_MS
    assert await told(books, files()) == []


@pytest.mark.parametrize("mode", ["delta", "set"])
async def test_what_was_told_of_a_meter_that_is_told_no_more_is_not_taken_back(
    books: Books, mode: Mode
) -> None:
    def turned(told_of: str) -> Config:
        names = ("calls", "requests")
        return files(*(meter(n, mode=mode, is_billed=n == told_of) for n in names))

    def at_stripe(rows: list[int]) -> int:
        return rows[-1] if mode == "set" else sum(rows)

    await books.use({"calls": 5})
    books.close_hour()
    assert await told(books, turned("calls")) == [5]
    await books.use({"calls": 6, "requests": 3})

    taken_over = await told(books, turned("requests"))
    await books.use({"calls": 9, "requests": 4})
    later = await told(books, turned("requests"))
    back = await told(books, turned("calls"))

    assert [at_stripe(rows) for rows in (taken_over, later, back)] == [8, 9, 13]


async def test_a_level_is_what_its_own_meter_says_whatever_another_one_said(
    books: Books,
) -> None:
    def level(name: str) -> MeterConfig:
        return meter(name, aggregation="latest", mode="set")

    await books.use({"seats": 5})
    books.close_hour()
    await told(books, files(level("seats")))
    await books.use({"seats": 5, "chairs": 3})
    off = meter("seats", aggregation="latest", mode="set", is_billed=False)

    assert await told(books, files(level("chairs"), off)) == [5, 3]


async def test_a_meter_adds_up_as_it_was_agreed_and_not_as_a_file_says(
    books: Books,
) -> None:
    terms = terms_of(Meter("calls", "sum", value="quantities.n"))
    edited = files(meter("calls", aggregation="latest", mode="set"))

    (found,) = await BilledMeters(books.database, terms, edited).all()

    assert found.aggregation == "sum"


async def test_what_was_agreed_to_be_of_a_kind_that_stripe_cannot_add_is_not_told(
    books: Books,
) -> None:
    terms = terms_of(Meter("calls", "max", value="quantities.n"))

    assert await BilledMeters(books.database, terms, files(meter("calls"))).all() == ()
