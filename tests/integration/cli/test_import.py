"""``meterline import`` against a running sidecar, which is killed on the way."""

import json
from pathlib import Path
from typing import Any

from tests.sidecar_process import METERLINE, SidecarProcess, until

EVENTS = 12_000
TOKENS = """
[[meter]]
name = "tokens"
aggregation = "sum"
value = "quantities.tokens"
"""


def write(path: Path, n_events: int) -> str:
    path.write_text(
        "".join(
            json.dumps(
                {
                    "id": f"e-{i}",
                    "time": "2025-03-01T08:00:00Z",
                    "subject": "acct_1",
                    "quantities": {"tokens": 2},
                }
            )
            + "\n"
            for i in range(n_events)
        )
    )
    return str(path)


def imports(sidecar: SidecarProcess, *arguments: str) -> Any:
    done = sidecar.meterline("import", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_kill_while_it_is_counted_counts_nothing_twice(tmp_path: Path) -> None:
    with SidecarProcess(tmp_path, meterline=METERLINE + TOKENS) as sidecar:
        file = write(tmp_path / "old.jsonl", EVENTS)
        assert imports(sidecar, file, "--stage", "old")["state"] == "staged"
        with sidecar.client() as client:
            client.post("/v1/imports/old/commit")
            until(lambda: sidecar.get("/v1/imports/old")["accepted"] > 0)
        sidecar.kill()
        sidecar.start()

        sidecar.until_counted(EVENTS)
        path = "/v1/imports/old"
        until(lambda: sidecar.get(path)["state"] == "committed")
        done = sidecar.get(path)

        assert (done["accepted"], done["duplicates"]) == (EVENTS, 0)
        usage = sidecar.get("/v1/usage", customer="acme", period="2025-03")["usage"][0]
        assert {m["meter"]: m["quantity"] for m in usage["meters"]} == {
            "api_calls": 0,
            "tokens": 2 * EVENTS,
        }


def test_a_file_with_a_bad_line_is_not_taken_unless_that_is_left_out(
    tmp_path: Path,
) -> None:
    with SidecarProcess(tmp_path) as sidecar:
        file = write(tmp_path / "old.jsonl", 3)
        with Path(file).open("a") as out:
            out.write('{"id": "x"}\n')

        with sidecar.client() as client:  # what is left of another file of that name
            client.post("/v1/imports", json={"name": "old", "file": "old.jsonl"})
            path = "/v1/imports/old/lines"
            client.put(path, content=b'{"id": "y"}\n', params={"first_line": 1})

        refused = sidecar.meterline("import", file, "--stage", "old")
        assert refused.returncode == 3
        assert "! line 4: time is missing" in refused.stdout
        assert sidecar.get("/status")["events"]["ingested"] == 0

        taken = sidecar.meterline("import", file, "--skip-bad", "--reason", "moved")
        assert taken.returncode == 3
        assert "3 accepted, 0 stored before" in taken.stdout
        assert '"committed"' in sidecar.meterline("import", "list", "--json").stdout


ACME = """
[[customer]]
id = "acme"
subjects = ["acct_1"]
plan = "tokens"
from = 2025-11-01
starts = 2025-11-01
"""
A_CENT_EACH = """
[[plan]]
name = "tokens"
currency = "usd"
effective = 2025-01-01

[[plan.price]]
meter = "tokens"
model = "per_unit"
unit_amount = "0.01"
"""
ROOT = Path(__file__).parents[3]


def test_the_example_would_change_what_its_page_shows(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "importing.md").read_text()
    shown = page.partition("## What it would change")[2].split("```\n")[1]

    with SidecarProcess(
        tmp_path, meterline=TOKENS + ACME, pricing=A_CENT_EACH
    ) as sidecar:
        for arguments in (
            ("invoice", "acme", "--period", "2025-11", "--finalize"),
            ("import", str(ROOT / "examples" / "import.csv"), "--stage", "march"),
        ):
            done = sidecar.meterline(*arguments)
            assert done.returncode == 0, done.stderr
        told = sidecar.meterline("import", "diff", "march").stdout

    assert told == shown
