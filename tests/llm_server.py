"""A provider of language models: answers over real HTTP with what real ones have sent.

It picks the answer by path and by the request's ``stream`` and ``model``: a model that
is called as one of the files in ``llm_answers`` gets that one. A model called
``slow:NAME`` gets the stream NAME, which stops before its last event until ``go_on``.
"""

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.patience import PATIENCE_S

ANSWERS = Path(__file__).parent / "llm_answers"
PRIVATE = "PRIVATE"
"""Stands in everything that is asked and answered."""


class Provider(ThreadingHTTPServer):
    """Listens on a port of its own; ``url`` is what a client's ``base_url`` begins with."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.go_on = threading.Event()


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        provider = self.server
        assert isinstance(provider, Provider)
        said = json.loads(self.rfile.read(int(self.headers["content-length"])))
        model, is_stream = said["model"], said.get("stream", False)
        slow, _, name = model.rpartition(":")
        kind = "sse" if is_stream else "json"
        path = ANSWERS / f"{name}.{kind}"
        if not path.is_file():
            path = ANSWERS / f"{self.path.rstrip('/').rpartition('/')[2]}.{kind}"
            if path.stem == "completions":
                path = path.with_stem("chat")
        self.send_response(200)
        types = {"sse": "text/event-stream", "json": "application/json"}
        self.send_header("content-type", types[kind])
        self.send_header("connection", "close")
        self.end_headers()
        pieces = path.read_bytes().split(b"\n\n")
        for i, piece in enumerate(pieces):
            if slow and i == len(pieces) - 3:
                provider.go_on.wait(PATIENCE_S)
            self.wfile.write(piece + (b"" if i == len(pieces) - 1 else b"\n\n"))
            self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as it is
        """Say nothing."""


@contextmanager
def provider() -> Generator[Provider]:
    """Run one for as long as the context lasts."""
    with Provider() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.go_on.set()
            server.shutdown()
            thread.join()
