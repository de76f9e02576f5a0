"""``meterline invoice`` with numbers and files."""

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from meterline_sidecar.cli.commands.explain import COLUMNS
from meterline_sidecar.errors import NotInstalled
from meterline_sidecar.pdf import pdf_of
from tests.sidecar_process import METERLINE, PRICING, SidecarProcess, meterline, until

FILE = (
    METERLINE
    + """
[[customer]]
id = "team_1"
name = "Team One"
plan = "fee"
starts = 2026-10-01

[seller]
name = "Example GmbH"

[[alert]]
name = "budget"
customer = "team_1"
amount = 4
at = [100]
"""
)

FEE = """
[[plan]]
name = "fee"
currency = "usd"
[[plan.price]]
name = "fee"
model = "flat"
amount = "5"
[[plan.price]]
name = "All calls"
meter = "api_calls"
model = "per_unit"
unit_amount = "1"
"""


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SidecarProcess]:
    """A sidecar with two final invoices, one of a customer who is called so."""
    folder = tmp_path_factory.mktemp("documents")
    clock = "2026-11-06T12:00:00Z"
    file = FILE.replace('"starter"\n', '"starter"\nstarts = 2026-10-01\n', 1)
    prices = PRICING + FEE
    with SidecarProcess(folder, meterline=file, pricing=prices, clock=clock) as sidecar:
        for name in ("acme", "team_1"):
            run(sidecar, name, "--period", "2026-10", "--finalize")
        yield sidecar


def run(sidecar: SidecarProcess, *arguments: str) -> str:
    done = sidecar.meterline("invoice", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_number_shows_its_document(sidecar: SidecarProcess) -> None:
    shown = run(sidecar, "INV-0001")
    as_json = json.loads(run(sidecar, "INV-1", "--json"))

    assert "Acme Corp: invoice INV-0001 of 2026-11-06, due 2026-11-20" in shown
    assert as_json["number"] == "INV-0001"
    assert as_json["seller"]["name"] == "Example GmbH"


def test_a_customer_who_is_called_like_a_number_is_found_too(
    sidecar: SidecarProcess,
) -> None:
    assert "Team One: draft invoice for 2026-11" in run(sidecar, "team_1")


def test_files_are_written_by_number_or_of_the_newest_final_invoice(
    sidecar: SidecarProcess, tmp_path: Path
) -> None:
    sheet, page = tmp_path / "a.csv", tmp_path / "a.html"

    said = run(sidecar, "INV-0001", "--csv", str(sheet), "--html", str(page))
    run(sidecar, "team_1", "--html", str(tmp_path / "team.html"), "--appendix")

    assert said == f"INV-0001: {page}, {sheet}\n"
    rows = list(csv.DictReader(sheet.read_text().splitlines()))
    assert {row["document"] for row in rows} == {"INV-0001"}
    assert "Invoice <span>INV-0001</span>" in page.read_text()
    assert "Usage of INV-0002" in (tmp_path / "team.html").read_text()


def test_a_pdf_is_written_or_the_command_says_what_to_install(
    sidecar: SidecarProcess, tmp_path: Path
) -> None:
    file = tmp_path / "a.pdf"
    try:
        pdf_of("")
    except NotInstalled as error:
        pytest.skip(str(error))

    run(sidecar, "INV-0001", "--pdf", str(file))

    assert file.read_bytes().startswith(b"%PDF-")


def test_how_an_invoice_came_about_is_told_by_its_number(
    sidecar: SidecarProcess,
) -> None:
    by_number = sidecar.meterline("explain", "INV-0001", "api_calls")
    as_json = json.loads(sidecar.meterline("explain", "INV-1", "--json").stdout)
    by_name = sidecar.meterline("explain", "team_1", "--json")
    events = sidecar.meterline("explain", "INV-0001", "api_calls", "--events", "csv")
    no_line = sidecar.meterline("explain", "INV-0001", "--events", "csv")

    assert "Acme Corp: INV-0001 for 2026-10, $0.00 due" in by_number.stdout
    assert "explain INV-0001 api_calls --events jsonl" in by_number.stdout
    spaced = sidecar.meterline("explain", "INV-0002", "All calls")
    assert "explain INV-0002 'All calls' --events jsonl" in spaced.stdout
    assert (as_json["number"], as_json["customer"]) == ("INV-0001", "acme")
    assert json.loads(by_name.stdout)["customer"] == "team_1"
    assert "0 events, 0 in all; billed 0" in events.stderr
    assert events.stdout == f"{','.join(COLUMNS)}\n"
    assert no_line.returncode == 2


def test_a_statement_lists_documents_and_what_is_owed(sidecar: SidecarProcess) -> None:
    shown = sidecar.meterline("statement", "acme")
    as_json = json.loads(sidecar.meterline("statement", "acme", "--json").stdout)
    unknown = sidecar.meterline("statement", "nobody")

    assert "Acme Corp: statement of account" in shown.stdout
    assert "2026-11-06  INV-0001  2026-10  2026-11-20" in shown.stdout
    assert [entry["number"] for entry in as_json["entries"]] == ["INV-0001"]
    assert unknown.returncode == 1


def test_other_prices_are_paid_by_what_was_granted_as_well(
    sidecar: SidecarProcess, tmp_path: Path
) -> None:
    file = tmp_path / "new.toml"
    file.write_text(FEE.replace('"fee"', '"starter"', 1) + FEE)

    granted = sidecar.meterline("credit", "acme", "8", "--prepaid", "--reason", "case")
    shown = sidecar.meterline("what-if", "--plan", str(file), "--json").stdout

    assert "Prepaid credit of 6 November 2026  " in granted.stdout
    (acme,) = (
        one for one in json.loads(shown)["customers"] if one["customer"] == "acme"
    )
    assert (acme["before"], acme["after"]) == ("0.00", "0.00")
    names = [line["name"] for line in acme["lines"]]
    assert "Prepaid credit of 6 November 2026 (credit 1)" in names


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["INV-0099"], "no invoice or credit note 'INV-0099'"),
        (["nobody", "--csv", "x.csv"], "only what is final has a number"),
        (["acme", "--period", "2026-11", "--csv", "x.csv"], "for 2026-11"),
    ],
)
def test_what_has_no_document_is_told(
    sidecar: SidecarProcess, tmp_path: Path, arguments: list[str], said: str
) -> None:
    done = sidecar.meterline("invoice", *arguments)

    assert done.returncode == 1
    assert said in done.stderr


def test_documents_are_listed_for_people_and_for_spreadsheets(
    sidecar: SidecarProcess, tmp_path: Path
) -> None:
    file = tmp_path / "all.csv"

    shown = sidecar.meterline("invoices").stdout
    as_json = json.loads(sidecar.meterline("invoices", "--json").stdout)
    newest = sidecar.meterline("invoices", "--limit", "1", "--csv", "-").stdout
    written = sidecar.meterline("invoices", "--period", "last", "--csv", str(file))
    nothing = sidecar.meterline("invoices", "--state", "void").stdout
    wrong = sidecar.meterline("invoices", "--period", "lasst")

    assert "INV-0002  team_1    2026-10  2026-11-06  2026-11-20  final" in shown
    assert "$5.00 left to pay" in shown
    assert [one["number"] for one in as_json] == ["INV-0002", "INV-0001"]
    (row,) = csv.DictReader(newest.splitlines())
    assert (row["number"], row["net"], row["left"]) == ("INV-0002", "5.00", "5.00")
    assert written.stdout == f"{file}: 2 rows\n"
    assert "\n".join(newest.splitlines()) in file.read_text()
    assert "no such invoice is final" in nothing
    assert (wrong.returncode, "did you mean `last`?" in wrong.stderr) == (2, True)


def test_alerts_that_stand_are_listed_with_what_to_do(sidecar: SidecarProcess) -> None:
    until(lambda: "budget" in sidecar.meterline("alerts").stdout)

    shown = sidecar.meterline("alerts").stdout
    (one,) = json.loads(sidecar.meterline("alerts", "--all", "--json").stdout)
    nothing = sidecar.meterline("alerts", "--customer", "acme").stdout

    assert "! Team One has reached 100 % of $4.00 in 2026-11: $5.00 [budget]" in shown
    assert "until 2026-12-01T00:00:00.000Z; no webhook is told" in shown
    assert "-> `meterline invoice team_1`" in shown
    assert (one["is_open"], one["state"]) == (True, "shown")
    assert nothing.startswith("no alert of acme stands; --all")


@pytest.mark.parametrize(
    "command", [("alerts",), ("late", "list"), ("held", "list"), ("invoices",)]
)
def test_a_filter_by_somebody_who_is_not_there_is_no_empty_list(
    sidecar: SidecarProcess, command: tuple[str, ...]
) -> None:
    wrong = sidecar.meterline(*command, "--customer", "team_2")
    as_json = sidecar.meterline(*command, "--customer", "team_2", "--json")
    known = sidecar.meterline(*command, "--customer", "acme")

    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert "no customer 'team_2'; did you mean team_1?" in wrong.stderr
    assert (as_json.returncode, as_json.stdout) == (1, "")
    assert known.returncode == 0, known.stderr


@pytest.mark.parametrize("ttl", ["2d", "48h", "0h", "\uff11h", f"{'9' * 5000}h"])
def test_how_long_a_link_may_last_is_said_where_it_is_asked_for(
    sidecar: SidecarProcess, ttl: str
) -> None:
    done = sidecar.meterline("token", "portal", "--customer", "acme", "--ttl", ttl)

    assert done.returncode == 2
    assert f"Error: --ttl: {ttl[:40]} is n" in done.stderr


def test_an_amount_that_is_empty_is_not_taken_for_none(
    sidecar: SidecarProcess,
) -> None:
    done = sidecar.meterline("invoice", "INV-0001", "--paid", "")

    assert (done.returncode, done.stdout) == (1, "")
    assert "amount: `` is no number" in done.stderr


def test_what_became_of_an_invoice_is_noted_and_shown(sidecar: SidecarProcess) -> None:
    on = ("--on", "2026-11-05", "--reference", "transfer 7", "--key", "t7")
    run(sidecar, "INV-0002", "--paid", "0.01", *on)
    paid = run(sidecar, "INV-0002", "--paid", "0.01", *on)
    assert "sent since" in run(sidecar, "INV-0002", "--sent")
    back = run(sidecar, "INV-0002", "--refund", "0.01", "--reason", "the bank did")
    void = run(sidecar, "INV-0002", "--void", "--reason", "wrong price")

    assert paid.count("paid on 2026-11-05: transfer 7") == 1
    assert "left to pay: $" in paid
    assert "by local: wrong price" in void
    assert "credited by CN-" in void
    assert "credit it: `meterline invoice INV-0002 --credit AMOUNT" in back
    again = run(sidecar, "team_1", "--period", "2026-10", "--finalize")
    assert "final invoice for 2026-10" in again
    run(sidecar, "INV-0003", "--paid", "5")
    credited = run(sidecar, "INV-0003", "--credit", "1", "--reason", "half an outage")
    assert "in the customer's favour: $1.00" in credited
    assert "`meterline invoice INV-0003 --refund 1.00 --reason" in credited
    assert "$1.00 in customers' favour" in sidecar.meterline("invoices").stdout
    account = sidecar.meterline("statement", "team_1").stdout
    assert (account.count("payment of"), account.count("refund of")) == (2, 1)
    assert "in the customer's favour: $1.00" in account
    refused = sidecar.meterline("invoice", "INV-0002", "--sent")
    assert (refused.returncode, "is void" in refused.stderr) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("invoice", "INV-9999"), "no invoice or credit note 'INV-9999'"),
        (("explain", "INV-9999"), "no invoice or credit note 'INV-9999'"),
        (("statement", "INV-9999"), "it looks like the number of a document"),
        (("invoice", "nobody"), "no customer 'nobody'"),
    ],
)
def test_what_is_not_there_is_called_what_it_looks_like(
    sidecar: SidecarProcess, arguments: tuple[str, ...], said: str
) -> None:
    done = sidecar.meterline(*arguments)

    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--void",), "--void needs --reason"),
        (("--void", "--sent", "--reason", "x"), "two steps"),
        (("--reference", "x"), "goes with --paid or --refund"),
        (("--sent", "--on", "2026-11-05"), "goes with --paid or --refund"),
    ],
)
def test_steps_that_make_no_sense_are_refused_before_anything_is_asked(
    sidecar: SidecarProcess, options: tuple[str, ...], said: str
) -> None:
    done = sidecar.meterline("invoice", "INV-0001", *options)

    assert done.returncode == 2
    assert said in done.stderr


def test_what_stripe_and_the_desk_know_of_invoices_is_printed(
    sidecar: SidecarProcess,
) -> None:
    told = sidecar.meterline("outbox", "invoice", "INV-0001")
    retried = sidecar.meterline("outbox", "invoice", "INV-0001", "--retry")
    taken = sidecar.meterline("outbox", "invoice", "INV-0001", "--take-credit-notes")
    both = sidecar.meterline(
        *("outbox", "invoice", "INV-0001", "--retry", "--take-credit-notes")
    )
    months = sidecar.meterline("close", "--list", "paid")
    as_json = json.loads(sidecar.meterline("close", "--list", "paid", "--json").stdout)

    assert "INV-0001 is not collected through Stripe" in told.stdout
    assert (retried.returncode, "nothing of this" in retried.stderr) == (1, True)
    assert (taken.returncode, "is not at Stripe" in taken.stderr) == (1, True)
    assert (both.returncode, "are two steps" in both.stderr) == (2, True)
    assert "2026-10" in months.stdout
    assert as_json["months"][0]["period"] == "2026-10"


def test_what_was_exported_is_told_as_json(
    sidecar: SidecarProcess, tmp_path: Path
) -> None:
    books = str(tmp_path / "books")
    what = ("--export", books, "--documents", "html", "--period", "last")

    told = json.loads(sidecar.meterline("close", *what, "--json").stdout)

    assert told["folder"] == books
    assert told["n_documents"] >= 1


def test_a_link_for_a_customer_is_told_as_json(sidecar: SidecarProcess) -> None:
    done = sidecar.meterline("token", "portal", "--customer", "acme", "--json")

    told = json.loads(done.stdout)
    assert told["url"].endswith(f"/portal?token={told['token']}")


def test_the_address_of_a_customers_page_is_printed_alone(
    sidecar: SidecarProcess,
) -> None:
    done = sidecar.meterline("token", "portal", "--customer", "acme", "--link")

    assert re.fullmatch(r"\S*/portal\?token=\S+\n", done.stdout)


@pytest.mark.parametrize("amount", ["-5", "-5.00", "-0.5", "-.5"])
def test_an_amount_below_zero_is_told_how_a_credit_is_taken_back(amount: str) -> None:
    done = meterline("credit", "acme", amount, "--reason", "x")

    assert done.returncode == 2
    assert "an AMOUNT is above 0; to take a credit back" in done.stderr


def test_an_option_that_there_is_not_is_still_one() -> None:
    done = meterline("credit", "acme", "5", "--reazon", "x")

    assert done.returncode == 2
    assert "No such option" in done.stderr
    assert "--reason" in done.stderr
