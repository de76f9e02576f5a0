"""Run the server: ``python -m tests.stripe_server --port 8271``.

It prints its address, and serves until it is killed. Meters named with ``--meter``
exist from the start: ``--meter api_calls --meter storage:last --meter traffic:sum:hour``.
"""

import argparse
import asyncio
import sys

from tests.stripe_server.server import StripeServer


async def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--key", action="append", default=["sk_test_meterline"])
    parser.add_argument("--meter", action="append", default=[])
    given = parser.parse_args()
    server = StripeServer(keys=set(given.key))
    for text in given.meter:
        name, formula, window = (text + "::").split(":")[:3]
        server.account.add_meter(name, formula=formula or "sum", window=window or None)
    sys.stdout.write(await server.start(given.port) + "\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
