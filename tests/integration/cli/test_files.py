"""The commands that need no sidecar: a configuration from nothing, checked, quoted."""

import contextlib
import errno
import json
import os
import re
import shlex
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from meterline.settings import SYSTEM_DIR
from meterline_sidecar.cli import main
from meterline_sidecar.cli.commands.check import command as check_files
from meterline_sidecar.cli.commands.quote import command as quote
from meterline_sidecar.cli.main import COMMANDS, cli
from meterline_sidecar.config.read import read_config, read_settings
from meterline_sidecar.errors import ConfigError, MeterlineError
from meterline_sidecar.store.sqlite.migrate import APPLICATION_ID
from tests.sidecar_process import PRICING, meterline


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    assert meterline("init", cwd=tmp_path).returncode == 0
    return tmp_path


def test_what_init_writes_passes_check(folder: Path) -> None:
    checked = meterline("check", cwd=folder)

    assert checked.returncode == 0, checked.stderr
    assert "2 of 2 examples as written" in checked.stdout


def test_what_init_writes_is_read_with_every_comment_made_a_line(
    folder: Path,
) -> None:
    for path in folder.glob("*.toml"):
        text = re.sub(r"^# (?=\[|[a-z_]+ = )", "", path.read_text(), flags=re.MULTILINE)
        path.write_text(text)

    checked = meterline("check", cwd=folder)

    # The examples of the plan do not know its base fee: 3, but not 78.
    assert checked.returncode == 3, checked.stderr
    assert "meterline.toml: 3 meters" in checked.stdout
    assert checked.stderr.count("base fee: $19.00") == 2


@pytest.mark.skipif(Path(SYSTEM_DIR).is_dir(), reason="this host has a place for all")
def test_init_gives_each_project_a_ledger_of_its_own(tmp_path: Path) -> None:
    told = meterline("init", "mine", cwd=tmp_path).stdout

    sidecar = read_config(tmp_path / "mine/meterline.toml", environment={}).sidecar
    state = tmp_path / "mine/state"
    assert f"export METERLINE_STATE_DIR={state}\n" in told
    assert sidecar.database == state / "meterline.db"
    assert (sidecar.socket, sidecar.spool_dir) == (
        state / "meterline.sock",
        state / "spool",
    )


def test_init_leaves_alone_where_this_host_keeps_everything(tmp_path: Path) -> None:
    told = meterline(
        "init", cwd=tmp_path, environment={"METERLINE_STATE_DIR": str(tmp_path)}
    )

    source = (tmp_path / "meterline.toml").read_text()
    assert told.returncode == 0
    assert "export" not in told.stdout
    assert '\n# database = "state/meterline.db"\n' in source


def test_init_writes_down_a_port_that_nobody_has(tmp_path: Path) -> None:
    with socket.socket() as other:
        with contextlib.suppress(OSError):  # somebody else has it then
            other.bind(("127.0.0.1", 8270))
            other.listen()
        told = meterline("init", cwd=tmp_path).stdout
        http = read_config(tmp_path / "meterline.toml", environment={}).sidecar.http

        host, _, port = http.rpartition(":")
        assert host == "127.0.0.1"
        assert 8270 < int(port) < 8370
        assert f"port 8270 is in use here, so the HTTP API gets {http}" in told


def test_init_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "pricing.toml").write_text("mine")

    done = meterline("init", cwd=tmp_path)

    assert done.returncode == 1
    assert "pricing.toml exists already" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["pricing.toml"]
    assert (tmp_path / "pricing.toml").read_text() == "mine"


def test_init_writes_into_another_directory(tmp_path: Path) -> None:
    done = meterline("init", "new/place", cwd=tmp_path)

    checked = meterline("check", "--config", "new/place/meterline.toml", cwd=tmp_path)
    assert "meterline check --config new/place/meterline.toml" in done.stdout
    assert checked.returncode == 0


def test_what_init_says_can_be_typed_also_where_a_name_has_spaces(
    tmp_path: Path,
) -> None:
    done = meterline("init", "my place", cwd=tmp_path)

    check = next(line for line in done.stdout.splitlines() if " check" in line)
    checked = meterline(*shlex.split(check)[1:], cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr


def test_a_file_that_this_user_may_not_read_is_a_wrong_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "meterline.toml"
    file.touch()

    def denied(path: object, *_: object, **__: object) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    def refused(*_: object, **__: object) -> bool:
        return False

    monkeypatch.setattr(os, "access", refused)
    monkeypatch.setattr(os, "open", denied)

    done = CliRunner().invoke(check_files, ["--config", str(file)])

    assert isinstance(done.exception, ConfigError)  # which ends with 78
    assert "meterline.toml: cannot be read: permission denied; let this" in str(
        done.exception
    )


def test_check_tells_the_mistakes_of_both_files_and_exits_78(folder: Path) -> None:
    for name, old, new in (
        ("meterline.toml", "aggregation", "agregation"),
        ("pricing.toml", '"usd"', '"usdd"'),
    ):
        path = folder / name
        path.write_text(path.read_text().replace(old, new, 1))

    checked = meterline("check", cwd=folder)
    as_json = json.loads(meterline("check", "--json", cwd=folder).stdout)

    assert checked.returncode == 78
    assert re.search(
        r"^meterline.toml:\d+: meter\[0\].agregation: unknown key `agregation`;"
        r" did you mean `aggregation`\?$",
        checked.stderr,
        re.MULTILINE,
    )
    assert re.search(
        r"^pricing.toml:\d+: plan\[0\].currency", checked.stderr, re.MULTILINE
    )
    assert len(as_json["problems"]) == len(checked.stderr.splitlines()) == 3
    assert as_json["problems"][0]["line"] > 0


@pytest.mark.parametrize("command", ["run", "status", "quote"])
def test_every_command_exits_78_on_a_bad_configuration(
    tmp_path: Path, command: str
) -> None:
    (tmp_path / "meterline.toml").write_text("[sidecarr]")

    done = meterline(command, *(["x"] if command == "quote" else []), cwd=tmp_path)

    assert done.returncode == 78
    assert done.stderr.startswith("meterline.toml:1: sidecarr: unknown key")


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["verify"], "meterline.db does not exist; see sidecar.database"),
        (["archive", "verify"], "meterline.db does not exist; see sidecar.database"),
        (["restore", "nothing.db"], "nothing.db does not exist, or is not a file"),
    ],
)
def test_without_a_ledger_that_is_said_and_none_is_made(
    folder: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], told: str
) -> None:
    monkeypatch.chdir(folder)
    database = read_settings(Path("meterline.toml")).sidecar.database

    refused = CliRunner().invoke(cli, command)

    assert isinstance(refused.exception, MeterlineError)
    assert told in str(refused.exception).replace(database.name, "meterline.db")
    assert not database.exists()


def test_the_doctor_says_that_a_newer_version_wrote_the_ledger(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    database = read_settings(Path("meterline.toml")).sidecar.database
    database.parent.mkdir(parents=True)
    with closing(sqlite3.connect(database)) as newer:
        newer.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        newer.execute("PRAGMA user_version = 99")

    found = CliRunner().invoke(cli, ["doctor"]).output

    assert "FAIL  ledger: " in found
    assert "has schema 99" in found
    assert "-> run the newer Meterline that wrote it" in found


def test_an_example_that_comes_out_differently_is_exit_3(folder: Path) -> None:
    path = folder / "pricing.toml"
    path.write_text(path.read_text().replace('"70.00"', '"71.00"'))

    checked = meterline("check", cwd=folder)
    as_json = json.loads(meterline("check", "--json", cwd=folder).stdout)

    assert checked.returncode == 3
    assert re.search(
        r"^pricing.toml:\d+: plan starter version 1", checked.stderr, re.MULTILINE
    )
    assert "expected 71.00, got 70.00" in checked.stderr
    assert not as_json["ok"]
    assert as_json["failures"][0]["actual"] == "70.00"


def test_a_quote_shows_the_tiers_and_the_total(folder: Path) -> None:
    quoted = meterline("quote", "starter", "api_calls=120000", cwd=folder)

    assert quoted.returncode == 0
    assert "tier 1: 50,000 x $0.00" in quoted.stdout
    assert "tier 2: 70,000 x $0.001" in quoted.stdout
    assert quoted.stdout.splitlines()[-1].split() == ["total", "$70.00"]


def test_a_quote_needs_only_a_price_list(tmp_path: Path) -> None:
    (tmp_path / "new.toml").write_text(PRICING)

    quoted = meterline(
        "quote", "starter", "api_calls=50_001", "--pricing", "new.toml", "--json",
        cwd=tmp_path,
    )  # fmt: skip

    assert json.loads(quoted.stdout)["total"] == "0.00"


def test_a_quote_is_for_the_version_of_its_day(folder: Path) -> None:
    early = meterline("quote", "starter", "--at", "2025-12-31", cwd=folder)

    assert early.returncode == 1
    assert "its first version starts on 2026-01-01" in early.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["startr"], 1, "did you mean `starter`?"),
        (["starter", "api_cals=5"], 1, "did you mean `api_calls`?"),
        (["starter", "api_calls"], 2, "expected METER=QUANTITY"),
        (["starter", "api_calls=-1"], 2, "below 0"),
        (["starter", "api_calls=1e5"], 2, "write 100000"),
        (["starter", "api_calls=NaN"], 2, "expected METER=QUANTITY"),
        (["starter", "--svg", "a.svg"], 2, "add --curve METER"),
        (
            ["starter", "--at", "yesterday"],
            2,
            "no day is called `yesterday`; write one such as 2026-11-23",
        ),
    ],
)
def test_a_quote_that_makes_no_sense_says_why(
    folder: Path, arguments: list[str], code: int, told: str
) -> None:
    quoted = meterline("quote", *arguments, cwd=folder)

    assert quoted.returncode == code
    assert told in quoted.stderr


def test_a_quote_without_a_price_list_says_how_to_get_one(tmp_path: Path) -> None:
    quoted = meterline("quote", "starter", cwd=tmp_path)

    assert quoted.returncode == 1
    assert "--pricing FILE" in quoted.stderr
    assert "meterline init" in quoted.stderr


def test_a_curve_is_drawn_up_to_the_quantity_given(folder: Path) -> None:
    drawn = meterline(
        "quote", "starter", "api_calls=120000", "--curve", "api_calls", cwd=folder
    )

    assert drawn.returncode == 0, drawn.stderr
    assert re.search(r"^\$70\.00 \|.*\*$", drawn.stdout, re.MULTILINE)
    assert drawn.stdout.rstrip().endswith("120,000")


def test_a_curve_tells_what_is_odd_about_a_price(folder: Path) -> None:
    path = folder / "pricing.toml"
    path.write_text(
        path.read_text()
        .replace('"graduated"', '"volume"')
        .replace('unit_amount = "0" }', 'unit_amount = "0.002" }')
        .partition("# `meterline check` runs")[0]
    )

    drawn = meterline("quote", "starter", "--curve", "api_calls", cwd=folder)

    assert "! a cliff at 50,000" in drawn.stdout


def test_a_curve_is_written_as_a_picture(folder: Path) -> None:
    arguments = ("quote", "starter", "--curve", "api_calls", "--svg")

    written = meterline(*arguments, "calls.svg", cwd=folder)
    refused = meterline(*arguments, "no/such/calls.svg", cwd=folder)

    assert written.returncode == 0
    assert (folder / "calls.svg").read_text().startswith("<svg ")
    assert refused.returncode == 1
    assert "choose another place" in refused.stderr


MARKET = """[[plan]]
name = "market"
currency = "eur"
[[plan.price]]
meter = "payments"
model = "percentage"
rate = "2"
minimum = "0.50"
[[plan.price]]
meter = "requests"
model = "matrix"
dimensions = ["region"]
cells = [ { values = { region = "eu" }, unit_amount = "2" } ]
default = { unit_amount = "1" }
[[plan.price]]
meter = "tokens"
model = "graduated"
convert = { per = 1_000, round = "up" }
tiers = [{ up_to = 10, unit_amount = "0.001" }, { unit_amount = "0.002" }]
"""


def test_a_quote_takes_usage_by_dimension_and_by_event(tmp_path: Path) -> None:
    (tmp_path / "pricing.toml").write_text(MARKET)

    quoted = meterline(
        *("quote", "market", "--pricing", "pricing.toml", "--json"),
        *("payments=10.00,100.00", "requests[region=eu]=3", "requests[region=us]=4"),
        cwd=tmp_path,
    )

    assert quoted.returncode == 0, quoted.stderr
    assert json.loads(quoted.stdout)["total"] == "12.50"


def test_a_quote_explains_how_each_amount_came_about(tmp_path: Path) -> None:
    (tmp_path / "market.toml").write_text(MARKET)
    arguments = ["market", "tokens=12500", "--pricing", str(tmp_path / "market.toml")]

    shown = CliRunner().invoke(quote, arguments).output

    told = [line.strip() for line in shown.splitlines() if line.startswith("  ")]
    assert told == [
        "2% of €0.00",
        "other: 0 x €1.00",
        "tier 1: 10 x €0.001",
        "tier 2: 3 x €0.002",
        "12,500 / 1,000 = 13; 10 x €0.001 + 3 x €0.002 = €0.02 (rounded",
        "from 0.016)",
    ]


def test_a_quote_says_nothing_twice(tmp_path: Path) -> None:
    (tmp_path / "prices.toml").write_text(
        """
[[plan]]
name = "small"
currency = "usd"

[[plan.price]]
meter = "calls"
model = "per_unit"
unit_amount = "0.002"

[[plan.price]]
meter = "seats"
model = "graduated"
tiers = [{ up_to = 5, unit_amount = "0.002" }, { unit_amount = "0.001" }]
"""
    )
    arguments = ["small", "calls=6", "seats=8"]

    shown = CliRunner().invoke(
        quote, [*arguments, "--pricing", str(tmp_path / "prices.toml")]
    )

    told = [line.strip() for line in shown.output.splitlines() if line[:2] == "  "]
    assert told == [
        "6 x $0.002 = $0.01 (rounded from 0.012)",
        "tier 1: 5 x $0.002",
        "tier 2: 3 x $0.001",
        "= $0.01 (rounded from 0.013)",
    ]


@pytest.mark.parametrize(
    ("quantities", "told"),
    [
        (["tokens=120,000"], "can be read as 120000 and as the amounts of 2 events"),
        (["payments=1,500,250"], "and the latter as 1.00,500.00,250.00"),
        (["requests=15,50"], "requests counts units: write requests=120000"),
        (["tokens=120.000"], "can be read as 120000 and as 120"),
        (["tokens=1", "tokens=2"], "tokens is given twice"),
        (["requests=1", "requests[region=eu]=2"], "requests is given twice"),
        (["requests[region]=5"], "expected METER=QUANTITY"),
        (["requests[regon=eu]=5"], "did you mean `region`?"),
    ],
)
def test_a_quote_refuses_what_was_hardly_meant(
    tmp_path: Path, quantities: list[str], told: str
) -> None:
    (tmp_path / "market.toml").write_text(MARKET)
    arguments = ["market", *quantities, "--pricing", str(tmp_path / "market.toml")]

    refused = CliRunner().invoke(quote, arguments)

    assert refused.exit_code != 0
    assert told in f"{refused.output}{refused.exception}"


def test_what_this_user_may_not_touch_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(**_options: object) -> None:
        raise PermissionError(13, "Permission denied", "/var/lib/meterline/tokens")

    monkeypatch.setattr(main, "cli", refused)
    with pytest.raises(SystemExit) as ended:
        main.main()

    assert ended.value.code == 1
    assert capsys.readouterr().err == (
        "meterline: /var/lib/meterline/tokens: Permission denied; run this as the user"
        " that the sidecar runs as\n"
    )


def test_a_misspelt_command_names_the_nearest() -> None:
    done = meterline("stauts")

    assert done.returncode == 2
    assert "did you mean 'status'?" in done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    helped = CliRunner().invoke(cli, [name, "--help"], prog_name="meterline")

    assert helped.exit_code == 0
    assert "Usage: meterline " + name in helped.output


def test_the_schema_is_json() -> None:
    schema = json.loads(meterline("config", "schema").stdout)
    prices = json.loads(meterline("config", "schema", "--pricing").stdout)

    assert "sidecar" in schema["properties"]
    assert "plan" in prices["properties"]


def test_tokens_are_listed_and_revoked_as_json(tmp_path: Path) -> None:
    (tmp_path / "meterline.toml").write_text('[sidecar]\ndatabase = "meterline.db"\n')

    made = json.loads(meterline("token", "create", "a", "--json", cwd=tmp_path).stdout)
    (listed,) = json.loads(meterline("token", "list", "--json", cwd=tmp_path).stdout)
    gone = meterline("token", "revoke", made["id"], "--json", cwd=tmp_path)

    assert listed["id"] == made["id"]
    assert listed["created"].endswith("Z")
    assert json.loads(gone.stdout) == listed
    assert json.loads(meterline("token", "list", "--json", cwd=tmp_path).stdout) == []


def test_a_clock_that_is_missing_is_told_with_what_it_is(tmp_path: Path) -> None:
    done = meterline("check", "--clock", "nowhere", cwd=tmp_path)

    assert done.returncode == 78
    assert "name a file that says what time it is, such as +25h" in done.stderr
