import tracemalloc

import pytest

from meterline_sidecar.ledger import batches, recount, runs, stored_days
from meterline_sidecar.ledger.chain import ChainFiles
from meterline_sidecar.meters import Meter
from meterline_sidecar.usage.aggregate import Aggregator
from tests.agreed import claim, keep, terms_of
from tests.integration.conftest import Sidecar
from tests.integration.ledger.test_verify import tamper, verified
from tests.producer import NOON_MS, Connection, batch, event

QUARTER_MS = 15 * 60_000
METERS = (
    Meter("calls", "count", group_by=("route",)),
    Meter("users", "unique", value="subject"),
    Meter("last", "latest", value="bytes_out"),
    Meter("sent", "sum", value="bytes_out"),
)
VAST = 2**63 - 1  # a few of them have no room in 64 bits


async def fill(sidecar: Sidecar, n_events: int) -> None:
    """Store events each of which is a place of its own, and count them."""
    terms = claim(terms_of(*METERS), "acme", "acct_*")
    key = ChainFiles(sidecar.database.path).key(has_batches=False)
    await keep(sidecar.database, terms, key=key)
    aggregator = Aggregator(sidecar.database, terms, clock=sidecar.clock)
    await aggregator.start()
    async with Connection(sidecar.socket) as app:
        await app.hello()
        for first in range(0, n_events, 500):
            some = [
                event(
                    time_ms=NOON_MS - i % 90 * QUARTER_MS,
                    subject=f"acct_{i * 7_919 % n_events}",
                    route=f"/v1/{i % 3}",
                    bytes_out=i if i % 400 else VAST,
                )
                for i in range(first, min(first + 500, n_events))
            ]
            await app.ship(batch(*some, first_seq=first + 1))
    await aggregator.run()


def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recount, "EVENTS_PER_STEP", 200)
    monkeypatch.setattr(recount, "EVENTS_AT_ONCE", 200)
    monkeypatch.setattr(batches, "EVENTS_PER_READ", 200)
    monkeypatch.setattr(recount, "PLACES_MAX", 200)
    monkeypatch.setattr(recount, "ROWS_PER_READ", 100)
    monkeypatch.setattr(stored_days, "ROWS_PER_READ", 100)
    monkeypatch.setattr(stored_days, "PACKS_PER_READ", 2)
    monkeypatch.setattr(runs, "RUNS_MAX", 4)
    monkeypatch.setattr(runs, "BLOCK_ITEMS", 20)


async def test_usage_added_up_in_small_pieces_is_the_same(
    sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(sidecar, 2_500)
    small_pieces(monkeypatch)

    assert (await verified(sidecar.database.path)).findings == []

    tamper(
        sidecar.database.path,
        "UPDATE usage SET totals = replace(totals, '\"calls\":1', '\"calls\":2')"
        " WHERE subject_id = 1700",
        "DELETE FROM usage_days WHERE subject_id = 900",
        "UPDATE unique_values SET value = 'acct_x' WHERE subject_id = 2400",
    )
    found = (await verified(sidecar.database.path)).findings
    for text in ("usage: ", "usage_days: ", "unique_values: "):
        assert any(finding.startswith(text) for finding in found), text


async def peak_bytes(sidecar: Sidecar) -> int:
    tracemalloc.start()
    report = await verified(sidecar.database.path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert report.is_sound
    return peak


async def test_memory_does_not_grow_with_the_ledger(
    sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_pieces(monkeypatch)
    await fill(sidecar, 500)
    small = await peak_bytes(sidecar)

    async with Connection(sidecar.socket) as app:
        first = await app.hello()
        for start in range(first + 1, first + 6_001, 500):
            some = [
                event(
                    time_ms=NOON_MS - i % 90 * QUARTER_MS,
                    subject=f"acct_{i}",
                    route=f"/v1/{i % 3}",
                )
                for i in range(start, start + 500)
            ]
            await app.ship(batch(*some, first_seq=start))
    terms = claim(terms_of(*METERS), "acme", "acct_*")
    await Aggregator(sidecar.database, terms, clock=sidecar.clock).run()

    # Thirteen times the events: what is left of that are buffers that fill up.
    assert await peak_bytes(sidecar) < small * 4
