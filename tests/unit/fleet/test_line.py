"""How an edge calls its centre, and what it says where nobody answers."""

import asyncio
import ssl

import pytest

from meterline_sidecar.config.centre import Address
from meterline_sidecar.fleet import line
from meterline_sidecar.fleet.line import in_words, reach

TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
CENTRE = Address("centre", 8271)


def test_a_call_that_is_refused_is_told_with_its_address() -> None:
    four = OSError("[Errno 111] Connect call failed ('10.0.0.1', 8271)")
    six = OSError("[Errno 113] Connect call failed ('fd00::1', 8271, 0, 0)")

    assert in_words(four) == "connection refused at 10.0.0.1"
    assert in_words(six) == "no route to host at fd00::1"


def test_what_is_no_call_is_told_as_it_is() -> None:
    wrong = ssl.SSLCertVerificationError("certificate verify failed")

    assert "certificate verify failed" in in_words(wrong)
    assert in_words(ConnectionResetError()) == "the connection was cut"


def test_a_centre_that_ends_or_is_silent_is_told_without_counts_of_bytes() -> None:
    assert in_words(asyncio.IncompleteReadError(b"", 4)) == "the connection was closed"
    assert in_words(TimeoutError()) == "no answer in time"


@pytest.mark.parametrize("order", [("silent", "refuses"), ("refuses", "silent")])
async def test_of_a_name_with_several_addresses_each_is_called_and_told_of(
    monkeypatch: pytest.MonkeyPatch, order: tuple[str, ...]
) -> None:
    names: set[str] = set()

    async def addresses(_address: Address) -> list[str]:
        return list(order)

    async def open_connection(
        ip: str, *_: object, server_hostname: str, **_more: object
    ) -> None:
        names.add(server_hostname)
        if ip == "silent":
            await asyncio.Event().wait()
        raise ConnectionRefusedError(f"[Errno 111] Connect call failed ('{ip}', 8271)")

    monkeypatch.setattr(line, "CONNECT_TIMEOUT_S", 0.02)
    monkeypatch.setattr(line, "addresses", addresses)
    monkeypatch.setattr(asyncio, "open_connection", open_connection)

    with pytest.raises(
        OSError, match=r"^connection refused at refuses, no answer at silent$"
    ):
        await reach(CENTRE, tls=TLS, limit=1)
    assert names == {"centre"}


async def test_one_that_is_silent_does_not_hide_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader = asyncio.StreamReader()

    async def addresses(_address: Address) -> list[str]:
        return ["silent", "answers"]

    async def open_connection(ip: str, *_: object, **_more: object) -> object:
        if ip == "silent":
            await asyncio.Event().wait()
        return reader, None

    monkeypatch.setattr(line, "CONNECT_TIMEOUT_S", 0.02)
    monkeypatch.setattr(line, "addresses", addresses)
    monkeypatch.setattr(asyncio, "open_connection", open_connection)

    assert (await reach(CENTRE, tls=TLS, limit=1))[0] is reader


async def test_a_name_is_what_the_system_says_it_is() -> None:
    assert "127.0.0.1" in await line.addresses(Address("127.0.0.1", 1))
