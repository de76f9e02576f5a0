"""The one law of all fault tests, checked against what the load generator noted.

Every event that was recorded is in the ledger exactly once, or is reported as lost
with its exact number; the sums are those of the events; and the chain verifies.
"""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from meterline.events import Flag
from meterline_sidecar.ledger.chain import ChainFiles
from meterline_sidecar.ledger.report import Report
from meterline_sidecar.ledger.verify import verify
from meterline_sidecar.meters import Meter
from meterline_sidecar.store.sqlite.driver import SqliteReader
from tests.all_events import ALL_EVENTS, with_packs

METER = Meter("n", "sum", value="quantities.n")
"""Adds up the numbers of the events, so that sums tell which events were counted."""


class Truth(Protocol):
    """What a load generator knows of its events, which it numbers 1, 2, 3 ..."""

    name: str
    """The subject of its events, and the app's name."""

    @property
    def begun(self) -> int:
        """How many events it has begun to record."""
        ...

    @property
    def done(self) -> int:
        """How many of them it has surely recorded; at most one less."""
        ...


class Found(NamedTuple):
    """What stands in a ledger."""

    numbers: dict[str, list[int]]
    """For each subject the numbers of its events, as often as they are there."""
    lost: Counter[str]
    """For each app how many events were reported as lost."""
    reasons: set[str]
    sums: dict[str, int]
    """For each subject what was added up for it."""
    days: dict[str, int]
    """The same by the roll-up that bills are read from."""
    gaps: list[tuple[str, int, int]]
    """Producers that recorded more than is here or lost."""


def assert_law(
    database: Path,
    truths: Iterable[Truth],
    *,
    may_lose: Collection[str] = (),
) -> Found:
    """Check the law on a ledger that is at rest.

    Args:
        may_lose: the reasons for which events may have been lost.
    """
    found = read_ledger(database)
    report = verify_ledger(database)
    assert report.is_sound, report.findings
    assert found.reasons <= set(may_lose), found.reasons
    assert found.gaps == []
    for truth in truths:
        numbers = found.numbers.get(truth.name, [])
        present = set(numbers)
        lost = found.lost[truth.name]
        doubled = [number for number, n in Counter(numbers).items() if n > 1]
        assert doubled == [], f"{truth.name}: counted twice: {doubled[:10]}"
        assert present <= set(range(1, truth.begun + 1)), f"{truth.name}: invented"
        missing = set(range(1, truth.done + 1)) - present
        assert truth.done <= len(present) + lost <= truth.begun, (
            f"{truth.name}: {truth.done} to {truth.begun} were recorded,"
            f" {len(present)} are here, {lost} are reported as lost;"
            f" missing: {sorted(missing)[:10]}"
        )
    return found


def read_ledger(database: Path) -> Found:
    """Read what there is, with SQL of our own."""
    connection = with_packs(sqlite3.connect(f"file:{database}?mode=ro", uri=True))
    try:
        numbers: dict[str, list[int]] = {}
        billed: Counter[str] = Counter()
        for subject, quantities, flags in connection.execute(
            f"SELECT s.name, e.quantities, e.flags FROM {ALL_EVENTS} e"
            " JOIN subjects s ON s.id = e.subject_id"
        ):
            number = msgspec.json.decode(quantities)["n"]
            numbers.setdefault(subject, []).append(number)
            if not flags & Flag.HELD:
                billed[subject] += number
        lost: Counter[str] = Counter()
        reasons: set[str] = set()
        for app, first, last, reason in connection.execute(
            "SELECT p.app, l.first_seq, l.last_seq, l.reason FROM losses l"
            " JOIN producers p ON p.id = l.producer_id"
        ):
            lost[app] += last - first + 1
            reasons.add(reason)
        gaps = connection.execute(
            "SELECT producer, recorded_seq, last_seq FROM producers"
            " WHERE recorded_seq <> last_seq"
            " OR last_seq <> ingested + lost + refused"
        ).fetchall()
        sums = _sums(connection, "usage")
        days = _sums(connection, "usage_days")
    finally:
        connection.close()
    for added_up in (sums, days):
        assert {k: v for k, v in billed.items() if v} == {
            k: v for k, v in added_up.items() if v
        }, "what was added up is not what the events come to"
    return Found(numbers, lost, reasons, sums, days, gaps)


def _sums(connection: sqlite3.Connection, table: str) -> dict[str, int]:
    rows = connection.execute(
        f"SELECT s.name, u.totals FROM {table} u"
        " JOIN subjects s ON s.id = u.subject_id"
        " WHERE u.generation = (SELECT max(id) FROM generations)"
    )
    sums: Counter[str] = Counter()
    for name, totals in rows:
        sums[name] += msgspec.json.decode(totals).get("n", 0)
    return dict(sums)


def verify_ledger(database: Path) -> Report:
    """Verify a ledger as ``meterline verify`` does."""

    async def verified() -> Report:
        chain = ChainFiles(database)
        head = chain.head()
        reader = await SqliteReader.open_reader(database)
        try:
            return await verify(
                reader,
                key=chain.key(has_batches=False),
                head=head,
                progress=lambda what, done, total: None,
            )
        finally:
            await reader.close()

    return asyncio.run(verified())
