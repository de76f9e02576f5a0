"""How an event lies in its table."""

from typing import Final, NamedTuple

from meterline_sidecar.store.columns import Columns


class StoredEvent(NamedTuple):
    """One usage event as a row: its texts by their ids."""

    id: int
    producer_id: int
    seq: int
    time_ms: int
    kind: int
    subject_id: int
    endpoint_id: int
    status: int
    duration_us: int
    bytes_in: int
    bytes_out: int
    flags: int
    quantities: str | None
    properties: str | None


STORED: Final = Columns(StoredEvent._fields)
