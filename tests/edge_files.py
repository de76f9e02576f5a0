"""Files of edges, as they are noted."""

from typing import Any

from meterline_sidecar.ledger.chain import GENESIS
from meterline_sidecar.store.edge.edge_files import NewEdgeFile
from tests.producer import NOON_MS


def a_file(**changes: Any) -> NewEdgeFile:
    """Return the first file of an edge, but for some fields."""
    return NewEdgeFile(
        edge_id=1,
        file="events-000000000001-0000.jsonl.gz",
        file_bytes=7,
        digest="0" * 64,
        first_batch_id=1,
        last_batch_id=2,
        first_event_id=1,
        events=3,
        first_loss_id=1,
        losses=1,
        previous_mac=GENESIS,
        mac=b"two",
        first_ms=NOON_MS,
        beyond_ms=NOON_MS + 1,
        learned_ms=NOON_MS + 2,
        written_ms=NOON_MS + 3,
    )._replace(**changes)
