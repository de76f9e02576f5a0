"""One FastAPI app of 20 routes, and each peer around it as its documentation has it.

Runs in the environment of the peers: a server loads ``benchmarks.peers.apps:app``, and
``PEER`` says whose that is. Only there the libraries can be imported, so none is by name.
"""

import importlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

STUB: Final = os.environ.get("PEERS_STUB", "http://127.0.0.1:9")
"""The server that stands for what the peers send to."""
FOLDER: Final = Path(os.environ.get("PEERS_FOLDER", "."))
SUBJECT_HEADER: Final = "x-account"
WRITE_TOKEN: Final = "apt_" + "a" * 24


def _module(name: str) -> Any:
    return importlib.import_module(name)


def bare() -> Any:
    """Return the app that nobody measures."""
    app = _module("fastapi").FastAPI()
    for i in range(20):

        async def item(item_id: int) -> dict[str, int]:
            return {"id": item_id}

        app.get(f"/v{i}/items/{{item_id}}")(item)
    return app


def meterline() -> Any:
    """docs/middleware.md: a middleware, with the customer from a header."""
    library = _module("meterline")
    app = bare()
    app.add_middleware(
        library.MeterMiddleware, subject=library.from_trusted_header(SUBJECT_HEADER)
    )
    return app


def prometheus() -> Any:
    """github.com/trallnag/prometheus-fastapi-instrumentator: the fast track."""
    app = bare()
    instrumentator = _module("prometheus_fastapi_instrumentator").Instrumentator()
    instrumentator.instrument(app).expose(app)
    return app


def starlette_exporter() -> Any:
    """github.com/stephenhillier/starlette_exporter: usage with FastAPI."""
    library = _module("starlette_exporter")
    app = bare()
    app.add_middleware(library.PrometheusMiddleware)
    app.add_route("/metrics", library.handle_metrics)
    return app


def apitally() -> Any:
    """docs.apitally.io, the guide for FastAPI; its endpoint is in the environment."""
    os.environ["APITALLY_OTLP_ENDPOINT"] = STUB
    app = bare()
    _module("apitally").init(app, write_token=WRITE_TOKEN, env="prod")
    return app


def opentelemetry() -> Any:
    """opentelemetry.io, Python: a batch of spans over OTLP, and the FastAPI part."""
    os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = STUB
    trace = _module("opentelemetry.trace")
    exported = _module("opentelemetry.sdk.trace.export")
    otlp = _module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    provider = _module("opentelemetry.sdk.trace").TracerProvider()
    provider.add_span_processor(exported.BatchSpanProcessor(otlp.OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    app = bare()
    fastapi = _module("opentelemetry.instrumentation.fastapi")
    fastapi.FastAPIInstrumentor.instrument_app(app)
    return app


def moesif() -> Any:
    """github.com/Moesif/moesifasgi: FastAPI, with its own defaults."""
    app = bare()
    settings = {
        "APPLICATION_ID": "an application",
        "BASE_URI": STUB,
        "LOG_BODY": True,
        "IDENTIFY_USER": _moesif_user,
    }
    app.add_middleware(_module("moesifasgi").MoesifMiddleware, settings=settings)
    return app


async def _moesif_user(request: Any, response: Any) -> str | None:
    name: str | None = request.headers.get(SUBJECT_HEADER)
    return name


def row() -> Any:
    """Commit one row of SQLite for each request, before it is answered."""
    database = sqlite3.connect(FOLDER / "rows.db", isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute(
        "CREATE TABLE IF NOT EXISTS requests"
        " (id INTEGER PRIMARY KEY, time TEXT DEFAULT CURRENT_TIMESTAMP,"
        " subject TEXT, path TEXT, status INTEGER)"
    )

    async def insert(request: Any, call_next: Callable[[Any], Any]) -> Any:
        response = await call_next(request)
        database.execute(
            "INSERT INTO requests (subject, path, status) VALUES (?, ?, ?)",
            (
                request.headers.get(SUBJECT_HEADER),
                request.url.path,
                response.status_code,
            ),
        )
        return response

    app = bare()
    app.middleware("http")(insert)
    return app


def stripe() -> Any:
    """docs.stripe.com, recording usage: one meter event for each request, awaited."""
    library = _module("stripe")
    client = library.StripeClient("sk_test_peers", base_addresses={"api": STUB})

    async def tell(request: Any, call_next: Callable[[Any], Any]) -> Any:
        response = await call_next(request)
        payload = {"stripe_customer_id": "cus_acme", "value": "1"}
        await client.v1.billing.meter_events.create_async(
            {"event_name": "api_calls", "payload": payload}
        )
        return response

    app = bare()
    app.middleware("http")(tell)
    return app


PEERS: Final[dict[str, Callable[[], Any]]] = {
    "bare": bare,
    "meterline": meterline,
    "prometheus": prometheus,
    "starlette_exporter": starlette_exporter,
    "apitally": apitally,
    "opentelemetry": opentelemetry,
    "moesif": moesif,
    "row": row,
    "stripe": stripe,
}
app: Final = PEERS[os.environ["PEER"]]() if "PEER" in os.environ else None
