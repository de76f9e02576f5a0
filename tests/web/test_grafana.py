"""What stands in examples/grafana works with the metrics that there are."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.web.conftest import Web

FOLDER = Path(__file__).parents[2] / "examples" / "grafana"
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
    assert "10 rules found" in ran.stdout


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
        if name != "meterline_refusals_total":  # there once one was refused
            assert name in known, name


async def test_no_label_names_a_customer(web: Web) -> None:
    text = (await web.http.get("/metrics")).text

    assert "acme" not in text
    assert "acct_1" not in text
