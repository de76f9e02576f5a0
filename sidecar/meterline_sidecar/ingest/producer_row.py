"""A producer that nobody knows yet, as it is stored."""

from meterline.wire import Hello
from meterline_sidecar.store.edge.events import ProducerRow


def new_row(hello: Hello, *, seen_ms: int, is_closed: bool = False) -> ProducerRow:
    """Return the row of a producer that has said hello, and nothing else."""
    return ProducerRow(
        id=0,
        producer=hello.producer,
        app=hello.app,
        host=hello.host,
        pid=hello.pid,
        started_ms=hello.started_ms,
        spool=hello.spool,
        recorded_seq=hello.recorded_seq,
        last_seq=0,
        ingested=0,
        refused=0,
        lost=0,
        duplicates=0,
        unattributed=0,
        held=0,
        bad_quantities=0,
        seen_ms=seen_ms,
        is_closed=int(is_closed),
    )
