"""A sidecar that runs, and events that leave its ledger and come back."""

import asyncio
import os
import threading
from pathlib import Path
from typing import Any, Final

import click
import msgspec
import pytest
from click.testing import CliRunner

from meterline_sidecar.cli.commands.archive import command as archive
from meterline_sidecar.cli.commands.backup import command as backup
from meterline_sidecar.cli.commands.verify import command as verify
from meterline_sidecar.cli.exits import EXIT_FOUND
from meterline_sidecar.config.read import read_config
from meterline_sidecar.daemon import doctor
from meterline_sidecar.daemon.doctor import Check, examine, examine_archive
from meterline_sidecar.web.answers.status import Status
from tests.clock import FakeClock
from tests.integration.conftest import Sidecar
from tests.integration.ledger.archiving import archive_of, fill_for_long
from tests.patience import PATIENCE_S
from tests.producer import NOON_MS, Connection, batch, event
from tests.sidecar_process import METERLINE, SidecarProcess, until

ARCHIVE: Final = """
[billing]
close = "by_hand"

[retention]
events = "31 days"

[archive]
url = "archive"
"""
INVOICE: Final = "/v1/customers/acme/invoice"
LATER_MS: Final = NOON_MS + 70 * 86_400_000
LATER: Final = "2027-01-15T12:00:05Z"
SPAN: Final = {"start": "2026-11-01T00:00:00Z", "end": "2026-12-01T00:00:00Z"}

NOVEMBER: Final = ("--start", "2026-11-01", "--end", "2026-12-01")


async def ship(socket: Path, *payloads: Any, producer: str) -> None:
    async with Connection(socket) as app:
        await app.hello(producer)
        await app.ship(batch(*payloads))


def fill(sidecar: SidecarProcess) -> None:
    """Store 30 events of November, and one of January."""
    many = [event(quantities={"tokens": i}) for i in range(30)]
    asyncio.run(ship(sidecar.socket, *many, producer="a" * 32))
    sidecar.set_clock(LATER)
    newest = event(time_ms=LATER_MS)
    asyncio.run(ship(sidecar.socket, newest, producer="b" * 32))
    sidecar.until_counted(31)


def run(sidecar: SidecarProcess, *arguments: str, exits: int = 0) -> str:
    done = sidecar.meterline(*arguments)
    assert done.returncode == exits, done.stderr + done.stdout
    return done.stdout


def step(sidecar: SidecarProcess, what: str, **params: str) -> Any:
    with sidecar.client() as client:
        response = client.post(f"/v1/archive/{what}", params=params)
    assert response.status_code == 200, response.text
    return response.json()


def codes(sidecar: SidecarProcess) -> set[str]:
    return {problem["code"] for problem in sidecar.get("/status")["problems"]}


def test_late_usage_of_an_hour_whose_events_left_is_held_back_and_counting_goes_on(
    tmp_path: Path,
) -> None:
    (tmp_path / "archive").mkdir()
    reports = METERLINE.replace(
        'aggregation = "count"', 'aggregation = "count"\nlate = "report"'
    )
    with SidecarProcess(
        tmp_path, meterline=reports + ARCHIVE, clock="2026-11-06T12:00:05Z"
    ) as sidecar:
        fill(sidecar)
        run(sidecar, "invoice", "acme", "--period", "2026-11", "--finalize")
        assert "30 events moved" in run(sidecar, "archive", "run")

        asyncio.run(ship(sidecar.socket, event(), producer="c" * 32))
        (late,) = until(lambda: sidecar.get("/v1/late")["late"])
        until(lambda: not sidecar.get("/status")["aggregation"]["behind_events"])
        assert "job_failing" not in codes(sidecar)

        assert (late["period"], late["events"]) == ("2026-11", 1)
        run(sidecar, "late", "accept", str(late["late"]), "--reason", "agreed")
        explained = sidecar.get(f"{INVOICE}/explain", period="2026-11")
        assert explained["lines"][0]["quantity"] == "30"
        assert "as they were written" in run(sidecar, "verify", "--invoices")


def test_a_new_meter_that_reports_what_is_late_counts_again_what_left(
    tmp_path: Path,
) -> None:
    (tmp_path / "archive").mkdir()
    with SidecarProcess(
        tmp_path, meterline=METERLINE + ARCHIVE, clock="2026-11-06T12:00:05Z"
    ) as sidecar:
        fill(sidecar)
        run(sidecar, "invoice", "acme", "--period", "2026-11", "--finalize")
        run(sidecar, "archive", "run")
        asyncio.run(ship(sidecar.socket, event(), producer="c" * 32))  # late
        sidecar.until_counted(32)
        calls = '[[meter]]\nname = "calls"\naggregation = "count"\nlate = "report"\n'
        sidecar.config.write_text(f"{sidecar.config.read_text()}\n{calls}")

        run(sidecar, "reload")
        again = ("meters", "rebuild", "calls", "--into-final", "new", "--apply")
        assert "100 of 100 percent counted again" in run(sidecar, *again)
        until(lambda: sidecar.get("/v1/late")["late"])

        run(sidecar, "invoice", "acme", "--period", "2026-12", "--finalize")
        assert "job_failing" not in codes(sidecar)
        assert "as they were written" in run(sidecar, "verify")


def test_old_events_leave_a_ledger_that_runs_and_come_back(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    with SidecarProcess(
        tmp_path, meterline=METERLINE + ARCHIVE, clock="2026-11-06T12:00:05Z"
    ) as sidecar:
        fill(sidecar)

        held_up = step(sidecar, "run")
        assert held_up["is_done"]
        assert "period 2026-11 of customer acme is not final" in held_up["waits"]
        assert "archive_waits" in codes(sidecar)

        with sidecar.client() as client:
            done = client.post(f"{INVOICE}/finalize", params={"period": "2026-11"})
            assert done.status_code == 200, done.text
        invoice = sidecar.get(INVOICE, period="2026-11")
        moved = run(sidecar, "archive", "run")
        assert "30 events moved to events-000000000001-" in moved
        assert "archive_waits" not in codes(sidecar)
        (name,) = (path.name for path in (tmp_path / "archive").iterdir())
        assert name in run(sidecar, "archive", "list")

        assert sidecar.get("/v1/events", **SPAN) == {
            "events": [],
            "next_after": None,
            "archived": [name],
            "edges": [],
        }
        with sidecar.client() as client:
            assert f"left the ledger for {name}" in client.get("/v1/events/7").text
            pages = [
                client.get("/events", params={"period": "2026-11"}).text,
                client.get(
                    "/customers/acme/explain", params={"period": "2026-11"}
                ).text,
            ]
        restore = f"meterline archive restore {name}"
        told = f"events of this time left the ledger for {name}; `{restore}` brings them back"
        for page in pages:
            assert f"<code>{restore}</code> brings them back." in page
        of_november = ("explain", "acme", "--period", "2026-11")
        assert told in run(sidecar, "events", *NOVEMBER)
        assert told in run(sidecar, *of_november)
        listed = sidecar.meterline(*of_november, "api_calls", "--events", "jsonl")
        assert (listed.stdout, told in listed.stderr) == ("", True)
        assert sidecar.get(INVOICE, period="2026-11") == invoice
        assert sidecar.get("/v1/meters/api_calls/recount")["changes"] == []

        assert "brought back" in run(sidecar, "archive", "restore", name)
        page = sidecar.get("/v1/events", **SPAN)
        assert (len(page["events"]), page["archived"]) == (30, [])
        assert step(sidecar, "run")["moved"]["file"] == name


async def test_who_reads_the_ledger_reads_the_archive_unless_told_not_to(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    await fill_for_long(sidecar)
    await archive_of(sidecar, tmp_path / "archive").run()
    (file,) = (tmp_path / "archive").iterdir()
    config = tmp_path / "meterline.toml"
    config.write_text(f'[sidecar]\ndatabase = "meterline.db"\n{ARCHIVE}')

    async def said(command: click.Command, *arguments: str) -> tuple[int, str]:
        given = [*arguments, "--config", str(config)]
        done = await asyncio.to_thread(CliRunner().invoke, command, given)
        return done.exit_code, done.output

    sound = await said(archive, "verify")
    alone = await said(verify, "--without-archive")
    copy = await said(backup, str(tmp_path / "backup.db"))
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    broken = await said(archive, "verify")
    whole = await said(verify)

    assert (sound[0], "1 file with " in sound[1]) == (0, True)
    assert (alone[0], "events in files of the archive were" in alone[1]) == (0, True)
    assert (copy[0], "events are in files of the archive" in copy[1]) == (0, True)
    for code, text in (broken, whole):
        assert (code, f"! the archive: {file.name} at " in text) == (EXIT_FOUND, True)


def test_what_is_gone_from_the_archive_is_told_before_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "archive"
    folder.mkdir()
    with SidecarProcess(
        tmp_path,
        meterline=METERLINE + ARCHIVE.replace("by_hand", "auto"),
        clock="2026-11-06T12:00:05Z",
    ) as sidecar:
        fill(sidecar)
        until(lambda: step(sidecar, "run")["waits"] is None)
        (name,) = (path.name for path in folder.iterdir())
        assert "archive_not_readable" not in codes(sidecar)
        assert (
            f"archive files: 1 file at {folder}" in sidecar.meterline("doctor").stdout
        )
        folder.rename(tmp_path / "unmounted")

        by_doctor = sidecar.meterline("doctor")
        config = read_config(sidecar.config)
        status = msgspec.convert(sidecar.get("/status"), Status, strict=False)
        (found,) = asyncio.run(examine_archive(config, status))
        with monkeypatch.context() as patch:
            patch.setattr(os, "geteuid", lambda: 12_345)
            by_another_user = asyncio.run(examine_archive(config, status))
        sidecar.stop()
        stopped = sidecar.meterline("doctor")
        sidecar.start()
        until(lambda: "archive_not_readable" in codes(sidecar))

        (problem,) = (
            one
            for one in sidecar.get("/status")["problems"]
            if one["code"] == "archive_not_readable"
        )
        again = sidecar.meterline("doctor")
        ready = sidecar.meterline("archive", "list").stdout
        with sidecar.client() as client:
            verbose = client.get("/readyz", params={"verbose": ""})
            metrics = client.get("/metrics").text
    assert problem["text"] == (
        f"{folder}/ cannot be looked at: No such file or directory; 1 file with 30"
        f" events should be there: {name}"
    )
    assert "archive.url" in problem["action"]
    assert found.detail == problem["text"]
    assert by_another_user == []  # whether it can read them says nothing
    for said in (by_doctor.stdout, stopped.stdout, again.stdout, ready, verbose.text):
        assert said.count(problem["text"]) == 1
    assert [done.returncode for done in (by_doctor, stopped, again)] == [EXIT_FOUND] * 3
    assert verbose.status_code == 200  # events can be stored all the same
    assert 'meterline_problems{code="archive_not_readable"' in metrics


def test_doctor_looks_whether_old_events_can_leave(tmp_path: Path) -> None:
    config = tmp_path / "meterline.toml"
    config.write_text(ARCHIVE)

    def looked() -> Check:
        checks = examine(read_config(config), clock=FakeClock(), status=None)
        (found,) = (check for check in checks if check.name == "archive")
        return found

    gone = looked()
    (tmp_path / "archive").mkdir()

    assert gone.code == "archive_not_written"
    assert f"{tmp_path / 'archive'} is not there" in gone.detail
    assert looked().verdict == "ok"


def test_doctor_waits_only_so_long_for_a_place_that_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "meterline.toml"
    config.write_text(ARCHIVE)
    is_back = threading.Event()

    def hang(*_: object) -> bool:
        return is_back.wait(PATIENCE_S)

    monkeypatch.setattr(doctor, "ANSWER_S", 0.01)
    monkeypatch.setattr(os, "access", hang)

    checks = examine(read_config(config), clock=FakeClock(), status=None)
    is_back.set()

    (found,) = (check for check in checks if check.name == "archive")
    assert found.code == "archive_not_written"
    assert f"{tmp_path / 'archive'} did not answer in 0 s" in found.detail
