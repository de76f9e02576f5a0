"""One worker of the demo's API: serves requests that it makes itself, then ends.

    python -m meterline_sidecar.demo.worker acme=1000 initech=20

Without arguments it serves a few visitors a second, until it is ended.

The app is called as a server would call it, lifespan included; only HTTP parsing and
the client's network are left out, so that two workers serve 150,000 in seconds.
"""

import asyncio
import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from typing import Final

from starlette.types import ASGIApp, Message, Scope

from meterline_sidecar.demo.api import app

ITEMS: Final = 1_000
PAUSE_S: Final = 0.1
CUSTOMERS: Final = ("acme", "globex", "initech")
PATHS: Final = {"acme": "/v1/items/{}", "globex": "/v1/items/{}"}
"""Where a customer's requests go; the others complete texts."""


async def serve(app: ASGIApp, requests: Iterable[Scope], *, pause_s: float = 0) -> None:
    """Start the app, serve the requests one after the other, and shut it down."""
    to_app: asyncio.Queue[Message] = asyncio.Queue()
    from_app: asyncio.Queue[Message] = asyncio.Queue()

    async def live() -> None:
        lifespan: Scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
        await app(lifespan, to_app.get, from_app.put)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(live())
        for name in ("startup", "shutdown"):
            await to_app.put({"type": f"lifespan.{name}"})
            message = await from_app.get()
            assert message["type"] == f"lifespan.{name}.complete", message
            if name == "startup":
                for scope in requests:
                    await app(scope, _receive, _send)
                    if pause_s:
                        await asyncio.sleep(pause_s)


async def _receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _send(_message: Message) -> None:
    """Take the response; there is no client to read it."""


def requests_of(counts: Mapping[str, int]) -> Iterator[Scope]:
    """Yield so many requests of every customer, one customer after the other."""
    for customer, n_requests in counts.items():
        for i in range(n_requests):
            yield _request_of(customer, i)


def visitors() -> Iterator[Scope]:
    """Yield requests of all customers in turn, for ever."""
    for i in count():
        for customer in CUSTOMERS:
            yield _request_of(customer, i)


def _request_of(customer: str, i: int) -> Scope:
    path = PATHS.get(customer)
    return request(
        "POST" if path is None else "GET",
        "/v1/complete" if path is None else path.format(i % ITEMS),
        ("x-api-key", f"{customer}-secret"),
    )


def request(method: str, path: str, *headers: tuple[str, str]) -> Scope:
    """Return the scope of a request without a body, as a server makes it."""
    sent = [(name.encode(), value.encode()) for name, value in headers]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"api.example"), *sent],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8_000),
        "state": {},
    }


def main() -> None:
    """Serve what the command line says: ``CUSTOMER=REQUESTS`` each."""
    pairs = (argument.partition("=") for argument in sys.argv[1:])
    counts = {name: int(n_requests) for name, _, n_requests in pairs}
    if counts:
        asyncio.run(serve(app, requests_of(counts)))
    else:
        asyncio.run(serve(app, visitors(), pause_s=PAUSE_S))


if __name__ == "__main__":
    main()
