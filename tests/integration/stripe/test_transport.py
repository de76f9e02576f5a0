"""Whatever stands between here and Stripe may answer anything, and nothing is guessed."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from meterline_sidecar.access.secret import Secret
from meterline_sidecar.errors import RetryLater
from meterline_sidecar.stripe import transport
from meterline_sidecar.stripe.api import StripeApi
from meterline_sidecar.stripe.meter_events import (
    MeterEvent,
    Outcome,
    Unknown,
    Unreachable,
)
from meterline_sidecar.stripe.pacing import Backoff

EVENT = MeterEvent("api_calls", "cus_1", 1, 1_790_000_000_000, "u1-a", "u1-a-0")
AT_ONCE = Backoff(first_s=0.0)


@asynccontextmanager
async def answering(content: bytes | None) -> AsyncGenerator[int]:
    """Run a server that answers every request with this, or never."""

    tasks: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        await reader.read(65_536)
        if content is None:
            await reader.read()  # until whoever asked goes away
        else:
            writer.write(content)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        await asyncio.gather(*(task for task in tasks if task is not None))


def http(status: str, body: bytes = b"") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def asked(base: str, ask: Callable[[StripeApi], Awaitable[Outcome]]) -> Outcome:
    api = StripeApi(
        lambda: Secret("sk_test_meterline"), api_base=base, read_backoff=AT_ONCE
    )
    try:
        return await ask(api)
    finally:
        await api.close()


def sent(api: StripeApi) -> Awaitable[Outcome]:
    return api.send(EVENT)


@pytest.mark.parametrize(
    "status", ["200 OK", "301 Moved", "400 Bad", "403 No", "500 X"]
)
@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"<html>Zugriff verweigert f\xfcr Sie</html>", b"\xff\xfe", b"[]", b"5"),
        *(
            b"null",
            b'{"error": "access_denied"}',
            b'{"error": null}',
            b'{"error": [1]}',
        ),
        b"[" * 50_000 + b"]" * 50_000,
    ],
)
async def test_what_is_no_answer_of_stripes_says_nothing_of_an_event(
    status: str, body: bytes
) -> None:
    async with answering(http(status, body)) as port:
        outcome = await asked(f"http://127.0.0.1:{port}", sent)

        assert isinstance(outcome, Unknown)

        async def read(api: StripeApi) -> Outcome:
            with pytest.raises(RetryLater):
                await api.call("get", "/v1/invoices")
            return outcome

        await asked(f"http://127.0.0.1:{port}", read)


@pytest.mark.parametrize("status", ["407 Proxy Authentication Required", "502 Bad"])
async def test_what_a_proxy_refuses_was_not_sent(
    status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with answering(http(status)) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        outcome = await asked("https://stripe.invalid", sent)

    assert outcome == Unreachable(f"no connection: the proxy answered {status}")


async def test_what_finds_no_connection_in_time_was_not_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As behind a firewall that drops what it does not know."""
    monkeypatch.setattr(transport, "CONNECT_TIMEOUT_S", 0.05)
    async with answering(None) as port:  # which never shakes hands
        outcome = await asked(f"https://127.0.0.1:{port}", sent)

    assert outcome == Unreachable("no connection in time")


async def test_what_is_not_answered_in_time_may_have_been_executed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transport, "TIMEOUT_S", 0.05)
    async with answering(None) as port:
        outcome = await asked(f"http://127.0.0.1:{port}", sent)

    assert outcome == Unknown("no answer in time", needs_new_key=False)
