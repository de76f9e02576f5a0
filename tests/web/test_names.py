"""Meters are shown by their titles wherever people look, and by their names to programs."""

from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from meterline.portal import portal_token
from meterline_sidecar.cli.commands.invoice import tell_invoice
from meterline_sidecar.cli.commands.outbox import tell_rows
from meterline_sidecar.cli.commands.quote import command as quote
from meterline_sidecar.cli.commands.reconcile import tell_lines as tell_compared
from meterline_sidecar.cli.commands.usage import AllUsage, tell_usage
from meterline_sidecar.cli.names import named
from meterline_sidecar.stripe.comparison import ByHand, ReconciledSeries
from meterline_sidecar.web.answers.invoices import ShownInvoice
from meterline_sidecar.web.answers.meters import Meters
from meterline_sidecar.web.answers.outbox import OutboxPage, Reconciliation, ShownRow
from meterline_sidecar.web.answers.usage import Unassigned, UsagePage
from tests.plans import starter_each
from tests.producer import NOON_MS, event
from tests.sidecar_process import METERLINE, SIDECAR
from tests.web.conftest import OpenWeb, Web, configure

AT_STRIPE = 'bill_through = "meter"\nstripe_event_name = "bytes_at_stripe"'
ROW = ShownRow(
    id=1,
    state="pending",
    customer="acme",
    stripe_customer=None,
    meter="traffic",
    event_name="bytes_at_stripe",
    mode="delta",
    hour="2026-11-01T00:00:00Z",
    part=0,
    value=1_500_000,
    identifier="one",
    idempotency_key="one",
    attempts=0,
    last_sent=None,
    in_doubt_since=None,
    request_id=None,
    reason=None,
    replaced_by=None,
)
COMPARED = Reconciliation(
    start="2026-11-01T00:00:00Z",
    end="2026-12-01T00:00:00Z",
    is_equal=True,
    lines=[
        ReconciledSeries(
            customer="acme",
            stripe_customer=None,
            event_name="bytes_at_stripe",
            ours=1_500_000,
            theirs=Decimal(1_500_000),
            waiting=0,
            unresolved=0,
            failed=0,
            verdict="equal",
        )
    ],
    by_hand=[
        ByHand(
            customer="acme",
            event_name="bytes_at_stripe",
            month=0,
            quantity=1_500_000,
            reason="too late",
        )
    ],
)
NAMED = METERLINE.replace(
    'aggregation = "count"\n', 'aggregation = "count"\ntitle = "API <calls>"\n'
).replace(
    "[[customer]]",
    """
[[meter]]
name = "traffic"
aggregation = "sum"
value = "bytes_out"
title = "Traffic"
unit = "bytes"

[[meter]]
name = "tokens"
aggregation = "sum"
value = "quantities.tokens"
title = "Words"
unit = "tokens"

[[meter]]
name = "own_cost"
aggregation = "count"
title = "Our own cost"
hidden = true

[[alert]]
name = "many"
meter = "traffic"
amount = 1_000
at = [100]

[[customer]]""",
    1,
)
PRICING = (
    starter_each("1")
    + """
[[plan.price]]
meter = "traffic"
model = "per_unit"
unit_amount = "0"

[[plan.price]]
meter = "tokens"
name = "words"
description = "Words of the month"
model = "per_unit"
unit_amount = "0"
"""
)
CALLS = "API &lt;calls&gt;"
RAW = ("api_calls", "traffic", "tokens", "own_cost")


async def used(web: Web) -> None:
    await web.ship(
        event(subject="acct_1", bytes_out=1_500_000, quantities={"tokens": 512}),
        event(subject="nobody", bytes_out=7),
    )
    await web.parts.standings.refresh()


def words(html: str) -> str:
    """Return what a page says, without its tags."""
    return " ".join("".join(p.partition(">")[2] for p in html.split("<")).split())


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/", ["API &lt;calls&gt; in 24h", "Traffic", "Words"]),
        ("/?meter=traffic", ["1.5 MB of Traffic in 24h"]),
        ("/usage?meter=tokens", ["512 tokens of Words in 24h", "7 bytes of Traffic"]),
        ("/customers", [CALLS, "Traffic", "1.5 MB", "512 tokens"]),
        ("/customers/acme", [CALLS, "1.5 MB", "tokens, total", "Words of the month"]),
        ("/pricing", [f"per unit of {CALLS}", "per unit of Words"]),
        ("/alerts", ["1,500,000", "Traffic reaches 100 % of 1,000"]),
    ],
)
async def test_pages_show_titles_and_units(
    open_web: OpenWeb, path: str, said: list[str]
) -> None:
    async with open_web(meterline=NAMED, pricing=PRICING) as web:
        await used(web)

        response = await web.http.get(path, headers={"Accept": "text/html"})

        assert response.status_code == 200
        # What is about the files says names; money that nobody asks for is no secret.
        text = words(response.text).replace("acme (own_cost)", "")
        text = text.replace("Used but not charged: Our own cost.", "")
        assert [one for one in said if one not in text] == []
        assert [name for name in RAW if name != "tokens" and name in text] == []
        is_usage = path.startswith("/usage")
        assert ("Our own cost" in text) == is_usage  # the one page that has it


async def test_the_exact_number_of_bytes_is_never_lost(open_web: OpenWeb) -> None:
    async with open_web(meterline=NAMED, pricing=PRICING) as web:
        await used(web)

        response = await web.http.get(
            "/customers/acme", headers={"Accept": "text/html"}
        )

        assert 'value="1500000" title="1,500,000 bytes">1.5 MB' in response.text


async def test_the_customers_page_shows_titles_and_nothing_hidden(
    open_web: OpenWeb,
) -> None:
    async with open_web(meterline=NAMED, pricing=PRICING) as web:
        await used(web)
        key = web.parts.portal_key
        token = portal_token("acme", key=key, ttl_s=600, now_s=NOON_MS // 1000)

        page = await web.http.get(
            "/portal", params={"token": token}, headers={"Accept": "text/html"}
        )
        table = await web.http.get("/portal/usage.csv", params={"token": token})
        data = await web.get("/portal/usage.json", token=token)
        hidden = await web.http.get(
            "/portal", params={"token": token, "meter": "own_cost"}
        )

    text = words(page.text)
    assert all(s in text for s in (CALLS, "Traffic", "1.5 MB", "Words of the month"))
    assert "own" not in text
    assert "api_calls" not in text
    assert table.text.splitlines()[0] == "date,API <calls>,Traffic,Words"
    assert [(m["meter"], m["title"], m["unit"]) for m in data["meters"]] == [
        ("api_calls", "API <calls>", ""),
        ("traffic", "Traffic", "bytes"),
        ("tokens", "Words", "tokens"),
    ]
    assert hidden.status_code == 400


async def test_commands_print_titles_and_units(
    open_web: OpenWeb, capsys: pytest.CaptureFixture[str]
) -> None:
    async with open_web(meterline=NAMED, pricing=PRICING) as web:
        await used(web)
        usage = await web.http.get("/v1/usage")
        nobodys = await web.http.get("/v1/usage/unassigned")
        invoice = await web.http.get("/v1/customers/acme/invoice")

    page = msgspec.json.decode(usage.content, type=UsagePage)
    unassigned = msgspec.json.decode(nobodys.content, type=Unassigned).unassigned
    tell_usage(
        AllUsage(
            fresh_as_of=None,
            recounting_percent=None,
            usage=page.usage,
            left_out=page.left_out,
            unassigned=unassigned,
        )
    )
    tell_invoice(msgspec.json.decode(invoice.content, type=ShownInvoice))
    printed = capsys.readouterr().out

    said = ("API <calls>", "1,500,000 bytes", "512 tokens", "7 bytes", "Words of the")
    assert [one for one in said if one not in printed] == []
    assert "api_calls" not in printed


async def test_programs_are_told_names(open_web: OpenWeb) -> None:
    async with open_web(meterline=NAMED, pricing=PRICING) as web:
        await used(web)

        meters = (await web.get("/v1/usage"))["usage"][0]["meters"]
        invoice = await web.get("/v1/customers/acme/invoice")

    assert [meter["meter"] for meter in meters] == list(RAW)
    lines = invoice["invoice"]["lines"]
    assert [line["description"] for line in lines][:2] == ["api_calls", "traffic"]


async def test_alerts_are_told_in_words(open_web: OpenWeb) -> None:
    async with open_web(meterline=NAMED, pricing=PRICING) as web:
        await used(web)

        (alert,) = (await web.get("/v1/alerts"))["alerts"]

    assert "100 % of 1,000 bytes of Traffic in 2026-11: 1,500,000" in alert["message"]


async def test_a_new_title_is_no_change_of_what_is_counted(open_web: OpenWeb) -> None:
    async with open_web(meterline=METERLINE, pricing=starter_each("1")) as web:
        await used(web)
        folder = web.parts.config.file
        assert folder is not None
        renamed = METERLINE.replace(
            'name = "api_calls"\n', 'name = "api_calls"\ntitle = "Calls"\nunit = "x"\n'
        )
        configure(folder.parent, meterline=renamed, sidecar=SIDECAR)

        loaded = await web.parts.files.reload(author="test")
        page = await web.http.get("/customers/acme", headers={"Accept": "text/html"})

        assert [change for change in loaded.changes if "meter" in change] == []
        assert (await web.get("/status"))["aggregation"]["recounting_percent"] is None
        assert "1 x of Calls by day" in words(page.text)


async def test_what_stripe_is_told_is_printed_with_titles_and_units(
    open_web: OpenWeb, capsys: pytest.CaptureFixture[str]
) -> None:
    billed = NAMED.replace('title = "Traffic"', 'title = "Traffic"\n' + AT_STRIPE)
    async with open_web(meterline=billed, pricing=PRICING) as web:
        meters = msgspec.convert(await web.get("/v1/meters"), Meters)
    told = {one.meter: (one.title, one.event_name) for one in meters.meters}
    assert told["traffic"] == ("Traffic", "bytes_at_stripe")
    assert told["tokens"] == ("Words", None)

    tell_rows(OutboxPage(mode="send", rows=[ROW], next_after=None), named(meters))
    tell_compared(COMPARED, named(meters, at_stripe=True))
    printed = capsys.readouterr().out

    assert printed.count("Traffic") == 3
    assert printed.count("1,500,000 bytes") == 4
    assert "bytes_at_stripe" not in printed


def test_a_quote_is_printed_with_titles_and_units(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configure(tmp_path, meterline=NAMED, pricing=PRICING)
    arguments = ["starter", "tokens=512", "--config", str(config.file)]

    quote.main(arguments, standalone_mode=False)

    assert "512 tokens" in capsys.readouterr().out
