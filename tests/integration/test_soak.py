"""The oracle of the soak sees each thing that it is there to see."""

from pathlib import Path

import pytest

from meterline.events import Kind
from meterline.usage_event import UsageEvent
from meterline.wire import Lost
from tests.integration.conftest import Sidecar
from tests.producer import NOON_MS, Connection, batch, event
from tests.soak.book import DAY_MS, Book
from tests.soak.notes import SURE_MS, read_notes
from tests.soak.oracle import OPEN_LOST, Oracle

STREAM = "left_s0123456789ab"
CALL_BEGUN = f"B 1 {NOON_MS} acct_1 5 1"
CALL_ENDED = f"E 1 {NOON_MS + 2}"
STREAM_BEGUN = f"B 2 {NOON_MS} {STREAM} 0 1"
UNITS = f"U 2 {NOON_MS} 4"
STREAM_ENDED = f"E 2 {NOON_MS + SURE_MS + 9}"
NOTES = (CALL_BEGUN, CALL_ENDED, STREAM_BEGUN, UNITS, STREAM_ENDED)
CALL = event(quantities={"n": 1, "w": 5})
WHOLE_STREAM = event(subject=STREAM, quantities={"n": 2, "w": 4})


async def broken(
    sidecar: Sidecar,
    folder: Path,
    *,
    notes: tuple[str, ...] = NOTES,
    events: tuple[UsageEvent, ...] = (CALL, WHOLE_STREAM),
    lost: Lost | None = None,
) -> list[str]:
    """Return the laws that do not hold between these notes and these events."""
    async with Connection(sidecar.socket) as app:
        await app.hello(app="shop")
        await app.ship(batch(*events))
        if lost is not None:
            await app.ship(lost)
    (folder / "notes").mkdir()
    (folder / "notes" / "shop-1-x").write_text("".join(f"{x}\n" for x in notes))
    oracle = Oracle(
        folder / "oracle.db", notes=folder / "notes", ledger=sidecar.database.path
    )
    try:
        query = "SELECT count(*) FROM found"
        assert oracle.rows(query) == [(len(events),)]
        return [text.partition(":")[0] for text in oracle.broken_rows()]
    finally:
        oracle.close()


async def test_what_is_as_it_was_told_breaks_no_law(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    assert await broken(sidecar, tmp_path) == []


@pytest.mark.parametrize(
    ("notes", "law"),
    [
        (
            (*NOTES, f"B 3 {NOON_MS} acct_1 0 0", "E 3 0"),
            "recorded, and not in the ledger",
        ),
        (NOTES[2:], "in the ledger, and told to nobody"),
        (
            (CALL_BEGUN.replace("acct_1", "acct_2"), *NOTES[1:]),
            "under another subject, or from another app",
        ),
        (
            (CALL_BEGUN.replace(str(NOON_MS), str(NOON_MS + 2)), *NOTES[1:]),
            "at another time than the app's clock said",
        ),
        (
            (*NOTES[:3], UNITS, UNITS, STREAM_ENDED),
            "units of a subject (surely, at most, found)",
        ),
        ((*NOTES[:3], STREAM_ENDED), "units of a subject (surely, at most, found)"),
    ],
)
async def test_what_was_told_and_is_not_so_breaks_its_law(
    sidecar: Sidecar, tmp_path: Path, notes: tuple[str, ...], law: str
) -> None:
    assert law in await broken(sidecar, tmp_path, notes=notes)


@pytest.mark.parametrize(
    ("events", "lost", "law"),
    [
        ((CALL, CALL, WHOLE_STREAM), None, "in the ledger twice"),
        (
            (CALL, WHOLE_STREAM, event(subject=None, kind=Kind.USE)),
            None,
            "without a subject, held or stray",
        ),
        (
            (CALL, WHOLE_STREAM, event(subject=STREAM)),
            None,
            "calls of a subject (surely, at most, found)",
        ),
        (
            (CALL, WHOLE_STREAM),
            Lost(3, 3, "spool full"),
            "lost for a reason that no kill has",
        ),
        (
            (CALL, WHOLE_STREAM),
            Lost(3, 3, OPEN_LOST),
            "more lost than was open when its worker died",
        ),
    ],
)
async def test_what_nobody_told_breaks_its_law(
    sidecar: Sidecar,
    tmp_path: Path,
    events: tuple[UsageEvent, ...],
    lost: Lost | None,
    law: str,
) -> None:
    assert law in await broken(sidecar, tmp_path, events=events, lost=lost)


def test_of_a_stream_that_was_killed_its_last_units_may_be_missing(
    tmp_path: Path,
) -> None:
    lines = (
        STREAM_BEGUN,
        UNITS,
        f"U 2 {NOON_MS + SURE_MS} 7",
        f"U 2 {NOON_MS + SURE_MS + 1} 8",
    )
    path = tmp_path / "shop-1-x"
    path.write_text("\n".join(lines) + "\nE 2 cut o")

    (told,) = read_notes(path)

    assert (told.units, told.units_sure, told.ended_ms) == (19, 4, None)


def test_a_plan_and_a_price_cost_what_they_did_on_each_day() -> None:
    book = Book(NOON_MS)
    today = NOON_MS // DAY_MS
    book.wander_plan.load("pro", day=today + 1)
    used = {"calls": 10, "work": 100}

    amount = book.amount("wander", {today: used, today + 1: used})

    assert str(amount) == "3.50"  # 10 x 0.02 + 100 x 0.02, then 10 x 0.03 + 100 x 0.01
