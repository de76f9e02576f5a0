"""What the pages and the metrics of a centre and of an edge say of each other."""

import re
import shutil
import subprocess

import msgspec
import pytest

from meterline_sidecar.cli.commands.status import tell_status
from meterline_sidecar.web.answers.status import Status
from tests.integration.fleet.conftest import Host, World, until
from tests.integration.fleet.test_centre import BY_HAND, DECEMBER_MS
from tests.integration.fleet.test_forwarding import until_there, used
from tests.integration.test_deploy import DEPLOY
from tests.producer import NOON_MS, batch
from tests.sidecar_process import METERLINE
from tests.web.conftest import form

PROMTOOL = shutil.which("promtool")


async def page(host: Host, path: str) -> str:
    """Return a page."""
    answer = await host.http.get(path, headers={"Accept": "text/html"})
    assert answer.status_code == 200, answer.text
    return answer.text


async def metrics(host: Host) -> dict[str, float]:
    """Return what is measured of edges and of forwarding, with promtool's blessing."""
    text = (await host.http.get("/metrics")).text
    if PROMTOOL is not None:
        ran = subprocess.run(
            [PROMTOOL, "check", "metrics"],
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (ran.returncode, ran.stderr) == (0, "")
    lines = [line.rpartition(" ") for line in text.splitlines() if line[0] != "#"]
    return {
        name.removeprefix("meterline_"): float(value)
        for name, _, value in lines
        if name.startswith(("meterline_edge_", "meterline_forward_"))
    }


async def test_how_an_edge_stands_is_told_on_both_sides(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    async with world.centre() as centre, world.edge() as edge:
        forwarder = edge.parts.forwarder
        assert forwarder is not None
        await edge.ship(batch(used(1), used(2), used(3)))
        await until_there(centre, 3)
        assert centre.parts.edges is not None
        known = centre.parts.edges.named("one")
        await until(lambda: known.row.low_ms == NOON_MS and not known.behind)
        labels = f'edge="one",id="{forwarder.edge[:8]}"'

        there = await metrics(centre)
        here = await metrics(edge)

        assert there.pop(f"edge_frames_total{{{labels}}}") > 1
        assert there == {
            f"edge_connected{{{labels}}}": 1,
            f"edge_last_heard_timestamp_seconds{{{labels}}}": NOON_MS / 1000,
            f"edge_complete_timestamp_seconds{{{labels}}}": NOON_MS / 1000,
            f"edge_filed_timestamp_seconds{{{labels}}}": 0,
            f"edge_behind_batches{{{labels}}}": 0,
            f"edge_clock_ahead_seconds{{{labels}}}": 0,
            f"edge_events_total{{{labels}}}": 3,
            f"edge_refusals_total{{{labels}}}": 0,
        }
        assert here == {
            "forward_connected": 1,
            "forward_behind_batches": 0,
            "forward_complete_timestamp_seconds": NOON_MS / 1000,
            "forward_filed_timestamp_seconds": 0,
            "forward_clock_ahead_seconds": 0,
            "forward_last_ack_timestamp_seconds": NOON_MS / 1000,
        }
        name = {"subject": "acct_9", "reason": "asked"}
        looked = await edge.http.post("/erasures", data=form(**name))
        assert looked.status_code == 409  # it is asked, and no event is of such a one
        assert "no event in the ledger is of such a subject" in looked.text
        status = (await edge.http.get("/status")).content
        tell_status(msgspec.json.decode(status, type=Status), at="here")
        printed = " ".join(capsys.readouterr().out.split())
        assert "batches that wait here 0 centre 127.0.0.1:" in printed
        assert "last answer just now" in printed
        shown = await page(edge, "/edges")
        assert "it sends its events to its centre" in shown
        assert "not connected" not in shown
        listed = await page(centre, "/edges")
        assert all(text in listed for text in (">one ", "connected", "as ours"))
        assert 'href="/edges"' in await page(centre, "/customers")


async def test_an_edge_is_retired_and_adopted_by_a_click(world: World) -> None:
    async with world.centre() as centre, world.edge() as edge:
        forwarder = edge.parts.forwarder
        assert forwarder is not None
        await until(lambda: forwarder.is_connected)
        said = {"edge": forwarder.edge, "decision": "retire", "reason": "<sold>"}
        without = form(**{**said, "reason": ""})
        nothing = await centre.http.post("/edges", data=without)
        assert nothing.status_code == 400

        answer = await centre.http.post("/edges", data=form(**said))

        assert (answer.status_code, answer.headers["location"]) == (303, "/edges")
        await until(lambda: "retired" in (forwarder.trouble or ""))
        assert "edge_connected" not in str(await metrics(centre))
        acts = (await centre.http.get("/v1/audit")).json()["acts"]
        assert (acts[0]["author"], acts[0]["reason"]) == ("local", "<sold>")
        await centre.http.post("/edges", data=form(**{**said, "decision": "adopt"}))
        await until(lambda: forwarder.is_connected)
        ((name, refusals),) = [
            one
            for one in (await metrics(centre)).items()
            if one[0].startswith("edge_refusals_total")
        ]
        assert 'edge="one"' in name
        assert refusals > 0
        unknown = await centre.http.post("/edges", data=form(**{**said, "edge": "two"}))
        assert unknown.status_code == 404


async def test_the_month_end_names_who_it_waits_for_and_gives_up_what_they_have(
    world: World,
) -> None:
    async with world.centre(METERLINE + BY_HAND) as centre:
        async with world.edge() as edge:
            await edge.ship(batch(used(1, subject="acct_1")))
            await until_there(centre, 1)
        world.clock.time_ms = DECEMBER_MS
        await centre.http.post("/close", data=form())
        await centre.parts.closer.run()
        shown = await page(centre, "/close")
        assert "edge one has not said that all of its events" in shown
        assert '<option value="one">edge one</option>' in shown
        said = {"edge": "one", "reason": "its disk is gone"}

        without = await centre.http.post("/close/gap", data=form(edge="one"))
        dry = await centre.http.post("/close/gap", data=form(**said, dry_run="yes"))
        await centre.parts.closer.run()
        assert (without.status_code, dry.status_code) == (400, 303)
        assert "would become final" in await page(centre, "/close")
        assert (await centre.rows("SELECT count(*) FROM invoices")) == [(0,)]
        await centre.http.post("/close/gap", data=form(**said))
        await centre.parts.closer.run()

        made = await centre.rows(
            "SELECT author, cause FROM invoice_states WHERE state = 'final'"
        )
        assert made == [("local", "by hand: its disk is gone")]
        assert "Close without what is missing" not in await page(centre, "/close")


@pytest.mark.parametrize("path", ["/edges", "/close"])
async def test_a_sidecar_alone_has_no_edges(world: World, path: str) -> None:
    async with world.single("alone") as alone:
        shown = await page(alone, path)

        assert 'href="/edges"' not in shown
        wrong = {"edge": "one", "decision": "adopt", "reason": "x"}
        assert (await alone.http.post("/edges", data=form(**wrong))).status_code == 409


async def test_every_metric_that_an_alert_asks_for_is_there(world: World) -> None:
    rules = (DEPLOY / "prometheus" / "alerts.yml").read_text()
    asked = set(re.findall(r"meterline_\w+", rules))
    async with world.centre() as centre, world.edge() as edge:
        forwarder = edge.parts.forwarder
        assert forwarder is not None
        await until(lambda: forwarder.acked_ms is not None)
        texts = [(await one.http.get("/metrics")).text for one in (centre, edge)]

    known = set(re.findall(r"^(meterline_\w+)", "\n".join(texts), re.MULTILINE))
    # There once it has happened; ``_total`` stands in the help all the same.
    known.add("meterline_edge_connections_refused_total")
    known.add("meterline_leader")  # of centres that share a ledger
    assert asked - known == set()
