"""Final invoices: once, over nothing that is missing in silence, adjusted later."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from struct import Struct as Layout
from typing import Any, Final
from zlib import crc32

import msgspec
import pytest
from msgspec.structs import replace

from meterline.spool.living import Spool
from meterline.spool.producer_file import FILE_NAME
from meterline.spool.segment import file_name
from meterline.usage_event import UsageEvent
from meterline.wire import Hello
from tests.plans import starter_each
from tests.producer import NOON_MS, PRODUCER, Connection, batch, event
from tests.sidecar_process import SidecarProcess, until

IN_NOVEMBER = "2026-11-06T12:01:00Z"
IN_DECEMBER = "2026-12-01T00:10:00Z"
DECEMBER_MS = 1_796_083_200_000
PRICING = starter_each("0.50")
HELLO_AT: Final = 256
HELLO: Final = Layout("<II")  # length, crc; then the hello


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


def finalized(sidecar: SidecarProcess, period: str) -> Any:
    """Make a period final, as soon as nothing of it is missing any more."""
    while True:
        final = invoice(sidecar, period, "--finalize")
        if not isinstance(final, str):
            return final
        assert "--accept-gap" in final, final


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
                "breakdown": {
                    "currency": "usd",
                    "net": "0.50",
                    "tax": "0",
                    "taxes": [],
                    "credits": "0",
                    "adjustments": "0",
                    "amount": "0.50",
                },
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


def waiting_spool(
    spool_dir: Path, *, n_events: int = 1, started_ms: int = NOON_MS
) -> Spool:
    """Let a worker of November record and not be heard of; it lives until abandoned."""
    spool = Spool.open(
        spool_dir, app="tests", host="localhost", pid=1, bytes_max=1 << 22
    )
    assert spool.writer.directory is not None
    directory = Path(spool.writer.directory)
    write_hello(directory, started_ms=started_ms)
    for _ in range(n_events):
        spool.writer.append(msgspec.msgpack.encode(event()))
    return spool


def write_hello(directory: Path, *, started_ms: int) -> None:
    """Have a worker be of another time than now."""
    path = directory / FILE_NAME
    content = bytearray(path.read_bytes())
    length, _ = HELLO.unpack_from(content, HELLO_AT)
    start = HELLO_AT + HELLO.size
    old = msgspec.msgpack.decode(content[start : start + length], type=Hello)
    body = msgspec.msgpack.encode(replace(old, started_ms=started_ms))
    HELLO.pack_into(content, HELLO_AT, len(body), crc32(body))
    content[start : start + len(body)] = body
    with path.open("r+b") as file:  # it is mapped
        file.write(content)


def test_a_period_is_not_final_over_what_waits_in_spools_of_dead_workers(
    tmp_path: Path,
) -> None:
    """The sidecar was away at the end of the month; each call costs 0.50."""
    n_spools, n_events = 3, 2_000
    for _ in range(n_spools):
        waiting_spool(tmp_path / "spool", n_events=n_events).abandon()

    with SidecarProcess(tmp_path, pricing=PRICING, clock=IN_DECEMBER) as sidecar:
        final = finalized(sidecar, "2026-11")

    assert final["due"] == f"{n_spools * n_events / 2:.2f}"
    assert final["accepted_gaps"] == []


def test_a_period_is_not_final_over_a_spool_that_cannot_be_taken_in(
    tmp_path: Path,
) -> None:
    spool = waiting_spool(tmp_path / "spool")
    spool.abandon()
    assert spool.writer.directory is not None
    directory = Path(spool.writer.directory)
    (directory / file_name(9)).mkdir()

    with SidecarProcess(tmp_path, pricing=PRICING, clock=IN_DECEMBER) as sidecar:
        until(lambda: "spools_not_read" in str(sidecar.get("/status")["problems"]))
        refused = invoice(sidecar, "2026-11", "--finalize")
        assert str(directory / file_name(9)) in refused

        accepted = invoice(sidecar, "2026-11", "--finalize", "--accept-gap")
        assert str(directory) in accepted["accepted_gaps"][0]


def test_a_period_is_not_final_before_a_worker_that_lives_has_come_back(
    tmp_path: Path,
) -> None:
    spool = waiting_spool(tmp_path / "spool")
    assert spool.writer.directory is not None
    directory = Path(spool.writer.directory)

    with SidecarProcess(tmp_path, pricing=PRICING, clock=IN_DECEMBER) as sidecar:
        assert str(directory) in invoice(sidecar, "2026-11", "--finalize")
        # What began once the period was over has nothing of it.
        write_hello(directory, started_ms=DECEMBER_MS)
        assert invoice(sidecar, "2026-11", "--finalize")["status"] == "final"

    spool.abandon()


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
        # On a machine that does much else, nothing may come between two looks.
        closing = ThreadPoolExecutor(1).submit(lambda: finalized(sidecar, "2026-11"))
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
