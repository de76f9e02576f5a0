"""What becomes of recorded units: each is in one place, and each place is seen."""

from typing import Any

from meterline.events import Flag, Kind
from tests.producer import NOON_MS, event
from tests.sidecar_process import METERLINE
from tests.web.conftest import OpenWeb
from tests.web.test_attention import TOKENS

DAY_MS = 86_400_000


def tokens(n: int, **changes: Any) -> Any:
    return event(quantities={"tokens": n}, **changes)


async def test_every_unit_is_counted_held_or_nobodys_and_what_was_left_out_is_seen(
    open_web: OpenWeb,
) -> None:
    async with open_web(meterline=METERLINE + TOKENS) as web:
        await web.ship(
            tokens(1),
            tokens(10, kind=Kind.USE, flags=int(Flag.OF_REQUEST)),
            tokens(100, subject=None),
            tokens(1_000, subject=None, kind=Kind.USE, flags=int(Flag.STRAY)),
            tokens(10_000, time_ms=NOON_MS - 400 * DAY_MS),
            tokens(100_000, flags=int(Flag.BAD_QUANTITY)),
        )

        status = await web.get("/status")
        usage = await web.get("/v1/usage", period="2026-11")
        nobody = await web.get("/v1/usage/unassigned", period="2026-11")
        metrics = (await web.http.get("/metrics")).text

    assert _tokens(usage["usage"]) == 100_011
    assert _tokens(nobody["unassigned"]) == 1_100
    events = status["events"]
    assert (events["held"], events["unattributed"], events["bad_quantities"]) == (
        1,
        2,
        1,
    )
    assert events["recorded"] == events["ingested"] + events["lost"]
    assert "meterline_events_bad_quantity_total 1.0" in metrics
    assert "meterline_events_held 1.0" in metrics
    assert "meterline_events_unattributed_total 2.0" in metrics


def _tokens(rows: Any) -> int:
    meters = [meter for row in rows for meter in row["meters"]]
    return sum(int(m["quantity"]) for m in meters if m["meter"] == "tokens")
