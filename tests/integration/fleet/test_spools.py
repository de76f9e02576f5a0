"""What dead workers left at an edge whose disk is lost: no other edge takes it unasked."""

import asyncio

from meterline.wire import ledger_text
from meterline_sidecar.ingest.dead_spools import Drain
from meterline_sidecar.ingest.whose import Whose
from tests.integration.fleet.conftest import World
from tests.integration.fleet.test_forwarding import until_there
from tests.integration.ingest.test_whose import N_EVENTS, left_by_a_worker
from tests.patience import PATIENCE_S
from tests.producer import batch, event

WAITS = 'ack = "centre"\n'


async def test_what_was_left_for_an_edge_that_is_lost_counts_once_at_another(
    world: World,
) -> None:
    async with world.centre() as centre:
        async with world.edge("one", more=WAITS) as edge:
            lost = edge.parts.drain.whose.ledger
            path = left_by_a_worker(world.folder / "new" / "spool", ledger=lost)
            # It had sent some when it died; its app keeps all until the centre has them.
            await edge.ship(batch(event(), event()), producer=path.name)
            await until_there(centre, 2)
        async with world.edge("new", more=WAITS) as edge:
            drain = edge.parts.drain
            assert await drain.run() == 0
            assert ledger_text(lost) in (drain.left_alone or "")

            answer = await centre.post(
                "/v1/edges/one/retire", reason="its disk is gone"
            )
            assert answer.status_code == 200, answer.text
            given = [ledger_text(lost)]  # as sidecar.takes_over names it
            assert edge.parts.forwarder is not None
            heir = Drain(
                edge.parts.config.sidecar.spool_dir,
                edge.parts.ingest,
                whose=Whose(drain.whose.ledger, takes_over=given),
                elsewhere=edge.parts.forwarder.there,
            )
            await heir.run()

            await until_there(centre, N_EVENTS)
            numbers = await centre.rows("SELECT seq FROM events ORDER BY seq")
            assert numbers == [(number,) for number in range(1, N_EVENTS + 1)]
            async with asyncio.timeout(PATIENCE_S):
                while path.exists():  # until its centre has all of it
                    await heir.run()
                    await asyncio.sleep(0.01)
