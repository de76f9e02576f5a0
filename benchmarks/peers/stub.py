"""Takes whatever peers send, and counts at the end how many requests it tells of.

Runs in their environment, as one ASGI app without a framework. What comes is kept as it
came, and read when somebody asks at ``/counts``: reading it earlier would take time from
those that are measured.
"""

import gzip
import importlib
import json
import os
from typing import Any, Final

KEPT_MAX: Final = 20_000
KEEPS: Final = os.environ.get("PEERS_STUB_KEEPS") == "1"
ANSWER: Final = b'{"object": "billing.meter_event", "identifier": "x", "config": {}}'

_kept: list[tuple[str, bytes, bytes]] = []


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer 200 to everything."""
    if scope["type"] != "http":
        return
    body = b""
    is_more = True
    while is_more:
        message = await receive()
        body += message.get("body", b"")
        is_more = message.get("more_body", False)
    path: str = scope["path"]
    answer = ANSWER
    if path == "/counts":
        answer = json.dumps(_counts()).encode()
    elif path.startswith("/v1/traces") or path.startswith("/v1/metrics"):
        answer = b""
    if KEEPS and path != "/counts" and len(_kept) < KEPT_MAX:
        headers = dict(scope["headers"])
        _kept.append((path, headers.get(b"content-encoding", b""), body))
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-type", b"application/json")],
        }
    )
    await send({"type": "http.response.body", "body": answer})


def _counts() -> dict[str, int]:
    """Return how many requests each way of telling tells of."""
    found = {"spans": 0, "events": 0, "calls": 0}
    for path, encoding, raw in _kept:
        body = gzip.decompress(raw) if encoding == b"gzip" else raw
        if path == "/v1/traces":
            found["spans"] += _server_spans(body)
        elif path.startswith("/v1/events"):
            events: Any = json.loads(body)
            found["events"] += len(events) if isinstance(events, list) else 1  # pyright: ignore[reportUnknownArgumentType]
        elif path == "/v1/billing/meter_events":
            found["calls"] += 1
    return found


def _server_spans(body: bytes) -> int:
    name = "opentelemetry.proto.collector.trace.v1.trace_service_pb2"
    request: Any = importlib.import_module(name).ExportTraceServiceRequest()
    request.ParseFromString(body)
    return sum(
        span.kind == span.SPAN_KIND_SERVER
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    )
