"""The main job end to end: real apps in real processes, a real sidecar, real bills."""

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from meterline_sidecar.demo.stage import calm_time_zone
from tests.sidecar_process import METERLINE, SidecarProcess

CUSTOMERS = f"""{METERLINE}time_zone = "{calm_time_zone()}"

[[meter]]
name = "tokens"
aggregation = "sum"
value = "quantities.tokens"

[[customer]]
id = "small"
subjects = ["acct_2", "broken_*"]
plan = "starter"
"""
WORKERS = {
    "starlette": {"acct_1": 60_000, "acct_2": 1_000, "broken_1": 70, "stranger": 30},
    "fastapi": {"acct_1": 40_000, "acme_eu": 20_000, "acct_2": 500, "-": 25},
}
TOTAL = sum(sum(counts.values()) for counts in WORKERS.values())


def run_workers(sidecar: SidecarProcess) -> None:
    """Serve everything in a process for each app, and wait until they have ended."""
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.metered_app", app]
            + [f"{subject}={n}" for subject, n in counts.items()],
            env={
                **sidecar.environment,
                "METERLINE_SOCKET": str(sidecar.socket),
                "METERLINE_SPOOL_DIR": str(sidecar.spool_dir),
                "METERLINE_APP": app,
            },
        )
        for app, counts in WORKERS.items()
    ]
    assert [worker.wait(120) for worker in workers] == [0, 0]


def all_events(sidecar: SidecarProcess) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    after: int | None = 0
    while after is not None:
        page = sidecar.get("/v1/events", limit=1_000, after=after)
        events += page["events"]
        after = page["next_after"]
    return events


@pytest.mark.slow
def test_120_000_requests_of_two_apps_are_counted_and_billed_to_the_unit(
    tmp_path: Path,
) -> None:
    with SidecarProcess(tmp_path, meterline=CUSTOMERS) as sidecar:
        run_workers(sidecar)
        sidecar.until_counted(TOTAL)

        status = sidecar.get("/status")
        assert status["events"]["recorded"] == TOTAL
        assert status["events"]["ingested"] == TOTAL
        assert status["events"]["lost"] == status["events"]["in_flight"] == 0
        assert status["events"]["unattributed"] == 25
        assert (status["producers"]["open"], status["producers"]["closed"]) == (0, 2)
        # Worth knowing: a stranger's calls, and a meter that the plan is silent about.
        assert {problem["code"] for problem in status["problems"]} == {
            "usage_unassigned",
            "meter_not_priced",
        }

        used = {
            (customer["customer"], meter["meter"]): meter["quantity"]
            for customer in sidecar.get("/v1/usage")["usage"]
            for meter in customer["meters"]
        }
        assert used == {
            ("acme", "api_calls"): 120_000,
            ("acme", "tokens"): 360_000,
            ("small", "api_calls"): 1_500,
            ("small", "tokens"): 3 * 1_570,
        }

        invoice = sidecar.get("/v1/customers/acme/invoice")["invoice"]
        assert invoice["total"] == "70.00"
        (line,) = invoice["lines"]
        assert [charge["quantity"] for charge in line["charges"]] == ["50000", "70000"]

        events = all_events(sidecar)
        assert len({event["event"] for event in events}) == len(events) == TOTAL
        of_subject = Counter(event["subject"] or "-" for event in events)
        assert of_subject == Counter(WORKERS["starlette"]) + Counter(WORKERS["fastapi"])
        assert {event["route"] for event in events} == {"/v1/items/{item}"}

        assert sidecar.stop() == 0
        assert list(sidecar.spool_dir.iterdir()) == []
