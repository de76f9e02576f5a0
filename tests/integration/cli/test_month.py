"""The month's tables for an accountant: they add up to what the ledger says."""

import csv
import io
import os
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from meterline_sidecar.cli.client import Client
from meterline_sidecar.cli.month import (
    DOCUMENTS,
    FOCUS,
    LINES,
    TAXES,
    TOTALS,
    export_month,
)
from meterline_sidecar.clock import parse_time_ms
from meterline_sidecar.web.documents import focus
from tests.producer import event
from tests.web.live import LiveSidecar
from tests.web.papers import BUYERS, METERS, PRICING, SELLER, customers

SPAN = ("2026-09-30T22:00:00Z", "2026-10-31T23:00:00Z")  # October in Berlin


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveSidecar]:
    """A sidecar in which October is final, and November has adjustments of it."""
    with LiveSidecar(
        tmp_path_factory.mktemp("month"),
        meterline=METERS + customers() + SELLER,
        pricing=PRICING,
        clock="2026-11-02T12:00:00Z",
    ) as sidecar:
        use(sidecar, "2026-10-10T00:00:00Z", 150, counted=0)
        close(sidecar, "2026-10")
        use(sidecar, "2026-10-11T00:00:00Z", 40, counted=150 * len(BUYERS))
        sidecar.set_clock("2026-12-02T12:00:00Z")
        close(sidecar, "2026-11")
        yield sidecar


def use(sidecar: LiveSidecar, at: str, n: int, *, counted: int) -> None:
    at_ms = parse_time_ms(at)
    for name in BUYERS:
        sidecar.ship(
            *(
                event(time_ms=at_ms, subject=f"{name}_1", bytes_out=777)
                for _ in range(n)
            )
        )
    sidecar.until_counted(counted + n * len(BUYERS))


def close(sidecar: LiveSidecar, period: str) -> None:
    with sidecar.client() as client:
        for name in BUYERS:
            client.post(
                f"/v1/customers/{name}/invoice/finalize?period={period}"
            ).raise_for_status()


def export(sidecar: LiveSidecar, folder: Path, period: str) -> dict[str, Decimal]:
    with Client(sidecar.url) as client:
        done = export_month(client, folder, period=period, documents="html")
    assert done.n_documents == len(BUYERS)
    return done.due


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def in_ledger(sidecar: LiveSidecar, period: str) -> dict[str, Decimal]:
    sums: dict[str, Decimal] = defaultdict(Decimal)
    connection = sqlite3.connect(f"file:{sidecar.database}?mode=ro", uri=True)
    for currency, amount in connection.execute(
        "SELECT document ->> '$.invoice.currency', document ->> '$.due' FROM invoices"
        " WHERE period = ?",
        (period,),
    ):
        sums[currency] += Decimal(amount)
    connection.close()
    return sums


@pytest.mark.parametrize("period", ["2026-10", "2026-11"])
def test_every_table_adds_up_to_what_the_ledger_says(
    sidecar: LiveSidecar, tmp_path: Path, period: str
) -> None:
    due = export(sidecar, tmp_path, period)

    in_totals: dict[str, Decimal] = defaultdict(Decimal)
    taxes: dict[str, Decimal] = defaultdict(Decimal)
    for row in read(tmp_path / TOTALS):
        in_totals[row["currency"]] += Decimal(row["amount"])
        parts = (row["net"], row["tax"], row["adjustments"])
        assert sum(map(Decimal, parts)) == Decimal(row["amount"])
        taxes[row["document"]] += Decimal(row["tax"]) + Decimal(row["adjustments_tax"])
    for row in read(tmp_path / TAXES):
        taxes[row["document"]] -= Decimal(row["amount"])
        difference = Decimal(row["base"]) * 19 / 100 - Decimal(row["amount"])
        assert abs(difference) <= Decimal("0.01")  # two that are rounded each
    assert set(taxes.values()) == {0}
    in_lines: dict[str, Decimal] = defaultdict(Decimal)
    for row in read(tmp_path / LINES):
        if row["row"] != "charge":
            in_lines[row["currency"]] += Decimal(row["amount"])
    in_focus: dict[str, Decimal] = defaultdict(Decimal)
    for row in read(tmp_path / FOCUS):
        in_focus[row["BillingCurrency"].lower()] += Decimal(row["BilledCost"])
    assert due == in_ledger(sidecar, period)
    assert in_totals == in_lines == in_focus == due


def test_each_document_is_there_and_not_written_again(
    sidecar: LiveSidecar, tmp_path: Path
) -> None:
    export(sidecar, tmp_path, "2026-10")
    first = tmp_path / DOCUMENTS / "INV-0001.html"
    written_over(first, "kept")
    (tmp_path / DOCUMENTS / "INV-0002.html").unlink()

    export(sidecar, tmp_path, "2026-10")

    assert first.read_text() == "kept"
    assert sorted(path.name for path in (tmp_path / DOCUMENTS).iterdir()) == [
        f"INV-000{i}.html" for i in range(1, len(BUYERS) + 1)
    ]


def written_over(path: Path, text: str) -> None:
    """Write other words into a file that keeps its time."""
    was = path.stat()
    path.write_text(text)
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))


def test_what_was_paid_credited_or_made_void_since_is_written_again(
    sidecar: LiveSidecar, tmp_path: Path
) -> None:
    sidecar.set_clock("2026-12-31T12:00:00Z")  # before the month can end by itself
    use(sidecar, "2026-12-10T00:00:00Z", 150, counted=190 * len(BUYERS))
    sidecar.set_clock("2027-01-02T12:00:00Z")
    close(sidecar, "2026-12")
    export(sidecar, tmp_path, "2026-12")
    papers = sorted((tmp_path / DOCUMENTS).iterdir())
    for path in papers:
        assert "Please pay" in path.read_text()
        written_over(path, "kept")
    paid, credited, void, _untouched = (path.stem for path in papers)
    sidecar.set_clock("2027-01-03T12:00:00Z")
    with sidecar.client() as client:
        for step, body in (
            (f"{paid}/payments", {"amount": "0.10"}),
            (f"{credited}/credit", {"amount": "1", "reason": "an outage"}),
            (f"{void}/void", {"reason": "wrong"}),
        ):
            client.post(f"/v1/invoices/{step}", json=body).raise_for_status()

    with Client(sidecar.url) as client:
        export_month(client, tmp_path, period="2026-12", documents="html")

    texts = [path.read_text() for path in papers]
    assert texts[3] == "kept"
    assert "Paid</th>" in texts[0]
    assert "Credited by CN-" in texts[1]
    assert "VOID" in texts[2]


def test_rows_of_focus_keep_its_rules(sidecar: LiveSidecar, tmp_path: Path) -> None:
    export(sidecar, tmp_path, "2026-10")
    rows = read(tmp_path / FOCUS)
    export(sidecar, tmp_path, "2026-11")
    later = read(tmp_path / FOCUS)

    assert {tuple(row) for row in rows} == {focus.COLUMNS}
    for row in rows + later:
        category, is_correction = row["ChargeCategory"], row["ChargeClass"] != ""
        assert category in ("Usage", "Purchase", "Tax", "Credit", "Adjustment")
        assert row["ChargeClass"] in ("", "Correction")
        assert is_correction == (category == "Adjustment")  # of these plans
        assert bool(row["PricingQuantity"]) == (category in ("Usage", "Purchase"))
        assert bool(row["PricingUnit"]) == bool(row["PricingQuantity"])
        assert bool(row["ConsumedQuantity"]) == (category == "Usage")
        assert (category, row["ChargeFrequency"]) != ("Purchase", "Usage-Based")
        assert row["ProviderName"] == "Example GmbH"
        assert row["BillingAccountId"] in BUYERS
    assert {(r["BillingPeriodStart"], r["BillingPeriodEnd"]) for r in rows} == {SPAN}
    assert any(row["ChargeClass"] for row in later)


def test_what_is_void_and_invoiced_again_counts_once_and_each_file_says_so(
    tmp_path: Path,
) -> None:
    with LiveSidecar(
        tmp_path,
        meterline=METERS + customers() + SELLER,
        pricing=PRICING,
        clock="2026-11-02T12:00:00Z",
    ) as sidecar:
        use(sidecar, "2026-10-10T00:00:00Z", 150, counted=0)
        close(sidecar, "2026-10")
        export(sidecar, tmp_path, "2026-10")
        before = read(tmp_path / TOTALS)
        name = next(iter(BUYERS))
        (void,) = (row["document"] for row in before if row["customer"] == name)
        with sidecar.client() as client:
            for step, body in (("credit", {"amount": "1"}), ("void", {})):
                client.post(
                    f"/v1/invoices/{void}/{step}", json={"reason": "wrong", **body}
                ).raise_for_status()
            client.post(
                f"/v1/customers/{name}/invoice/finalize?period=2026-10"
            ).raise_for_status()
        with Client(sidecar.url) as reader:
            export_month(reader, tmp_path, period="2026-10", documents="html")
        listed = sidecar.meterline("invoices", "--customer", name, "--csv", "-").stdout
        told = sidecar.meterline(
            "invoices", "--customer", name, "--kind", "invoice"
        ).stdout
        whole = sidecar.meterline("invoices", "--customer", name).stdout

    def sums(rows: list[dict[str, str]], amount: str, state: str) -> dict[str, Decimal]:
        found: dict[str, Decimal] = defaultdict(Decimal)
        for row in rows:
            if row.get("row") != "charge":
                found[row[state]] += Decimal(row[amount])
        return found

    (number,) = {row["document"] for row in read(tmp_path / TOTALS)} - {
        *(row["document"] for row in before),
        *("CN-0001", "CN-0002"),
    }
    due = sum(Decimal(row["amount"]) for row in before if row["customer"] == name)
    notes = "CN-0001 CN-0002"
    totals = [row for row in read(tmp_path / TOTALS) if row["customer"] == name]
    lines = [row for row in read(tmp_path / LINES) if row["customer"] == name]
    taxes = [row for row in read(tmp_path / TAXES) if row["customer"] == name]
    in_focus = [
        row for row in read(tmp_path / FOCUS) if row["BillingAccountId"] == name
    ]
    of_list = list(csv.DictReader(io.StringIO(listed)))
    for rows in (totals, lines, of_list):
        assert sums(rows, "amount", "invoice_state") == {"void": 0, "final": due}
    assert sums(taxes, "amount", "invoice_state")["void"] == 0
    assert sums(in_focus, "BilledCost", "x_InvoiceState") == {"void": 0, "final": due}
    assert {
        (row["document"], row["invoice"], row["invoice_state"]) for row in totals
    } == {
        (number, number, "final"),
        (void, void, "void"),
        ("CN-0001", void, "void"),
        ("CN-0002", void, "void"),
    }
    assert {
        (row["document"], row["credit_notes"]) for row in lines if row["credit_notes"]
    } == {(void, notes)}
    assert {
        (row["InvoiceId"], row["x_OriginalInvoiceId"], row["x_CreditNoteIds"])
        for row in in_focus
    } == {
        (number, number, ""),
        (void, void, notes),
        ("CN-0001", void, ""),
        ("CN-0002", void, ""),
    }
    assert {(row["number"], row["invoice"]) for row in of_list} == {
        (row["document"], row["invoice"]) for row in totals
    }
    assert "is on void invoices, without all of the credit notes" in told
    assert "void invoices" not in whole
