"""Calls ASGI apps directly, without a server, and shows what they sent."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import anyio

from meterline.asgi_types import ASGIApp, Message, Scope


@dataclass
class Response:
    """What an app sent."""

    messages: list[Message] = field(default_factory=list[Message])

    @property
    def status(self) -> int:
        return next(
            (m["status"] for m in self.messages if m["type"].endswith(".start")), 0
        )

    @property
    def body(self) -> bytes:
        return b"".join(m.get("body", b"") for m in self.messages)


def http_scope(
    path: str = "/",
    *,
    method: str = "GET",
    headers: Iterable[tuple[str, str]] = (),
    **more: Any,
) -> Scope:
    """Return a scope as uvicorn makes it."""
    raw = [(k.lower().encode(), v.encode()) for k, v in headers]
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"test"), *raw],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 80),
        "state": {},
    }
    scope.update(more)
    return scope


async def call(
    app: ASGIApp,
    path: str = "/",
    *,
    method: str = "GET",
    headers: Iterable[tuple[str, str]] = (),
    body: Iterable[bytes] = (),
    leaves_after: int | None = None,
    **more: Any,
) -> Response:
    """Serve one request and return the response.

    Args:
        leaves_after: the client goes away when so many messages have been sent;
            without one it stays to the end.
    """
    chunks = list(body)
    to_receive: list[Message] = [
        {"type": "http.request", "body": chunk, "more_body": i < len(chunks) - 1}
        for i, chunk in enumerate(chunks)
    ] or [{"type": "http.request", "body": b"", "more_body": False}]
    response = Response()
    has_left = anyio.Event()
    is_over = anyio.Event()
    if leaves_after == 0:
        has_left.set()
        is_over.set()

    async def receive() -> Message:
        if to_receive:
            return to_receive.pop(0)
        await is_over.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if has_left.is_set():
            return  # as uvicorn does
        response.messages.append(message)
        if len(response.messages) == leaves_after:
            has_left.set()
            is_over.set()
        elif message["type"] == "http.response.body" and not message.get("more_body"):
            is_over.set()  # servers say so to whoever still listens

    scope = http_scope(path, method=method, headers=headers, **more)
    await app(scope, receive, send)
    return response
