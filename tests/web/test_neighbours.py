"""On the loopback, the ledger is for who may open its file: others need a token."""

import os
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest

from meterline_sidecar.web.app import make_app
from meterline_sidecar.web.clients import Clients
from meterline_sidecar.web.neighbours import CONNECTION, Neighbours
from tests.web.conftest import Web

HEAD = (
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt uid\n"
)
ROW = (
    "   0: {} 01 00000000:00000000 00:00000000 00000000 {:>5}        0 4711 1"
    " 0000000000000000 20 4 30 10 -1\n"
)
V4 = "0100007F:9C40 0100007F:2050"
V6 = "00000000000000000000000001000000:9C40 00000000000000000000000001000000:2050"
MAPPED = "0000000000000000FFFF00000100007F:9C40 0000000000000000FFFF00000100007F:2050"


def scope(host: str, client_port: int = 40_000, port: int = 0x2050) -> dict[str, Any]:
    return {"type": "http", "client": (host, client_port), "server": (host, port)}


def of_connection(host: str) -> dict[str, Any]:
    """Return the scope of a request on a connection that may have others."""
    known: dict[str, bool] = {}
    return {**scope(host), "state": {CONNECTION: known}}


def tables(folder: Path, *, v4: str = "", v6: str = "") -> Neighbours:
    for name, rows in (("tcp", v4), ("tcp6", v6)):
        (folder / name).write_text(HEAD + rows)
    return Neighbours((folder / "tcp", folder / "tcp6"))


@pytest.mark.parametrize("uid", sorted({0, os.geteuid()}))
def test_root_and_our_own_user_are_let_in(tmp_path: Path, uid: int) -> None:
    four = tables(tmp_path, v4=ROW.format(V4, uid))
    assert four.is_own(scope("127.0.0.1"))
    six = tables(tmp_path, v6=ROW.format(V6, uid))
    assert six.is_own(scope("::1"))
    both = tables(tmp_path, v6=ROW.format(MAPPED, uid))
    assert both.is_own(scope("127.0.0.1"))


def test_others_and_those_whom_the_kernel_does_not_name_are_not(tmp_path: Path) -> None:
    others = tables(tmp_path, v4=ROW.format(V4, 65_534))
    assert not others.is_own(scope("127.0.0.1"))
    # The other end of the connection is ours: that is no client.
    ends = " ".join(reversed(V4.split()))
    ours = tables(tmp_path, v4=ROW.format(ends, os.geteuid()))
    assert not ours.is_own(scope("127.0.0.1"))
    assert not ours.is_own(scope("127.0.0.1", client_port=40_001))
    assert not ours.is_own({"type": "http", "client": None, "server": None})
    assert not Neighbours((tmp_path / "no-such-table",)).can_tell


def test_a_connection_of_this_process_is_its_own() -> None:
    neighbours = Neighbours()
    if not neighbours.can_tell:
        pytest.skip("this system does not say")
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        with socket.create_connection(address) as client:
            connected = {"client": client.getsockname(), "server": address}

            assert neighbours.is_own(connected)


async def test_whose_a_connection_is_is_asked_once(tmp_path: Path) -> None:
    ours = tables(tmp_path, v4=ROW.format(V4, os.geteuid()))
    connected = of_connection("127.0.0.1")
    assert await ours.has_own(connected)

    others = tables(tmp_path, v4=ROW.format(V4, 65_534))
    assert await ours.has_own(connected)
    assert not await ours.has_own(scope("127.0.0.1"))
    # Who was refused is asked again: a token may not be needed the next time.
    refused = of_connection("127.0.0.1")
    assert not await others.has_own(refused)
    assert await tables(tmp_path, v4=ROW.format(V4, 0)).has_own(refused)


async def test_who_is_not_let_in_needs_a_token(web: Web, tmp_path: Path) -> None:
    app = make_app(web.parts, Clients(), tables(tmp_path))
    token = web.tokens.create("me", "read", now_ms=0).text
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://localhost"
    ) as http:
        codes = {
            path: (await http.get(path)).status_code
            for path in ("/v1/customers", "/status", "/", "/livez")
        }
        changed = await http.post("/v1/customers/acme/invoice/finalize?period=2026-01")
        page = await http.get("/", headers={"Accept": "text/html"})
        right = await http.get(
            "/v1/customers", headers={"Authorization": f"Bearer {token}"}
        )

    assert codes == {"/v1/customers": 401, "/status": 401, "/": 401, "/livez": 200}
    assert changed.status_code == 401
    assert page.headers["location"] == "/login?next=/"
    assert right.status_code == 200
