"""A running sidecar reads its files again, and what it refuses at its start."""

import json
import os
import signal
from pathlib import Path

import pytest

from meterline_sidecar.clock import parse_time_ms
from tests.integration.billing.test_invoices import invoice, ship
from tests.plans import starter_each
from tests.producer import event
from tests.sidecar_process import METERLINE, PRICING, SIDECAR, SidecarProcess, until

BETA = '\n[[customer]]\nid = "beta"\nsubjects = ["beta_*"]\nplan = "starter"\n'


def rewrite(sidecar: SidecarProcess, meterline: str) -> None:
    sidecar.config.write_text(SIDECAR + meterline)


def customers(sidecar: SidecarProcess) -> list[str]:
    return [one["id"] for one in sidecar.get("/v1/customers")["customers"]]


def test_a_hang_up_loads_the_files_and_ends_nothing(tmp_path: Path) -> None:
    with SidecarProcess(tmp_path) as sidecar:
        rewrite(sidecar, METERLINE + BETA)

        os.kill(sidecar.pid, signal.SIGHUP)

        until(lambda: customers(sidecar) == ["acme", "beta"])


def test_a_hang_up_over_mistakes_is_logged_and_ends_nothing(tmp_path: Path) -> None:
    with SidecarProcess(tmp_path) as sidecar:
        rewrite(sidecar, METERLINE + "[[customerr]]\n")
        os.kill(sidecar.pid, signal.SIGHUP)
        until(lambda: "did you mean `customer`" in sidecar.log.read_text())

        rewrite(sidecar, METERLINE + BETA)
        os.kill(sidecar.pid, signal.SIGHUP)

        until(lambda: customers(sidecar) == ["acme", "beta"])


def test_a_start_says_what_its_files_do_to_money(tmp_path: Path) -> None:
    with SidecarProcess(tmp_path, clock="2026-11-06T12:00:00Z") as sidecar:
        ship(sidecar, event(time_ms=parse_time_ms("2026-11-06T11:00:00Z")))
        sidecar.until_counted(1)
        sidecar.stop()
        assert "open periods" not in sidecar.log.read_text()
        (tmp_path / "pricing.toml").write_text(starter_each("0.09"))

        sidecar.start()

        assert "open periods come to" in sidecar.log.read_text()


def test_reload_says_what_changed_and_check_says_so_before(tmp_path: Path) -> None:
    with SidecarProcess(tmp_path, clock="2026-11-06T12:00:00Z") as sidecar:
        rewrite(sidecar, METERLINE.replace("Acme Corp", "Acme Ltd") + BETA)

        checked = sidecar.meterline("check")
        loaded = sidecar.meterline("reload")
        again = sidecar.meterline("reload")
        checked_again = sidecar.meterline("check")

        for text in ("acme: name Acme Corp -> Acme Ltd", "beta: a new customer on"):
            assert text in checked.stdout
            assert text in loaded.stdout
        assert "changes nothing before 2026-1" in checked.stdout
        assert again.stdout == "nothing changed\n"
        assert "loading these changes nothing" in checked_again.stdout


def test_check_and_reload_say_what_periods_would_come_to(tmp_path: Path) -> None:
    # A rehearsal ahead of this host's clock: then `check` takes the ledger's time.
    with SidecarProcess(
        tmp_path, clock="2099-11-06T12:00:00Z", pricing=starter_each("0.50")
    ) as sidecar:
        at_ms = parse_time_ms("2099-11-06T11:00:00Z")
        ship(sidecar, event(time_ms=at_ms), event(time_ms=at_ms))
        sidecar.until_counted(2)
        (tmp_path / "pricing.toml").write_text(starter_each("0.75"))

        checked = json.loads(sidecar.meterline("check", "--json").stdout)
        asked = sidecar.meterline("reload", "--dry-run")
        loaded = sidecar.meterline("reload")

        assert checked["money"]["open"] == [{"amount": "0.50", "currency": "usd"}]
        assert "open periods come to $0.50 more" in asked.stdout
        assert "nothing is changed yet" in asked.stdout
        assert "open periods come to $0.50 more" in loaded.stdout
        assert "open periods come to $0.50 more" in sidecar.log.read_text()


def test_customers_are_added_changed_and_ended_by_command(tmp_path: Path) -> None:
    with SidecarProcess(tmp_path, clock="2026-11-06T12:00:00Z") as sidecar:
        added = sidecar.meterline(
            *("customers", "add", "42", "--plan", "starter", "--subject", "s_*"),
            *("--address", "1 High Street", "--address", "London"),
        )
        changed = sidecar.meterline("customers", "change", "42", "--name", "The Answer")
        dated = sidecar.meterline(
            *("customers", "change", "42", "--anchor", "2026-01-15"),
            *("--beside", "starter:2026-11-10:2026-11-20"),
        )
        wrong = sidecar.meterline("customers", "change", "42", "--beside", "starter:x")
        unknown = sidecar.meterline("customers", "change", "43", "--name", "x")
        shown = sidecar.meterline("customers", "show", "42")

        link = sidecar.meterline("token", "portal", "--customer", "42")

        assert link.returncode == 0
        assert added.stdout == "42: a new customer on plan starter\n"
        assert "42: name 42 -> The Answer" in changed.stdout
        assert dated.returncode == 1
        assert "`starter` is there twice at one time" in dated.stderr
        assert wrong.returncode == 2
        assert "expected PLAN, PLAN:DAY or PLAN:DAY:DAY" in wrong.stderr
        assert unknown.returncode == 1
        assert "no customer '43'" in unknown.stderr
        assert "1 High Street, London" in shown.stdout


def test_customers_are_listed_ended_and_given_over_by_command(tmp_path: Path) -> None:
    with SidecarProcess(tmp_path, clock="2026-11-06T12:00:00Z") as sidecar:
        adopted = sidecar.meterline("customers", "adopt", "acme", "--owner", "api")
        ended = sidecar.meterline("customers", "end", "acme", "--day", "2026-11-30")
        listed = sidecar.meterline("customers", "list")

        assert adopted.stdout == "acme: managed by the API\n"
        assert "ends none -> 2026-11-30" in ended.stdout
        assert "Acme Corp" in listed.stdout


def test_files_that_the_ledger_refuses_end_the_start_and_the_check_with_78(
    tmp_path: Path,
) -> None:
    with SidecarProcess(tmp_path) as sidecar:
        sidecar.meterline("customers", "add", "beta", "--subject", "beta_*")
        sidecar.stop()
        rewrite(sidecar, METERLINE + BETA)

        checked = sidecar.meterline("check")
        with pytest.raises(AssertionError, match="the API looks after this customer"):
            sidecar.start()

        assert checked.returncode == 78
        assert "the API looks after this customer" in checked.stderr
        assert "customers adopt beta" in checked.stderr


def test_files_that_a_start_refuses_are_loaded_on_purpose_without_a_sidecar(
    tmp_path: Path,
) -> None:
    pricing = starter_each("0.50") + starter_each("2").replace("starter", "pro")
    with SidecarProcess(
        tmp_path, clock="2099-11-06T12:00:00Z", pricing=pricing
    ) as sidecar:
        at_ms = parse_time_ms("2099-11-06T11:00:00Z")
        ship(sidecar, event(time_ms=at_ms), event(time_ms=at_ms))
        sidecar.until_counted(2)
        sidecar.set_clock("2099-12-01T00:30:00Z")
        assert invoice(sidecar, "2099-11", "--finalize")["due"] == "1.00"
        running = sidecar.meterline("reload", "--into-final", "nothing to do")
        sidecar.stop()
        dated = 'plan = "pro"\nfrom = 2099-11-01'
        rewrite(sidecar, METERLINE.replace('plan = "starter"', dated))

        with pytest.raises(AssertionError, match="meterline reload --into-final"):
            sidecar.start()
        refused = sidecar.meterline("reload")
        loaded = sidecar.meterline("reload", "--into-final", "acme was promised")
        sidecar.start()
        (late,) = invoice(sidecar, "2099-12")["adjustments"]

        assert running.stdout == "nothing changed\n"
        assert refused.returncode == 69
        assert "final periods come to $3.00 more" in loaded.stdout, loaded.stderr
        assert late["amount"] == "3.00"


def test_what_is_loaded_without_a_sidecar_holds_from_when_the_clock_says(
    tmp_path: Path,
) -> None:
    pricing = starter_each("0.50") + starter_each("2").replace("starter", "pro")
    with SidecarProcess(
        tmp_path, clock="2099-11-06T12:00:00Z", pricing=pricing
    ) as sidecar:
        sidecar.stop()
        rewrite(sidecar, METERLINE.replace('plan = "starter"', 'plan = "pro"'))
        sidecar.set_clock("2099-11-20T12:00:00Z")
        clock = ("--clock", str(tmp_path / "clock"))

        loaded = sidecar.meterline("reload", "--into-final", "as promised", *clock)

        assert "from 2099-11-20 acme: plan starter -> pro" in loaded.stdout
        assert "as of 2099-11-20 12:00 UTC, which is not real" in loaded.stderr


def test_check_without_a_ledger_compares_nothing(tmp_path: Path) -> None:
    sidecar = SidecarProcess(tmp_path, pricing=PRICING)

    checked = sidecar.meterline("check")

    assert checked.returncode == 0
    assert "agreed" not in checked.stdout
