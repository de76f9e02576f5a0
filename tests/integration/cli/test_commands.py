"""The commands that ask a running sidecar, against a real one."""

import asyncio
import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.producer import Connection, batch, event
from tests.sidecar_process import PRICING, SidecarProcess, meterline

NOVEMBER = ("--period", "2026-11")


async def _send_four_events(socket: Path) -> None:
    async with Connection(socket) as app:
        await app.hello()
        await app.send(
            batch(
                event(),
                event(method="POST", quantities={"tokens": 1_500}),
                event(subject="stranger"),
                event(status=503),
            )
        )
        await app.receive()


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Generator[SidecarProcess]:
    folder = tmp_path_factory.mktemp("cli")
    with SidecarProcess(folder, clock="2026-11-06T12:00:05Z") as running:
        asyncio.run(_send_four_events(running.socket))
        running.until_counted(4)
        yield running


def test_a_command_that_asks_a_sidecar_reads_no_command_line_but_its_own() -> None:
    done = meterline(
        *("status", "--url", "http://127.0.0.1:9"),
        environment={"PYTHONPROFILEIMPORTTIME": "1"},
    )

    read = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "httpx._client" in read
    assert not read & {"rich.console", "pygments", "xml.sax.saxutils"}


def run(sidecar: SidecarProcess, *arguments: str) -> str:
    done = sidecar.meterline(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def answer(sidecar: SidecarProcess, *arguments: str) -> Any:
    return json.loads(run(sidecar, *arguments, "--json"))


def test_status_shows_what_became_of_the_events(sidecar: SidecarProcess) -> None:
    shown = run(sidecar, "status")

    assert "ready" in shown
    assert "rehearsal clock" in shown
    assert ["events", "ingested", "4"] in [line.split()[:3] for line in _lines(shown)]


def test_status_as_json_is_what_the_api_says(sidecar: SidecarProcess) -> None:
    events = answer(sidecar, "status")["events"]

    assert events["recorded"] == events["ingested"] + events["lost"] == 4


def test_usage_shows_every_customer_and_whom_nobody_pays_for(
    sidecar: SidecarProcess,
) -> None:
    shown = run(sidecar, "usage")

    assert ["acme", "2026-11", "api_calls", "2", "count"] in map(
        str.split, _lines(shown)
    )
    assert ["stranger", "api_calls", "1"] in map(str.split, _lines(shown))


def test_usage_of_another_span_is_empty(sidecar: SidecarProcess) -> None:
    span = ("--start", "2026-11-01T00:00:00Z", "--end", "2026-11-02T00:00:00Z")

    used = answer(sidecar, "usage", "--customer", "acme", *span)

    assert used["usage"][0]["meters"][0]["quantity"] == 0
    shown = run(sidecar, "usage", "--customer", "acme", *span)
    assert "2026-11-01 00:00 to 2026-11-02 00:00 UTC" in shown


def test_the_invoice_shows_the_tier_that_was_reached(sidecar: SidecarProcess) -> None:
    shown = run(sidecar, "invoice", "acme", *NOVEMBER)

    assert "Acme Corp: draft invoice for 2026-11" in shown
    assert "tier 1: 2 x $0.00" in shown
    assert shown.splitlines()[-3].split() == ["total", "$0.00"]


def test_an_import_that_is_refused_leaves_nothing_to_wait_for(
    sidecar: SidecarProcess, tmp_path: Path
) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text('{"id": "1", "time": "2026-11-06T12:00:00Z"}\n')

    done = sidecar.meterline("import", str(file), "--source", "")
    (left,) = answer(sidecar, "import", "list")

    assert done.returncode == 1
    assert left["state"] == "discarded"


def test_a_list_of_nothing_says_so(sidecar: SidecarProcess) -> None:
    assert "no such row is in the outbox" in run(sidecar, "outbox")
    assert run(sidecar, "statement", "acme").splitlines()[-1] == (
        "no invoice is final yet, so there is nothing to list"
    )


def test_events_are_paged_up_to_the_limit(sidecar: SidecarProcess) -> None:
    first = answer(sidecar, "events", "--limit", "3")
    second = answer(sidecar, "events", "--after", str(first["next_after"]))

    seen = [event["event"] for event in first["events"] + second["events"]]
    assert len(first["events"]) == 3
    assert len(set(seen)) == len(seen) == 4
    assert second["next_after"] is None


def test_events_of_a_customer_show_what_was_recorded(sidecar: SidecarProcess) -> None:
    shown = run(sidecar, "events", "--customer", "acme")

    assert "tokens=1,500" in shown
    assert "stranger" not in shown


def test_events_are_filtered(sidecar: SidecarProcess) -> None:
    posts = answer(sidecar, "events", "--method", "POST")
    failed = answer(sidecar, "events", "--status", "503", "--subject", "acct_1")

    assert [event["quantities"] for event in posts["events"]] == [{"tokens": 1_500}]
    assert [event["status"] for event in failed["events"]] == [503]
    for statuses in ("5xx", "500-599", "404,503"):
        assert answer(sidecar, "events", "--status", statuses) == answer(
            sidecar, "events", "--status", "503"
        )


def test_what_if_shows_who_would_pay_what(
    sidecar: SidecarProcess, tmp_path: Path
) -> None:
    (tmp_path / "new.toml").write_text(
        PRICING.replace("50_000", "1").replace("0.001", "0.5")
    )
    tried = ("what-if", "--plan", str(tmp_path / "new.toml"), *NOVEMBER)

    (acme,) = answer(sidecar, *tried)["customers"]

    assert (acme["before"], acme["after"]) == ("0.00", "0.50")
    rows = [line.split() for line in _lines(run(sidecar, *tried))]
    assert ["acme", "$0.00", "$0.50", "$0.50", "api_calls"] in rows
    assert ["total", "$0.00", "$0.50", "$0.50"] in rows


def test_what_if_tries_the_newest_version_or_that_of_a_day(
    sidecar: SidecarProcess, tmp_path: Path
) -> None:
    fee = '[[plan.price]]\nname = "fee"\nmodel = "flat"\namount = {}\n'
    version = (
        '[[plan]]\nname = "starter"\ncurrency = "usd"\nversion = {}\neffective = {}\n'
    )
    (tmp_path / "new.toml").write_text(
        version.format(1, "2026-01-01")
        + fee.format(5)
        + version.format(2, "2027-01-01")
        + fee.format(7)
    )
    tried = ("what-if", "--plan", str(tmp_path / "new.toml"), *NOVEMBER)

    (newest,) = answer(sidecar, *tried)["customers"]
    (older,) = answer(sidecar, *tried, "--at", "2026-12-31")["customers"]

    assert (newest["after"], older["after"]) == ("7.00", "5.00")


def test_what_if_tells_what_would_no_longer_be_charged_for(
    sidecar: SidecarProcess, tmp_path: Path
) -> None:
    (tmp_path / "new.toml").write_text('[[plan]]\nname = "starter"\ncurrency = "usd"\n')

    shown = run(sidecar, "what-if", "--plan", str(tmp_path / "new.toml"), *NOVEMBER)

    assert "! acme: nothing would be charged for api_calls" in shown


def test_what_if_names_whom_it_can_not_rate(
    sidecar: SidecarProcess, tmp_path: Path
) -> None:
    (tmp_path / "new.toml").write_text(PRICING.replace("starter", "other"))

    new = ("--plan", str(tmp_path / "new.toml"))

    shown = sidecar.meterline("what-if", *new, *NOVEMBER)
    refused = sidecar.meterline("what-if", *new, "--period", "2026-13")

    assert shown.returncode == 3
    assert "! left out acme: unknown plan `starter`" in shown.stdout
    assert refused.returncode == 2
    assert "no period is called `2026-13`" in refused.stderr


def test_a_url_finds_the_sidecar_without_a_configuration(
    sidecar: SidecarProcess, tmp_path: Path
) -> None:
    done = meterline("status", "--url", f"unix:{sidecar.http}", cwd=tmp_path)

    assert done.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["invoice", "amce"], "did you mean acme?"),
        (["invoice", "a b"], "no customer"),
        (["invoice", "X-1", *NOVEMBER], "leave out --period and --finalize"),
        (["meters", "rebuild", "api_cals"], "did you mean `api_calls`?"),
        (["invoice", "acme", "--period", "2026-11-23"], "lies in 2026-11"),
        (["usage", "--start", "2026-11-01"], "give both start and end, or neither"),
        (["usage", "--start", "0001-01-01", "--end", "2026-11-01"], "is not between"),
    ],
)
def test_what_the_sidecar_refuses_is_told_with_what_to_do(
    sidecar: SidecarProcess, arguments: list[str], told: str
) -> None:
    done = sidecar.meterline(*arguments)

    assert done.returncode == 1
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_no_sidecar_is_exit_69_and_says_how_to_start_one(tmp_path: Path) -> None:
    done = meterline("status", "--url", f"unix:{tmp_path}/nobody.sock")

    assert done.returncode == 69
    assert "meterline run" in done.stderr


@pytest.mark.parametrize("url", ["nonsense", "http://[", "ftp://localhost"])
def test_a_url_that_is_none_is_exit_69(url: str) -> None:
    done = meterline("status", "--url", url)

    assert done.returncode == 69
    assert "Traceback" not in done.stderr


def _lines(text: str) -> list[str]:
    return text.splitlines()


def test_check_goes_by_the_clock_of_the_sidecar_that_rehearses(
    sidecar: SidecarProcess,
) -> None:
    config = sidecar.config.read_text()
    sidecar.config.write_text(
        config.replace('"acct_1", "acme_*"', '"acct_1", "acme_*", "more"')
    )
    try:
        done = sidecar.meterline("check")
        shown = answer(sidecar, "check")
    finally:
        sidecar.config.write_text(config)

    assert "as of 2026-11-06 12:00 UTC, which is not real" in done.stderr
    assert "the sidecar's rehearsal clock" in done.stderr
    assert any("2026-11-06" in line for line in shown["changes"])
    assert "rehearsal clock" in shown["clock"]


def test_check_goes_by_the_clock_that_it_is_given(
    sidecar: SidecarProcess, tmp_path: Path
) -> None:
    (tmp_path / "clock").write_text("2026-12-24T18:00:00Z")

    done = sidecar.meterline("check", "--clock", str(tmp_path / "clock"))

    assert "as of 2026-12-24 18:00 UTC" in done.stderr


def test_check_beside_no_rehearsal_says_nothing_of_a_clock(tmp_path: Path) -> None:
    with SidecarProcess(tmp_path) as running:
        done = running.meterline("check")
        shown = answer(running, "check")

    assert "as of" not in done.stdout + done.stderr
    assert shown["clock"] is None


def test_a_link_for_a_customer_is_valid_by_the_clock_of_the_sidecar(
    sidecar: SidecarProcess,
) -> None:
    token = run(sidecar, "token", "portal", "--customer", "acme").strip()

    with sidecar.client() as client:
        page = client.get("/portal", params={"token": token})

    assert page.status_code == 200
