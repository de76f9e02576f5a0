"""Whatever stands in the two files, or is asked over HTTP: said in words, and survived."""

import asyncio
import contextlib
import random
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import msgspec
import pytest

from meterline_sidecar.config.read import read_config
from meterline_sidecar.errors import ConfigError
from tests.fault.fuzz import FUZZ_S, GOOD, ODD, Fuzz, Memory, bent, numbers_of
from tests.fault.oracle import verify_ledger
from tests.patience import PATIENCE_S
from tests.producer import Connection, batch, event
from tests.sidecar_process import SIDECAR, SidecarProcess
from tests.unit.pricing.test_load import EVERYTHING

pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.timeout(FUZZ_S + 120)]

# --- the two files

METERLINE: Final = """\
[sidecar]
socket = "m.sock"
database = "m.db"
spool_dir = "spool"
http = "127.0.0.1:8080"
pricing = "pricing.toml"
allowed_uids = [1000]
trusted_proxies = ["10.0.0.0/8"]
[[meter]]
name = "calls"
aggregation = "count"
where = { status = "200-499", route = ["/v1/*"], method = "GET" }
[[meter]]
name = "tokens"
aggregation = "sum"
value = "quantities.tokens"
group_by = ["route"]
[[customer]]
id = "acme"
name = "Acme"
subjects = ["acme_*"]
plan = "starter"
time_zone = "Europe/Berlin"
starts = 2026-01-01
[stripe]
mode = "dry_run"
[portal]
frame_origins = ["https://a.example"]
[alerts]
webhook_url = "https://a.example/x"
[[alert]]
name = "half"
amount = "100"
at = [50, 80]
"""
VALUES: Final = (
    *("-1", "0", "1e400", "nan", "inf", "9" * 400, "2**63", "0x7fffffffffffffff"),
    *('""', '"\\u0000"', "[]", "{}", "[[[]]]", "true", "{a=1}", "[1,'x']", "07:32:00"),
    *(
        "1979-05-27",
        "1979-05-27T07:32:00Z",
        '"unix:"',
        '":0"',
        '"[::1]:x"',
        '"/dev/full"',
    ),
    *('"' + "a" * 5000 + '"', '"0.0.0.0:99999"', '"**/**"', '"1_000"', '"0.1.2"'),
)
LINES: Final = (
    *("[x]", "[[x]]", "[sidecar]", "a.b.c = 1", "\ufeff", "[[plan.price.tiers]]"),
    *("x" * 3000 + " = 1", "[" * 300, "x = " + "[" * 300 + "]" * 300, "= 1", '"" = ""'),
)


def bent_text(chance: random.Random, text: str) -> str:
    """Return a TOML file that is changed in a line or in a few."""
    lines = text.splitlines()
    for _ in range(chance.choice((1, 1, 2, 4))):
        i = chance.randrange(len(lines))
        kind = chance.randrange(8)
        if kind < 3 and "=" in lines[i]:
            lines[i] = f"{lines[i].split('=')[0]}= {chance.choice(VALUES)}"
        elif kind == 3:
            lines[i] = chance.choice(lines)
        elif kind == 4:
            lines.insert(i, chance.choice(lines))
        elif kind == 5:
            lines.insert(i, chance.choice(LINES))
        elif kind == 6:
            del lines[i:]
            lines.append("")
        elif lines[i]:
            j = chance.randrange(len(lines[i]))
            odd = chance.choice("\0\t\"'[]{}=#,.\\é\ufeff\u202e-0")
            lines[i] = lines[i][:j] + odd + lines[i][j + 1 :]
    return "\n".join(lines)


def problems_of(config: Path) -> list[str]:
    """Return what is wrong with a configuration, in words."""
    try:
        read_config(config, environment={})
    except ConfigError as error:
        return str(error).splitlines() or pytest.fail("refused without a word")
    return []


def test_whatever_stands_in_the_two_files_is_read_or_told(
    tmp_path: Path, fuzz: Fuzz
) -> None:
    texts = {"meterline.toml": METERLINE, "pricing.toml": EVERYTHING}
    memory = Memory()
    for chance in fuzz:
        for name, text in texts.items():
            (tmp_path / name).write_text(text)
        name = chance.choice(sorted(texts))
        content = bent_text(chance, texts[name]).encode()
        if chance.random() < 0.1:
            content = bent(chance, content)
        (tmp_path / name).write_bytes(content)

        told = problems_of(tmp_path / "meterline.toml")
        assert all(len(text) < 10_000 for text in told)
    memory.check()


# --- HTTP

FAST: Final = SIDECAR + "http_requests_per_s = 1000000\n"
SECRETS: Final = (b"Traceback", b"sqlite", b'File "', b"meterline.db-wal")
AT_ONCE: Final = 16
"""Requests of one case: each on a connection of its own."""
HALF_S: Final = 0.05
PATHS: Final = (
    *("/", "/status", "/metrics", "/openapi.json", "/invoices", "/v1/events", "/x"),
    *("/customers/{}", "/v1/customers/{}", "/v1/customers/{}/invoice", "/portal/{}"),
)


def odd_text(chance: random.Random) -> str:
    odd = chance.choice(ODD)
    return odd if isinstance(odd, str) else str(odd)


class Request(NamedTuple):
    """The bytes of a request, and whether they are as HTTP wants them."""

    raw: bytes
    is_whole: bool


PROBE: Final = Request(
    b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    is_whole=True,
)


def request(
    chance: random.Random, operations: list[tuple[str, str, list[str]]]
) -> Request:
    """Return a request of an operation that there is, with anything in its places."""
    method, path, parameters = chance.choice(operations)
    while "{" in path:
        before, _, rest = path.partition("{")
        value = chance.choice(("acme", "acct_1", quote(odd_text(chance), safe="")))
        path = before + value + rest.partition("}")[2]
    chosen = chance.sample(parameters, min(len(parameters), chance.randrange(4)))
    query = "&".join(f"{name}={quote(odd_text(chance), safe='')}" for name in chosen)
    body = b""
    if method != "GET":
        body = msgspec.json.encode({chance.choice(("id", "name")): odd_text(chance)})
        body = bent(chance, body) if chance.random() < 0.5 else body
    head = (
        f"{method} {path}{'?' * bool(query)}{query} HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Length: {len(body)}\r\nContent-Type: application/json\r\n"
        "Connection: close\r\n\r\n"
    )
    raw = head.encode() + body
    if chance.random() < 0.2:
        return Request(bent(chance, raw), is_whole=False)
    return Request(raw, is_whole=True)


def answer_to(path: Path, asked: Request) -> bytes:
    """Return what comes back before the end; nothing for what is no request.

    Who hangs up is not answered: that comes last, and only where a request may lack
    its end.
    """
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(PATIENCE_S if asked.is_whole else HALF_S)
        peer.connect(str(path))
        received = bytearray()
        with contextlib.suppress(ConnectionError):
            peer.sendall(asked.raw)
            try:
                read_to_the_end(peer, received)
            except TimeoutError:
                assert not asked.is_whole, asked.raw
                peer.settimeout(PATIENCE_S)
                peer.shutdown(socket.SHUT_WR)
                read_to_the_end(peer, received)
    assert received or not asked.is_whole, asked.raw
    return bytes(received)


def read_to_the_end(peer: socket.socket, received: bytearray) -> None:
    while data := peer.recv(65_536):
        received += data


def operations_of(document: dict[str, Any]) -> list[tuple[str, str, list[str]]]:
    """Return method, path and parameters of each operation, and of some pages."""
    found = [("GET", path, ["period", "from", "limit", "page"]) for path in PATHS]
    for path, item in document["paths"].items():
        for method, operation in item.items():
            names = [p["name"] for p in operation.get("parameters", []) if "name" in p]
            found.append((method.upper(), path, names))
    return found


def test_whatever_is_asked_over_http_is_answered_in_words(
    tmp_path: Path, fuzz: Fuzz
) -> None:
    with SidecarProcess(tmp_path, sidecar=FAST) as sidecar:

        async def ship(number: int) -> None:
            async with Connection(sidecar.socket) as app:
                await app.hello(GOOD)
                right = event(quantities={"n": number})
                assert await app.ship(batch(right, first_seq=number)) == number

        asyncio.run(ship(1))
        operations = operations_of(sidecar.get("/openapi.json"))
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for chance in fuzz:
                asked = [request(chance, operations) for _ in range(AT_ONCE)]

                answers = pool.map(partial(answer_to, sidecar.http), asked)

                for one, answer in zip(asked, answers, strict=True):
                    status = answer.split(b" ", 2)[1] if answer else b"400"
                    assert status < b"500" or status == b"501", (one, answer[:2000])
                    assert not any(secret in answer for secret in SECRETS), one
        assert b"200 OK" in answer_to(sidecar.http, PROBE)
        asyncio.run(ship(2))
        sidecar.until_counted(2)
        assert sidecar.stop() == 0
        assert "Traceback" not in sidecar.log.read_text()
    assert numbers_of(sidecar.database, GOOD) == [1, 2]
    assert verify_ledger(sidecar.database).is_sound
