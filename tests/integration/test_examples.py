"""The apps of examples/, as they stand there, under a real server."""

import configparser
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import httpx
import pytest

from meterline import api_key_subject
from meterline.portal import portal_customer
from tests.fake_sidecar import FakeSidecar
from tests.integration.cli.test_demo import processes_in
from tests.integration.test_servers import Server, running
from tests.patience import PATIENCE_S
from tests.ports import Port
from tests.sidecar_process import SidecarProcess, meterline, unix_client

ROOT = Path(__file__).parents[2]
REHEARSAL = ROOT / "examples" / "rehearsal"
PROGRAMS = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
SUBJECT_KEY = "k" * 32
PORTAL_KEY = b"p" * 32


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[FakeSidecar]:
    with FakeSidecar(tmp_path / "s") as fake:
        yield fake


def uvicorn(name: str) -> list[str]:
    return [sys.executable, "-m", "uvicorn", f"examples.{name}:app", "--uds"]


def client(server: Server) -> httpx.Client:
    return unix_client(server.path, base_url="http://example")


def test_the_quickstart_meters_who_and_how_much(
    tmp_path: Path, sidecar: FakeSidecar
) -> None:
    with running(uvicorn("quickstart"), tmp_path) as server, client(server) as http:
        assert http.get("/hello/ada").json() == {"hello": "ada"}

        (event,) = sidecar.wait_for_events(1)

    assert (event.subject, event.route) == ("acct_ada", "/hello/{name}")
    assert event.quantities == {"characters": 3}


def test_a_stream_is_metered_by_key_and_its_customer_sees_their_page(
    tmp_path: Path, sidecar: FakeSidecar
) -> None:
    key_file = tmp_path / "portal-key"
    key_file.write_bytes(PORTAL_KEY)
    environment = {
        "METERLINE_SUBJECT_KEY": SUBJECT_KEY,
        "METERLINE_PORTAL_KEY": str(key_file),
    }
    with (
        running(uvicorn("streaming"), tmp_path, **environment) as server,
        client(server) as http,
    ):
        http.headers["authorization"] = "Bearer sk-acme"
        assert http.post("/complete", content="three little words").text.split() == [
            *("THREE", "LITTLE", "WORDS")
        ]
        link = http.get("/usage").headers["location"]
        assert http.get("/usage", headers={"authorization": "x"}).status_code == 401

        event = sidecar.wait_for_events(3)[0]

    assert event.subject == api_key_subject("sk-acme", key=SUBJECT_KEY)
    assert event.quantities == {"tokens_in": 3, "tokens_out": 3}
    token = link.partition("token=")[2]
    assert portal_customer(token, key=PORTAL_KEY, now_s=int(time.time())) == "acme"


def test_tokens_cost_by_the_model_that_made_them(tmp_path: Path) -> None:
    said = (ROOT / "examples" / "tokens.toml").read_text().partition("[[meter]]")
    prices = (ROOT / "examples" / "tokens_pricing.toml").read_text()
    with SidecarProcess(
        tmp_path, meterline="".join(said[1:]), pricing=prices
    ) as sidecar:
        where = {"METERLINE_SOCKET": str(sidecar.socket)}
        with running(uvicorn("tokens"), tmp_path, **where) as server:
            with client(server) as http:
                http.headers["x-account"] = "acme_1"
                for prompt in ("one two three four five", "six"):
                    assert http.post("/complete", content=prompt).status_code == 200
            sidecar.until_counted(2)
        invoice = sidecar.get("/v1/customers/acme/invoice")
        told = sidecar.meterline("usage", "--customer", "acme")

    # 4 tokens of large and 6 of small.
    assert invoice["due"] == "0.18"
    (used,) = invoice["usage"]
    assert {
        group["labels"]["model"]: group["quantity"] for group in used["groups"]
    } == {
        "large": 4,
        "small": 6,
    }
    shown = [line.split() for line in told.stdout.splitlines()]
    assert ["large", "4"] in shown
    assert ["small", "6"] in shown


def test_a_fastapi_app_has_keys_plans_noise_and_work_after_the_answer(
    tmp_path: Path,
) -> None:
    said = (ROOT / "examples" / "fastapi_app.toml").read_text().partition("[[meter]]")
    prices = (ROOT / "examples" / "fastapi_app_pricing.toml").read_text()
    with SidecarProcess(
        tmp_path, meterline="".join(said[1:]), pricing=prices
    ) as sidecar:
        where = {"METERLINE_SOCKET": str(sidecar.socket)}
        with running(uvicorn("fastapi_app"), tmp_path, **where) as server:
            acme, bolt = ({"x-api-key": f"key-of-{n}"} for n in ("acme", "bolt"))
            text = {"text": "one two three"}
            with client(server) as http:
                answers = [
                    http.get("/healthz"),
                    http.get("/openapi.json"),
                    http.get("/words/one"),
                    http.get("/words/one", headers=bolt),
                    http.post("/reports", headers=bolt, json=text),
                    http.get("/words/one", headers=acme),
                    http.post("/reports", headers=acme, json=text),
                ]
            sidecar.until_counted(4)  # three requests, and the work after one
        acmes, bolts = (
            sidecar.get(f"/v1/customers/{name}/invoice") for name in ("acme", "bolt")
        )
        ingested = sidecar.get("/status")["events"]["ingested"]

    assert [a.status_code for a in answers] == [200, 200, 401, 200, 403, 200, 202]
    assert ingested == 4
    # 2 calls and 3 words.
    assert (acmes["due"], bolts["due"]) == ("0.32", "0.00")
    assert [m["quantity"] for m in (*acmes["usage"], *bolts["usage"])] == [2, 3, 1, 0]


@pytest.mark.parametrize(
    "unit",
    sorted((ROOT / "examples" / "systemd").iterdir()),
    ids=lambda path: path.name,
)
def test_the_commands_of_a_unit_exist(unit: Path) -> None:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment]
    parser.read(unit)
    text = unit.read_text()
    commands = [
        line.partition("bin/meterline ")[2].split()
        for line in text.splitlines()
        if "bin/meterline " in line and not line.startswith("#")
    ]

    assert parser.sections()[0] == "Unit"
    assert commands or "[Timer]" in text
    for name, *options in commands:
        shown = meterline(name, "--help")
        assert shown.returncode == 0, shown.stderr
        assert all(o in shown.stdout for o in options if o.startswith("--"))


def walked(name: str) -> str:
    """Run a walk of the rehearsal; return what it prints."""
    done = subprocess.run(
        [REHEARSAL / name],
        env={"PATH": PROGRAMS},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S * 3,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_rehearsal_closes_two_months_as_its_page_says() -> None:
    printed = walked("walk.sh")

    for said in (
        "2 invoices would become final: $45.00",
        "$5.00 has been added since",
        "billed 3,000; by now 3,500 are counted",
        "due: $11.00",
        "as they were written",
    ):
        assert said in printed


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_rehearsal_closes_a_year_as_its_page_says() -> None:
    printed = walked("year.sh")

    page = (REHEARSAL / "README.md").read_text()
    for said in (
        "acme, 2028-02: 15.00 usd",
        "hayashi, 2028-02: 10.00 usd",
        "acme, 2028-03: 12.00 usd",
        "hayashi, 2028-03: 15.00 usd",
        "total                                           $48.00",
        "due: $63.00",
        "hayashi, 2028-06: 50.00 usd",
        "hayashi, 2028-06: 10.00 usd",
        "acme, 2028-08: 0.00 usd",
        "acme, 2028-09: 45.00 usd",
        "lark, 2028-09: 3.33 usd",
        "acme, 2028-10: 65.00 usd",
        "acme, 2028-11: 65.00 usd",
        "acme, 2028-12: 65.00 usd",
        "as they were written",
    ):
        assert said in printed
        amount = said.split()[-2 if said.endswith("usd") else -1].strip("$")
        assert f"${amount}" in page or not amount[0].isdigit()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_a_wait_of_the_rehearsal_ends_however_much_follows_what_it_waits_for() -> None:
    wait = f". {REHEARSAL / 'common.sh'}; sidecar=$$; until_said 1 seq 1000000; rm -r $work"

    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", wait],
        env={"PATH": PROGRAMS},
        timeout=PATIENCE_S,
        check=False,
    )

    assert done.returncode == 0


@pytest.fixture
def stage() -> Generator[Path]:
    """A temporary directory that a server's user reaches; nothing in it outlives the test."""
    folder = Path(
        tempfile.mkdtemp(prefix="walk", dir=os.environ.get("PYTEST_DEBUG_TEMPROOT"))
    )
    folder.chmod(0o711)
    yield folder
    for pid in processes_in(folder):
        os.kill(pid, signal.SIGKILL)
    shutil.rmtree(folder)


@pytest.fixture
def two_ports() -> Generator[tuple[Port, Port]]:
    """Two free ports, one behind the other, that nobody else is given."""
    while True:
        first = Port()
        try:
            second = Port(first.number + 1)
        except OSError:
            first.close()
            continue
        break
    yield first, second
    first.close()
    second.close()


def walk_the_fleet(stage: Path, port: int) -> subprocess.CompletedProcess[str]:
    """Run the walk of the fleet as ``make demo-fleet`` does, and end it with the test."""
    with subprocess.Popen(
        [ROOT / "examples" / "fleet" / "walk.sh", str(port)],
        cwd=stage,
        env={"PATH": PROGRAMS, "TMPDIR": str(stage)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as walk:
        try:
            printed, said = walk.communicate(timeout=PATIENCE_S * 3)
        finally:
            walk.kill()
    return subprocess.CompletedProcess(walk.args, walk.returncode, printed, said)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_the_fleet_bills_what_two_edges_served_and_leaves_nothing(
    stage: Path, two_ports: tuple[Port, Port]
) -> None:
    done = walk_the_fleet(stage, two_ports[0].number)

    assert done.returncode == 0, done.stdout + done.stderr
    # From whichever centre leads at the end, where there are two.
    last = done.stdout.rpartition("== ")[2]
    assert re.search(r"^api_calls +120,000 +\$70\.00$", last, re.MULTILINE), last
    assert re.search(r"^total +\$70\.00$", last, re.MULTILINE), last
    assert processes_in(stage) == []
    assert list(stage.iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_a_fleet_that_does_not_come_up_says_why_and_leaves_nothing(
    stage: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = walk_the_fleet(stage, port)

    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
    assert processes_in(stage) == []
    assert list(stage.iterdir()) == []
