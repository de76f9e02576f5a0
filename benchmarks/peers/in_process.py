"""CPU of a request with one peer, without a server: run in the peers' environment.

Prints how many microseconds the whole process took for each, so that threads of the
peer's count as well. One process is one round: what a peer leaves to do for later must
not be counted for another.
"""

import argparse
import asyncio
import gc
import json
import os
import sys
import time
from typing import Any, Final

from benchmarks.peers.apps import PEERS, SUBJECT_HEADER

CALLS: Final = 2_000
WARM_UP_CALLS: Final = 1_000


def _scope(i: int) -> dict[str, Any]:
    path = f"/v10/items/{i}"
    headers = [(f"x-header-{n}".encode(), b"some value") for n in range(8)]
    headers += [(b"host", b"testserver"), (SUBJECT_HEADER.encode(), b"acct_42")]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 1234),
        "server": ("127.0.0.1", 80),
        "state": {},
    }


async def _receive() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _send(message: dict[str, Any]) -> None:
    pass


async def _us(app: Any, n_calls: int) -> float:
    scopes = [_scope(i) for i in range(n_calls)]
    gc.collect()
    start = time.process_time()
    for scope in scopes:
        await app(scope, _receive, _send)
    await asyncio.sleep(0.1)  # what runs beside it gets its turn
    return (time.process_time() - start) / n_calls * 1e6


async def _measure(app: Any) -> float:
    await _us(app, WARM_UP_CALLS)
    return await _us(app, CALLS)


def main() -> None:
    """Measure one peer and print what a request took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peer", choices=list(PEERS))
    us = asyncio.run(_measure(PEERS[parser.parse_args().peer]()))
    sys.stdout.write(json.dumps(us) + "\n")
    sys.stdout.flush()
    os._exit(0)  # some peers' threads would go on sending for minutes


if __name__ == "__main__":
    main()
