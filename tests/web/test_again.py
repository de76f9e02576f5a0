"""Final invoices are computed again from raw events; whoever changed anything is found."""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from meterline_sidecar.cli.commands.verify import command as verify
from meterline_sidecar.cli.exits import EXIT_FOUND
from meterline_sidecar.clock import DAY_MS
from meterline_sidecar.store.edge.usage import EventFacts, events_after
from meterline_sidecar.store.port import Tx
from tests.clock import FakeClock
from tests.plans import HEAD
from tests.producer import event
from tests.sidecar_process import METERLINE
from tests.web.again import computed_again
from tests.web.conftest import OpenWeb, Web, web_at
from tests.web.test_corrections import correct, revert
from tests.web.test_explain import a_dearer_november
from tests.web.test_final import CALLS, Desk

DECEMBER_MS = 1_796_083_200_000
JANUARY_MS = DECEMBER_MS + 31 * DAY_MS
METERS = (
    METERLINE
    + """
[[meter]]
name = "users"
aggregation = "unique"
value = "subject"
"""
)
PRICING = HEAD + "".join(
    f'[[plan.price]]\nmeter = "{meter}"\nmodel = "per_unit"\nunit_amount = "{price}"\n'
    for meter, price in (("api_calls", "0.50"), ("users", "1"))
)


async def close(web: Web, period: str) -> None:
    answer = await web.http.post(
        "/v1/customers/acme/invoice/finalize", params={"period": period}
    )
    assert answer.status_code == 200, answer.text


async def closed_twice(web: Web) -> None:
    """Close November, of which more comes, and December; a credit pays for some of it."""
    await web.http.post(
        "/v1/customers/acme/credits", json={"amount": "1.00", "reason": "the outage"}
    )
    await web.ship(event(), event(subject="acme_2"), event(subject="stranger"))
    web.clock.time_ms = DECEMBER_MS + 1
    await close(web, "2026-11")
    await web.ship(event(), event(time_ms=DECEMBER_MS))
    web.clock.time_ms = JANUARY_MS + 1
    await close(web, "2026-12")


@pytest.fixture
async def web(open_web: OpenWeb) -> AsyncGenerator[Web]:
    async with open_web(meterline=METERS, pricing=PRICING) as web:
        yield web


def tamper(web: Web, *statements: str) -> None:
    connection = sqlite3.connect(web.parts.config.sidecar.database)
    with connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


async def test_what_nobody_touched_comes_to_the_same_bytes(web: Web) -> None:
    await closed_twice(web)

    report = await computed_again(web)

    assert report.findings == []
    assert (report.invoices, report.invoices_not_computed) == (2, 0)


async def corrected(web: Web) -> None:
    """Close two months, of which events are void, added and back before and behind."""
    await web.ship(event(), event(subject="acme_2"), event(), event(subject="acme_2"))
    await correct(web, events=[2, 4])  # the only ones of acme_2
    amended = await correct(web, events=[1], set={"subject": "acme_3"})
    web.clock.time_ms = DECEMBER_MS + 1
    await close(web, "2026-11")
    await revert(web, 1)
    await revert(web, amended["correction"]["correction"])
    await web.ship(event(time_ms=DECEMBER_MS), event())
    web.clock.time_ms = JANUARY_MS + 1
    await close(web, "2026-12")


async def test_what_corrections_let_count_by_then_is_counted_again(web: Web) -> None:
    await corrected(web)

    report = await computed_again(web)
    tamper(web, "DELETE FROM corrected_events WHERE event_id = 2")

    assert (report.findings, report.invoices) == ([], 2)
    assert (await computed_again(web)).findings != []


async def test_corrections_of_events_that_left_are_counted_again(web: Web) -> None:
    await corrected(web)
    reads: list[int] = []

    async def elsewhere(
        tx: Tx, cursor: int, *, skip_flags: int, limit: int
    ) -> tuple[list[EventFacts], int]:
        reads.append(cursor)
        events, reached = await events_after(
            tx, cursor, skip_flags=skip_flags, limit=min(limit, 2)
        )
        return events, reached

    report = await computed_again(web, read_events=elsewhere)

    assert (report.findings, report.invoices) == ([], 2)
    assert len(reads) > len(set(reads))  # also where windows are counted again


async def test_what_was_void_and_invoiced_again_comes_to_the_same(web: Web) -> None:
    await closed_twice(web)
    answer = await web.http.post(
        "/v1/invoices/INV-0001/void", json={"reason": "a wrong price"}
    )
    assert answer.status_code == 200, answer.text
    await close(web, "2026-11")
    web.clock.time_ms += 31 * DAY_MS
    await close(web, "2027-01")

    report = await computed_again(web)
    tamper(web, "DELETE FROM invoice_states")

    assert (report.findings, report.invoices) == ([], 4)
    findings = (await computed_again(web)).findings
    assert any("there is one of this period before it" in one for one in findings)


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        (
            "UPDATE events SET status = 500 WHERE id = 1",
            "INV-0001 2026-11 of acme: the invoice.usage[0].quantity is 2, computed is 1",
        ),
        (
            "UPDATE events SET time_ms = time_ms - 86400000 * 10 WHERE id = 1",
            "the invoice.usage",
        ),
        (
            "UPDATE subjects SET name = 'acme_3' WHERE name = 'stranger'",
            "the invoice.usage[0].quantity is 2, computed is 3",
        ),
        (
            "UPDATE invoices SET document = json_set(document, '$.due', '0.10')"
            " WHERE id = 1",
            'the invoice.due is "0.10", computed is "2.00"',
        ),
        (
            "UPDATE invoices SET document = json_set(document,"
            " '$.agreement.parts[0].plan.prices[0].price.unit_amount', '0.01')"
            " WHERE id = 1",
            'unit_amount is "0.01"',
        ),
        (
            "UPDATE invoices SET document = document || ' ' WHERE id = 2",
            "INV-0002 2026-12 of acme: it is written otherwise",
        ),
        (
            "UPDATE invoices SET document = json_set(document,"
            " '$.counted_up_to_event', 1) WHERE id = 1",
            "computed is",
        ),
        (
            "UPDATE invoices SET document = json_set(document,"
            " '$.counted_up_to_event', 99) WHERE id = 2",
            "it counts up to event 99, and what is there by its turn is event 5",
        ),
        (
            "UPDATE invoices SET document = json_set(document,"
            " '$.agreement.terms_row', 1) WHERE id = 1",
            "2026-11 of acme: ",
        ),
        ("UPDATE invoices SET document = '{}' WHERE id = 1", "acme cannot be read"),
        ("UPDATE terms SET change = replace(change, '0.50', '0.40')", "computed is"),
        ("UPDATE credits SET amount = '0.50'", "the invoice."),
        ("UPDATE term_uses SET amount = '0.10' WHERE id = 1", "used up of credits"),
        ("DELETE FROM term_uses", "used up of credits"),
        ("UPDATE adjustments SET amount = '9'", "its rows of adjustments"),
        ("DELETE FROM documents WHERE id = 1", "it has 0 documents"),
        ("DELETE FROM documents WHERE id = 1", "the series INV- has 1 and ends with"),
        ("UPDATE documents SET amount = '5.00' WHERE id = 1", "its document says"),
        ("UPDATE documents SET period = '2026-10' WHERE id = 1", "its document says"),
    ],
)
async def test_whatever_was_changed_is_found_by_the_invoices_alone(
    web: Web, statement: str, finding: str
) -> None:
    await closed_twice(web)

    tamper(web, statement)

    findings = (await computed_again(web)).findings
    assert any(finding in found for found in findings), findings


async def test_usage_that_was_changed_before_it_was_billed_is_found(web: Web) -> None:
    await web.ship(event(), event())
    tamper(web, "UPDATE usage_days SET totals = '{\"api_calls\":20}'")
    web.clock.time_ms = DECEMBER_MS + 1
    await close(web, "2026-11")

    findings = (await computed_again(web)).findings

    assert "usage[0].quantity is 20, computed is 2" in findings[0]


async def test_an_invoice_from_before_agreements_is_counted_and_not_computed(
    web: Web,
) -> None:
    await closed_twice(web)
    tamper(
        web,
        "UPDATE invoices SET document = json_remove(document, '$.agreement')"
        " WHERE id = 1",
    )

    report = await computed_again(web)

    assert report.invoices_not_computed == 1


async def test_an_invoice_of_a_version_with_fewer_fields_is_the_same(web: Web) -> None:
    await closed_twice(web)
    tamper(
        web,
        "UPDATE invoices SET document = json_remove(document, '$.agreement.grants',"
        " '$.open_before') WHERE id = 2",
    )

    assert (await computed_again(web)).findings == []


async def test_an_invoice_whose_lines_do_not_say_their_time_is_the_same(
    open_web: OpenWeb, tmp_path: Path
) -> None:
    async with open_web(meterline=CALLS, pricing="") as web:
        desk = Desk(web, tmp_path)
        desk.clock("2026-11-15T12:00:00Z")
        await a_dearer_november(desk)
        assert (await computed_again(web)).findings == []

        tamper(
            web,
            "UPDATE invoices SET document = json_remove(document,"
            " '$.invoice.lines[0].span', '$.invoice.lines[1].span')",
        )
        assert (await computed_again(web)).findings == []

        tamper(
            web,
            "UPDATE invoices SET document = json_set(document,"
            " '$.invoice.lines[0].span', json('{\"start\": 1, \"end\": 2}'))",
        )
        assert "lines[0].span" in (await computed_again(web)).findings[0]


async def test_invoices_of_a_counting_before_a_recount_are_computed_by_it(
    tmp_path: Path,
) -> None:
    clock = FakeClock()
    files = METERS.replace(
        'where = { status = "200-499" }', 'where = { status = "200" }'
    )
    async with web_at(tmp_path, clock=clock, meterline=METERS, pricing=PRICING) as web:
        await web.ship(event(), event(status=404))
        clock.time_ms = DECEMBER_MS + 1
        await close(web, "2026-11")
    async with web_at(tmp_path, clock=clock, meterline=files, pricing=PRICING) as web:
        again = await web.http.post(
            "/v1/meters/api_calls/recount", params={"into_final": "a wrong filter"}
        )
        assert again.status_code == 200, again.text
        await web.parts.aggregator.run()
        clock.time_ms = JANUARY_MS + 1
        await close(web, "2026-12")
        last = await web.get("/v1/customers/acme/invoice", period="2026-12")

        assert [one["amount"] for one in last["adjustments"]] == ["-0.50"]
        report = await computed_again(web)
        assert (report.findings, report.invoices) == ([], 2)


async def test_invoices_that_know_corrections_are_computed_with_them(web: Web) -> None:
    await web.ship(event(), event(subject="acme_2"), event(subject="acme_3"))
    await correct(web, events=[1])
    web.clock.time_ms = DECEMBER_MS + 1
    await close(web, "2026-11")
    await revert(web, 1)
    await correct(web, events=[2, 3])
    await correct(web, events=[1], set={"subject": "acme_4"})
    await web.ship(event(time_ms=DECEMBER_MS))
    web.clock.time_ms = JANUARY_MS + 1
    await close(web, "2026-12")
    void = await web.http.post(
        "/v1/invoices/INV-0001/void", json={"reason": "an error of ours"}
    )
    assert void.status_code == 200, void.text
    await revert(web, 4)
    await close(web, "2026-11")

    report = await computed_again(web)

    assert (report.findings, report.invoices) == ([], 3)

    tamper(web, "UPDATE corrected_events SET is_void = 0 WHERE correction_id = 3")
    assert "computed is" in (await computed_again(web)).findings[0]


def test_the_command_says_what_it_computed_and_exits_as_for_others(
    tmp_path: Path,
) -> None:
    async def fill() -> None:
        async with web_at(tmp_path, meterline=METERS, pricing=PRICING) as web:
            await closed_twice(web)

    asyncio.run(fill())
    config = ["--config", str(tmp_path / "meterline.toml")]
    whole = CliRunner().invoke(verify, [*config, "--invoices"])
    assert "2 final invoices computed again" in whole.output
    assert whole.exit_code == 0, whole.output

    connection = sqlite3.connect(tmp_path / "meterline.db")
    with connection:
        connection.execute("UPDATE events SET status = 500 WHERE id = 1")
    connection.close()
    changed = CliRunner().invoke(verify, [*config, "--invoices", "--json"])

    assert changed.exit_code == EXIT_FOUND
    report = msgspec.json.decode(changed.output)["report"]
    assert report["invoices"] == 2
    assert any("computed is 1" in found for found in report["findings"])
