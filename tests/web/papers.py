"""Documents of many sorts: long ones, short ones, and in every kind of script."""

import re
from decimal import Decimal

from meterline_sidecar.billing.documents import Issuer
from meterline_sidecar.ledger.chain import ChainFiles
from meterline_sidecar.ledger.journal import Journal
from meterline_sidecar.store import documents as store
from tests.web.test_final import Desk

METERS = """
[[meter]]
name = "calls"
title = "API calls"
aggregation = "count"
group_by = ["route"]

[[meter]]
name = "egress"
title = "Traffic"
unit = "bytes"
aggregation = "sum"
value = "bytes_out"
"""
SELLER = """
[seller]
name = "Example GmbH"
address = ["Hauptstr. 1", "10115 Berlin", "Germany"]
tax_id = "VAT DE123456789"
email = "billing@example.com"
payment = ["Example Bank", "IBAN DE02 1203 0000 0000 2020 51", "BIC BYLADEM1001"]
"""
TIERED = """
[[plan]]
name = "tiered"
currency = "usd"

[[plan.price]]
name = "Platform fee"
model = "flat"
amount = "49"
[[plan.price]]
name = "API calls"
meter = "calls"
model = "graduated"
tiers = [
  { up_to = 10, unit_amount = "0" },
  { up_to = 100, unit_amount = "0.02" },
  { unit_amount = "0.01" },
]
[[plan.price]]
name = "=Traffic"
meter = "egress"
model = "package"
size = 1_000
amount = "0.05"
[[plan.tax]]
name = "VAT"
percent = "19"
"""
DINAR = """
[[plan]]
name = "dinar"
currency = "kwd"
[[plan.price]]
meter = "calls"
model = "per_unit"
unit_amount = "1.2345"
"""
YEN = """
[[plan]]
name = "yen"
currency = "jpy"
[[plan.price]]
meter = "calls"
model = "per_unit"
unit_amount = "1200"
"""
LONG = '[[plan]]\nname = "long"\ncurrency = "eur"\n' + "".join(
    f'[[plan.price]]\nname = "Service {i:02d} of a plan with very many prices"\n'
    f'model = "flat"\namount = "{i}.50"\n'
    for i in range(1, 41)
)
PRICING = TIERED + DINAR + YEN + LONG
BUYERS = {
    "acme": ("tiered", "Acme Corporation", '"1 High Street", "London"'),
    "kuwait": ("dinar", "شركة الخليج للتجارة", '"شارع فهد السالم", "الكويت"'),
    "tokyo": ("yen", "東京クラウド株式会社", '"東京都千代田区丸の内1-1"'),
    "long": ("long", "Very " * 30 + "Long Name Ltd", f'"{"Z" * 150}", "Somewhere"'),
}


def customers(period: str = "") -> str:
    """Return the tables of all buyers."""
    return "".join(
        f'[[customer]]\nid = "{id_}"\nname = "{name}"\nsubjects = ["{id_}_*"]\n'
        f'plan = "{plan}"\naddress = [{address}]\nstarts = 2026-10-01\n'
        f'time_zone = "Europe/Berlin"\n{period}'
        for id_, (plan, name, address) in BUYERS.items()
    )


async def issue_all(desk: Desk) -> None:
    """Make October final of everybody, then November with late usage, and a credit."""
    await desk.load(METERS + customers(), PRICING)
    for id_ in BUYERS:
        for route, n in (("/v1/search", 130), ("/v1/items/{id}", 20)):
            await desk.use(
                "2026-10-10T00:00:00Z", n, f"{id_}_1", route=route, bytes_out=2_000
            )
    desk.clock("2026-11-02T12:00:00Z")
    for id_ in BUYERS:
        await desk.close("2026-10", id_)
    await desk.use("2026-10-11T00:00:00Z", 10, "acme_1", bytes_out=500)
    await desk.use("2026-11-10T00:00:00Z", 3, "acme_1", bytes_out=500)
    desk.clock("2026-12-02T12:00:00Z")
    await desk.close("2026-11", "acme")
    await credit(desk, "INV-", 1, "12.34")


async def credit(desk: Desk, series: str, number: int, amount: str) -> None:
    """Issue a credit note to an invoice."""
    parts = desk.web.parts
    chain = ChainFiles(parts.config.sidecar.database)
    issuer = Issuer(lambda: parts.config, Journal(chain.key(has_batches=True)))
    async with parts.database.transaction() as tx:
        invoice = await store.numbered(tx, series, number)
        assert invoice is not None
        buyer = parts.customers.get(invoice.customer)
        assert buyer is not None
        await issuer.credit_note(
            tx,
            invoice,
            Decimal(amount),
            buyer=buyer,
            reason="Outage on 12 October",
            now_ms=parts.clock.now_ms(),
        )


def lines_of(html: str) -> str:
    """Return what stands on a document above what is left of it."""
    above, table = html.split('<table class="lines">')
    rows = table.partition("</table>")[0].split("<tr")
    words = ("Amount due", "Total<", "Credited by", "Paid<", "Left to pay")
    return above + "".join(row for row in rows if not any(w in row for w in words))


def below_of(html: str) -> list[str]:
    """Return what a document says of what is due: each row, and each paragraph."""
    _, sums, rest = html.partition('<tbody class="sums">')
    table, _, below = rest.partition("</table>")
    footer = below.partition("</footer>")[0]
    parts = re.findall("<tr.*?</tr>|<p.*?</p>", f"{sums}{table}{footer}", re.DOTALL)
    return [" ".join(re.sub("<[^>]*>", " ", part).split()) for part in parts]


def asking(amount: str, number: str, by: str = "16 November 2026") -> tuple[str, ...]:
    """Return how a document of ``SELLER`` asks for an amount."""
    return (
        f"Please pay {amount} by {by}, and quote {number}.",
        "Example Bank IBAN DE02 1203 0000 0000 2020 51 BIC BYLADEM1001",
        "Questions: billing@example.com",
    )
