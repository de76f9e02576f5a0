"""Final invoices: once, over nothing that is missing in silence, adjusted later."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from meterline.events import UsageEvent
from tests.plans import starter_each
from tests.producer import NOON_MS, PRODUCER, Connection, batch, event
from tests.sidecar_process import SidecarProcess

IN_NOVEMBER = "2026-11-06T12:01:00Z"
IN_DECEMBER = "2026-12-01T00:10:00Z"
DECEMBER_MS = 1_796_083_200_000
PRICING = starter_each("0.50")


def ship(
    sidecar: SidecarProcess,
    *events: UsageEvent,
    producer: str = PRODUCER,
    first_seq: int = 1,
    **hello: Any,
) -> None:
    async def connect() -> None:
        async with Connection(sidecar.socket) as app:
            await app.hello(producer, **hello)
            if events:
                await app.ship(batch(*events, first_seq=first_seq))

    asyncio.run(connect())


def invoice(sidecar: SidecarProcess, period: str, *options: str) -> Any:
    done = sidecar.meterline(
        "invoice", "acme", "--period", period, "--json",
        "--config", str(sidecar.config), *options,
    )  # fmt: skip
    return json.loads(done.stdout) if done.returncode == 0 else done.stderr


def test_a_period_becomes_final_once_it_has_ended_and_stays_as_it_is(
    tmp_path: Path,
) -> None:
    with SidecarProcess(tmp_path, pricing=PRICING, clock=IN_NOVEMBER) as sidecar:
        ship(sidecar, event(), event())
        sidecar.until_counted(2)
        assert "only then" in invoice(sidecar, "2026-11", "--finalize")

        sidecar.set_clock(IN_DECEMBER)
        final = invoice(sidecar, "2026-11", "--finalize")
        assert (final["status"], final["due"]) == ("final", "1.00")

        # An event of November that arrives late does not change it ...
        ship(sidecar, event(), first_seq=3)
        sidecar.until_counted(3)
        assert invoice(sidecar, "2026-11") | {"fresh_as_of": ""} == final | {
            "fresh_as_of": ""
        }
        # ... and stands on the next invoice.
        december = invoice(sidecar, "2026-12")
        assert december["status"] == "draft"
        assert december["adjustments"] == [
            {
                "period": "2026-11",
                "billed": "1.00",
                "now": "1.50",
                "amount": "0.50",
                "currency": "usd",
            }
        ]
        assert december["due"] == "0.50"


def test_a_clock_that_steps_back_and_forth_closes_a_period_once(tmp_path: Path) -> None:
    with SidecarProcess(tmp_path, pricing=PRICING, clock=IN_NOVEMBER) as sidecar:
        ship(sidecar, event())
        sidecar.until_counted(1)
        sidecar.set_clock(IN_DECEMBER)
        first = invoice(sidecar, "2026-11", "--finalize")
        sidecar.set_clock(IN_NOVEMBER)
        again = invoice(sidecar, "2026-11", "--finalize")
        sidecar.set_clock(IN_DECEMBER)
        third = invoice(sidecar, "2026-11", "--finalize")

    assert first["finalized"] == again["finalized"] == third["finalized"]


def test_a_period_with_an_open_gap_is_not_final_unless_it_is_accepted(
    tmp_path: Path,
) -> None:
    with SidecarProcess(tmp_path, pricing=PRICING, clock=IN_NOVEMBER) as sidecar:
        # This worker recorded ten events, and one of them has arrived.
        ship(sidecar, event(), recorded_seq=10)
        sidecar.until_counted(1)
        sidecar.set_clock(IN_DECEMBER)

        refused = invoice(sidecar, "2026-11", "--finalize")
        assert "recorded 2 to 10, which have not arrived" in refused
        assert "--accept-gap" in refused

        accepted = invoice(sidecar, "2026-11", "--finalize", "--accept-gap")
        assert accepted["status"] == "final"
        assert "recorded 2 to 10" in accepted["accepted_gaps"][0]


@pytest.mark.parametrize("time_ms", [NOON_MS, DECEMBER_MS + 1])
def test_a_gap_is_open_whatever_time_the_last_event_says(
    tmp_path: Path, time_ms: int
) -> None:
    """The app's clock may have been ahead: what is missing behind it may be older."""
    with SidecarProcess(tmp_path, pricing=PRICING, clock=IN_DECEMBER) as sidecar:
        ship(sidecar, event(), event(time_ms=time_ms), recorded_seq=10)
        sidecar.until_counted(2)

        assert "recorded 3 to 10" in invoice(sidecar, "2026-11", "--finalize")


def test_what_a_worker_records_once_a_period_is_over_is_no_gap_in_it(
    tmp_path: Path,
) -> None:
    """It was silent since November: what is missing cannot be of December."""
    with SidecarProcess(tmp_path, pricing=PRICING, clock=IN_NOVEMBER) as sidecar:
        ship(sidecar, event(), recorded_seq=10)
        sidecar.until_counted(1)
        sidecar.set_clock("2027-01-02T00:00:00Z")

        assert "recorded 2 to 10" in invoice(sidecar, "2026-11", "--finalize")
        assert invoice(sidecar, "2026-12", "--finalize")["status"] == "final"


def test_a_busy_worker_does_not_keep_a_period_open(tmp_path: Path) -> None:
    """It always has recorded more than has arrived, and all of that is later."""
    with SidecarProcess(tmp_path, pricing=PRICING, clock=IN_DECEMBER) as sidecar:
        closing = ThreadPoolExecutor(1).submit(
            lambda: invoice(sidecar, "2026-11", "--finalize")
        )
        seq = 0
        while not closing.done():
            seq += 1
            ship(
                sidecar,
                event(time_ms=DECEMBER_MS),
                first_seq=seq,
                recorded_seq=seq + 3,
            )

        assert closing.result()["status"] == "final"
