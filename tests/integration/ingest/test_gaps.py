"""What has not arrived of a period, whatever the times of its neighbours say."""

import msgspec
import pytest

from meterline_sidecar.store.edge import gaps
from tests.integration.conftest import Sidecar
from tests.producer import NOON_MS, Connection, batch, event

DAY_MS = 86_400_000


@pytest.mark.parametrize("last_ms", [NOON_MS, NOON_MS + 2 * DAY_MS, NOON_MS + 9**15])
async def test_a_gap_is_of_a_period_whatever_its_neighbours_say(
    sidecar: Sidecar, last_ms: int
) -> None:
    async with Connection(sidecar.receiver.path) as app:
        await app.hello()
        events = event(), event(time_ms=last_ms)
        await app.ship(msgspec.structs.replace(batch(*events), recorded_seq=10))

        async with sidecar.database.reading() as tx:
            (gap,) = await gaps.open_gaps(
                tx, start_ms=NOON_MS - DAY_MS, end_ms=NOON_MS + DAY_MS
            )

    assert (gap.first_seq, gap.last_seq) == (3, 10)
