"""How many events share a commit."""

import asyncio

from meterline_sidecar.ingest.company import COMPANY_ROWS, COMPANY_S, Company


async def waited_s(company: Company) -> float:
    loop = asyncio.get_running_loop()
    start = loop.time()
    await company.wait()
    return loop.time() - start


async def test_the_first_after_a_while_waits_for_nobody() -> None:
    company = Company()
    company.came(n_rows=1, is_urgent=False)

    assert await waited_s(company) < COMPANY_S / 2


async def test_those_that_keep_coming_wait_for_each_other() -> None:
    company = Company()
    await company.wait()
    company.came(n_rows=1, is_urgent=False)

    assert await waited_s(company) > COMPANY_S / 2


async def test_many_are_company_enough() -> None:
    company = Company()
    await company.wait()
    waiting = asyncio.ensure_future(company.wait())
    await asyncio.sleep(0)
    assert not waiting.done()

    company.came(n_rows=COMPANY_ROWS, is_urgent=False)

    await asyncio.wait_for(waiting, COMPANY_S / 2)


async def test_what_somebody_waits_for_is_committed_at_once() -> None:
    company = Company()
    await company.wait()

    company.came(n_rows=1, is_urgent=True)

    assert await waited_s(company) < COMPANY_S / 2
    company.came(n_rows=1, is_urgent=False)
    assert await waited_s(company) > COMPANY_S / 2
