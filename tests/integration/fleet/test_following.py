"""A centre that follows: what it answers, what it refuses, and what it says of its files."""

from pathlib import Path
from typing import Any, Final

import pytest

from tests.integration.fleet.conftest import Host, World, until
from tests.postgres_server import shared_database
from tests.sidecar_process import METERLINE, PRICING

OTHER: Final = METERLINE.replace("Acme Corp", "Acme Limited")
REFUSED: Final = (
    "/v1/close",
    "/v1/report",
    "/v1/reconcile?start=2026-11-01&end=2026-11-02",
    "/v1/archive/restore?file=none",
)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Run centres on a server."""
    return World(tmp_path, database=shared_database())


def second(world: World, text: str = METERLINE) -> Any:
    """Run another centre of the same ledger, with the key of the first."""
    folder = world.folder / "centre-2"
    folder.mkdir(exist_ok=True)
    key = (world.folder / "centre" / "meterline.db.key").read_bytes()
    (folder / "meterline.db.key").write_bytes(key)
    return world.centre(text, keys="lease_s = 2\n", folder="centre-2", pricing=PRICING)


async def codes(host: Host) -> dict[str, str]:
    problems = (await host.http.get("/status")).json()["problems"]
    return {one["code"]: one["text"] for one in problems}


async def test_one_that_follows_says_who_leads_and_leaves_to_it_what_is_its(
    world: World,
) -> None:
    async with world.centre() as one, second(world) as two:
        leader = (await two.http.get("/status")).json()["leader"]
        answers = [await two.http.post(path) for path in REFUSED]
        page = await two.http.get("/")
        metrics = (await one.http.get("/metrics")).text
        added = await two.http.post(
            "/v1/customers", json={"id": "beta", "plan": "starter"}
        )
        await one.parts.terms.follow_ledger()

        assert (leader["is_here"], leader["election"]) == (False, 1)
        assert leader["name"] == one.parts.leading.me.name
        assert [answer.status_code for answer in answers] == [409] * len(REFUSED)
        for answer in answers:
            assert f"ask {leader['name']}" in answer.json()["detail"]
        assert f"{leader['name']} leads, this centre follows" in page.text
        assert "meterline_leader 1.0" in metrics
        assert added.status_code == 200, added.text
        assert one.parts.customers.get("beta") is not None


async def test_files_that_differ_change_nothing_and_are_said_to(world: World) -> None:
    async with (
        world.centre(keys="lease_s = 300\n") as one,
        second(world, OTHER) as two,
    ):
        text = (await codes(two))["files_differ"]
        refused = await two.post("/v1/reload")
        names = [host.parts.customers.get("acme") for host in (one, two)]
        calm = await codes(one)

        await one.parts.leading.__aexit__()
        await until(two.parts.leading.leads)
        await two.parts.leading.only(two.parts.standings.refresh)()
        led = (await codes(two))["files_differ"]
        still = two.parts.customers.get("acme")
        loaded = await two.post("/v1/reload")
        after = await codes(two)

        assert "customers" in text
        assert refused.status_code == 409
        assert "customers" in refused.json()["detail"]
        assert "files_differ" not in calm
        assert [name.name for name in (*names, still) if name] == ["Acme Corp"] * 3
        assert "Acme Limited" in led
        assert loaded.status_code == 200, loaded.text
        assert "files_differ" not in after
        renamed = two.parts.customers.get("acme")
        assert renamed is not None
        assert renamed.name == "Acme Limited"


async def test_one_with_another_key_is_refused(world: World) -> None:
    async with world.centre():
        folder = world.folder / "centre-2"
        folder.mkdir()
        (folder / "meterline.db.key").write_bytes(b"0" * 32)

        with pytest.raises(Exception, match="copy that file from a centre"):
            async with world.centre(folder="centre-2"):
                pass
