"""What stands in examples/grafana works with the metrics that there are."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from meterline_sidecar.files import LedgerFiles
from meterline_sidecar.ledger.backup import Receipt
from meterline_sidecar.store.outbox_sending import Settlement, settle
from tests.producer import event
from tests.sidecar_process import METERLINE, SIDECAR
from tests.web.conftest import OpenWeb, Web

FOLDER = Path(__file__).parents[2] / "examples" / "grafana"
LATER = {  # there once it has happened
    "meterline_refusals_total",
    "meterline_last_confirmed_report_timestamp_seconds",
    "meterline_last_reconcile_timestamp_seconds",
    "meterline_last_backup_timestamp_seconds",
}
PROMTOOL = shutil.which("promtool")


@pytest.mark.skipif(PROMTOOL is None, reason="no promtool on this machine")
def test_promtool_accepts_the_alert_rules() -> None:
    assert PROMTOOL is not None
    ran = subprocess.run(
        [PROMTOOL, "check", "rules", str(FOLDER / "alerts.yml")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "12 rules found" in ran.stdout


@pytest.mark.skipif(PROMTOOL is None, reason="no promtool on this machine")
async def test_promtool_finds_nothing_to_improve_in_the_metrics(web: Web) -> None:
    assert PROMTOOL is not None
    text = (await web.http.get("/metrics")).text
    ran = subprocess.run(
        [PROMTOOL, "check", "metrics"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ran.returncode, ran.stderr) == (0, "")


async def test_every_metric_that_is_asked_for_is_there(web: Web) -> None:
    text = (await web.http.get("/metrics")).text
    known = set(re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE))
    rules = (FOLDER / "alerts.yml").read_text()
    dashboard: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text())
    asked = " ".join(
        target["expr"] for panel in dashboard["panels"] for target in panel["targets"]
    )

    for name in re.findall(r"meterline_\w+", rules.split("groups:")[1] + asked):
        if name not in LATER:
            assert name in known, name


async def test_those_who_pay_most_are_named_where_that_is_asked_for(
    open_web: OpenWeb,
) -> None:
    customers = METERLINE + '[[customer]]\nid = "zeta"\nsubjects = ["z"]\n'
    async with open_web(
        meterline=customers, sidecar=SIDECAR + "metrics_customers = 1\n"
    ) as web:
        await web.ship(event(), event(), event(subject="z"))
        await web.parts.standings.refresh()
        text = (await web.http.get("/metrics")).text

    assert 'meterline_customer_usage{customer="acme",meter="api_calls"} 2.0' in text
    assert 'meterline_customer_draft_total{currency="usd",customer="acme"} 0.0' in text
    assert "zeta" not in text


async def test_ages_are_told_of_what_has_happened_and_of_nothing_else(
    web: Web,
) -> None:
    async def ages() -> dict[str, float]:
        text = (await web.http.get("/metrics")).text
        found = re.findall(
            r"^meterline_last_(\w+)_timestamp_seconds (\S+)", text, re.MULTILINE
        )
        return {name: float(value) for name, value in found}

    before = await ages()
    database = web.parts.config.sidecar.database
    receipt = Receipt(finished_ms=7_000, file="copy", batches=1, events=5)
    LedgerFiles(database).receipt.write_bytes(msgspec.json.encode(receipt))
    confirmed = Settlement(id=1, state="confirmed", settled_ms=9_000)
    async with web.parts.database.transaction() as tx:
        await settle(tx, [confirmed])

    assert set(before) == {"event"}
    assert await ages() == {**before, "backup": 7.0, "confirmed_report": 9.0}


async def test_no_label_names_a_customer(web: Web) -> None:
    text = (await web.http.get("/metrics")).text

    assert "acme" not in text
    assert "acct_1" not in text
