"""Changing a meter of a running business: what is final stays, unless on purpose."""

import json
from pathlib import Path
from typing import Any

from tests.integration.billing.test_invoices import (
    IN_DECEMBER,
    IN_NOVEMBER,
    invoice,
    ship,
)
from tests.plans import starter_each
from tests.producer import event
from tests.sidecar_process import METERLINE, SidecarProcess, until

PRICING = starter_each("0.50")
GOOD = METERLINE.replace('"200-499"', '"200-299"')


def recount(sidecar: SidecarProcess, *options: str) -> Any:
    done = sidecar.meterline(
        "meters", "rebuild", "api_calls", "--json",
        "--config", str(sidecar.config), *options,
    )  # fmt: skip
    return json.loads(done.stdout) if done.returncode == 0 else done.stderr


def test_a_filter_that_changes_bills_no_final_period_again_unless_on_purpose(
    tmp_path: Path,
) -> None:
    files: dict[str, Any] = {"pricing": PRICING, "clock": IN_NOVEMBER}
    with SidecarProcess(tmp_path, **files) as sidecar:
        ship(sidecar, event(), event(status=404))
        sidecar.until_counted(2)
        sidecar.set_clock(IN_DECEMBER)
        assert invoice(sidecar, "2026-11", "--finalize")["due"] == "1.00"

    files["clock"] = IN_DECEMBER
    with SidecarProcess(tmp_path, meterline=GOOD, **files) as sidecar:
        december = invoice(sidecar, "2026-12")
        assert (december["due"], december["adjustments"]) == ("0.00", [])

        refused = recount(sidecar, "--apply")
        assert "--into-final" in refused
        assert "2026-12-01" in refused
        shown = recount(sidecar)
        assert shown["changes"] == [
            {"customer": "acme", "month": "2026-11", "before": 2, "after": 1}
        ]
        assert shown["money"]["adjustments"] == [{"amount": "-0.50", "currency": "usd"}]
        assert invoice(sidecar, "2026-12")["due"] == "0.00"

        begun = recount(sidecar, "--apply", "--into-final", "wrong since November")
        assert begun["meter"] == "api_calls"
        until(lambda: invoice(sidecar, "2026-12")["due"] == "-0.50")
        status = sidecar.get("/status")
        assert status["aggregation"]["recounting_percent"] is None
