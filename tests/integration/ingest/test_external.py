"""How events over HTTP are looked up by the names that their senders gave them."""

from typing import Any

from meterline_sidecar.store.edge import external
from tests.integration.conftest import Sidecar
from tests.integration.ingest.test_producer_sums import Plans


async def test_a_name_is_found_by_its_index_and_not_by_reading_all(
    sidecar: Sidecar,
) -> None:
    names = [(source_id, f"e-{i}") for source_id in (1, 2) for i in range(300)]
    async with sidecar.database.reading() as tx:
        plans: Any = Plans(tx)
        found = await external.named(plans, names)

    assert found == {}
    of_events = [line for line in plans.lines if line.split()[1] == "x"]
    assert len(of_events) == 2
    assert all("(source_id=? AND external_id=?)" in line for line in of_events)
