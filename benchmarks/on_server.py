"""What an event costs in a ledger on PostgreSQL, where it is a row and stays one.

Events are added as a centre adds them, 5,000 to a transaction, to a server of its own on a
durable disk: plain requests, and such as say a number of tokens.

Expected from arithmetic: fourteen numbers of eight bytes, the head of a row and its place
in the index come to 160 bytes, and the write-ahead log has both once, with heads of its own.
"""

import argparse
import asyncio
import time
from typing import Final

from benchmarks.harness import family_cpu_s, tell
from meterline_sidecar.store.edge.events import add_events
from meterline_sidecar.store.open import open_ledger
from tests.postgres_server import PostgresServer, started

AT_ONCE: Final = 5_000
BEGAN_MS: Final = 1_790_000_000_000


def _row(event_id: int, *, has_tokens: bool) -> tuple[int | str | None, ...]:
    time_ms, took_us = BEGAN_MS + event_id, 1_000 + event_id % 977
    quantities = f'{{"tokens":{event_id * 7919 % 5000}}}' if has_tokens else None
    return (
        *(event_id, 1, event_id, time_ms, 1, 1 + event_id % 100, 1 + event_id % 20),
        *(200, took_us, 0, event_id % 5_000, 0, quantities, None),
    )


async def _cost(
    server: PostgresServer, n_events: int, *, has_tokens: bool
) -> dict[str, float]:
    """Return what an event costs: CPU time in us, and bytes."""
    name = server.create()
    ledger = await open_ledger(server.url(name))
    rows = [_row(i, has_tokens=has_tokens) for i in range(1, n_events + 1)]
    began = server.sql(name, "SELECT pg_current_wal_lsn()").strip()
    server_s, here_s = family_cpu_s(server.pid), time.process_time()
    for start in range(0, n_events, AT_ONCE):
        async with ledger.transaction() as tx:
            await add_events(tx, rows[start : start + AT_ONCE])
    here_s, server_s = (
        time.process_time() - here_s,
        family_cpu_s(server.pid) - server_s,
    )
    await ledger.close()
    written, kept = server.sql(
        name,
        f"SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '{began}')::bigint,"
        " pg_relation_size('events') + pg_indexes_size('events')",
    ).split("|")
    return {
        "CPU time here, us": here_s / n_events * 1e6,
        "CPU time of the server, us": server_s / n_events * 1e6,
        "with its index, bytes": int(kept) / n_events,
        "written ahead, bytes": int(written) / n_events,
    }


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    shown: dict[str, object] = {}
    with started(15, is_durable=True) as server:
        for what, has_tokens in (("plain", False), ("tokens", True)):
            cost = asyncio.run(_cost(server, given.events, has_tokens=has_tokens))
            shown |= {f"{what}: {name}": value for name, value in cost.items()}
    tell(__doc__, shown, as_json=given.json)


if __name__ == "__main__":
    main()
