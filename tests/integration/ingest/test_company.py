"""How many events share a commit."""

import asyncio

import pytest

import meterline_sidecar.ingest.company
from meterline_sidecar.ingest.company import COMPANY_ROWS, FEW_ROWS, FEW_S, Company
from tests.patience import PATIENCE_S

HOUR_S = 3_600.0  # whoever waits so long is not served by chance


@pytest.fixture
def long_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a moment last longer than any machine hesitates."""
    monkeypatch.setattr(meterline_sidecar.ingest.company, "FEW_S", HOUR_S)


async def is_served(company: Company) -> None:
    """Wait for the next commit, which does not take an hour."""
    await asyncio.wait_for(company.wait(), PATIENCE_S)


async def waiting_for(company: Company) -> "asyncio.Future[None]":
    """Begin to wait, and see that it takes longer than a moment."""
    waiting = asyncio.ensure_future(company.wait())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not waiting.done()
    return waiting


async def test_the_first_after_a_while_waits_for_nobody() -> None:
    company = Company(HOUR_S)
    company.came(n_rows=1, is_urgent=False)

    await is_served(company)


async def test_those_that_keep_coming_wait_for_each_other() -> None:
    company = Company(HOUR_S)
    await is_served(company)
    company.came(n_rows=FEW_ROWS + 1, is_urgent=False)

    waiting = await waiting_for(company)

    await asyncio.sleep(2 * FEW_S)
    assert not waiting.done()
    waiting.cancel()


async def test_few_wait_for_a_moment() -> None:
    company = Company(HOUR_S)
    await is_served(company)
    company.came(n_rows=FEW_ROWS, is_urgent=False)

    await is_served(company)


@pytest.mark.usefixtures("long_moment")
async def test_until_that_moment_is_over_they_wait() -> None:
    company = Company(HOUR_S)
    await is_served(company)
    company.came(n_rows=FEW_ROWS, is_urgent=False)

    waiting = await waiting_for(company)
    waiting.cancel()


async def test_nobody_waits_longer_than_was_said() -> None:
    company = Company(0.05)
    loop = asyncio.get_running_loop()
    start_s = loop.time()
    await is_served(company)

    await is_served(company)

    assert loop.time() - start_s >= 0.05


@pytest.mark.usefixtures("long_moment")
async def test_many_are_company_enough() -> None:
    company = Company(HOUR_S)
    await is_served(company)
    waiting = await waiting_for(company)

    company.came(n_rows=COMPANY_ROWS, is_urgent=False)

    await asyncio.wait_for(waiting, PATIENCE_S)


@pytest.mark.usefixtures("long_moment")
async def test_what_somebody_waits_for_is_committed_at_once() -> None:
    company = Company(HOUR_S)
    await is_served(company)

    company.came(n_rows=1, is_urgent=True)

    await is_served(company)
    company.came(n_rows=1, is_urgent=False)
    waiting = await waiting_for(company)
    waiting.cancel()


async def test_where_many_come_at_once_the_last_of_them_wait_for_a_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Many in a second or, where a machine hesitates, in an hour.
    monkeypatch.setattr(
        meterline_sidecar.ingest.company, "CROWD_PER_S", COMPANY_ROWS / HOUR_S
    )
    company = Company(HOUR_S)
    await is_served(company)
    for _ in range(2):
        company.came(n_rows=COMPANY_ROWS, is_urgent=False)
        await is_served(company)

    company.came(n_rows=FEW_ROWS + 1, is_urgent=False)  # more than few

    await is_served(company)
