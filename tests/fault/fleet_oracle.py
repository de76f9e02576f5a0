"""What must hold at a centre, whatever became of its edges, itself and the wires.

Every event that an app gave up counts at the centre once, but for those that are on no
disk any more; usage is that of these events; and invoices are those of one host.
"""

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Final, Protocol

from meterline.usage_event import UsageEvent
from meterline_sidecar.ledger.archived import form_of
from meterline_sidecar.usage.counted import WINDOW_MS
from meterline_sidecar.usage.rolled_up import SHOWN_AS, rolled_up_in
from tests.all_events import ALL_EVENTS, with_packs

IDS: Final = "ids"
"""The meter whose values are what tells events apart."""

Usage = dict[tuple[str, int], tuple[int, int]]
"""By subject and window: how many events, and the sum of their numbers."""


class HasLedger(Protocol):
    """A host that may have a ledger by now."""

    def events(self) -> Iterable[Path]:
        """Yield its database."""
        ...


def there_of(hosts: Iterable[HasLedger]) -> set[str]:
    """Return which events are on any disk, or in what was counted of them."""
    return {one for host in hosts for path in host.events() for one in _there(path)}


def _there(database: Path) -> Iterator[str]:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as ledger:
        made = "SELECT 1 FROM sqlite_master WHERE name = 'packed_events'"
        if ledger.execute(made).fetchone() is None:
            return  # It was killed before it had a ledger.
        for route, properties in with_packs(ledger).execute(
            f"SELECT n.route, e.properties FROM {ALL_EVENTS} e"
            " JOIN endpoints n ON n.id = e.endpoint_id"
        ):
            yield from _told_apart(route, properties)


def _told_apart(route: str, properties: str | None) -> Iterator[str]:
    if route == SHOWN_AS:
        found = rolled_up_in(properties).unique.get(IDS, ())
        yield from (str(value) for value in found)
    else:
        yield str(route)


def left_of(database: Path, archive: Path) -> Iterator[tuple[str, str | None]]:
    """Yield routes and properties of events that left a ledger for files of its own."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as ledger:
        made = "SELECT 1 FROM sqlite_master WHERE name = 'archive_moves'"
        if ledger.execute(made).fetchone() is None:
            return
        moves = ledger.execute("SELECT file FROM archive_moves WHERE is_out = 1")
        for (file,) in moves.fetchall():
            bundle = form_of(file).decode((archive / file).read_bytes())
            for _, event in bundle.numbered():
                yield str(event.route), event.properties


def left_there_of(hosts: Iterable[HasLedger], archive: Path) -> set[str]:
    """Return what ``there_of`` would of events that left ledgers of hosts for files."""
    return {
        one
        for host in hosts
        for path in host.events()
        for left in left_of(path, archive)
        for one in _told_apart(*left)
    }


def raw_events_of(database: Path, archive: Path) -> Counter[str]:
    """Return which events an edge has, also in its files, besides what it made of them."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as ledger:
        rows = with_packs(ledger).execute(
            f"SELECT n.route FROM {ALL_EVENTS} e"
            " JOIN endpoints n ON n.id = e.endpoint_id"
        )
        found = Counter(str(route) for (route,) in rows)
    found.update(route for route, _ in left_of(database, archive))
    del found[SHOWN_AS]
    return found


def edge_id_of(database: Path) -> str:
    """Return which edge a ledger is; empty where it was never opened as one."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as ledger:
        row = ledger.execute(
            "SELECT value FROM facts WHERE name = 'edge_id'"
        ).fetchone()
    return "" if row is None else str(row[0])


def usage_of(events: Iterable[UsageEvent]) -> Usage:
    """Return what events come to."""
    found: Usage = {}
    for one in events:
        key = (one.subject or "", one.time_ms // WINDOW_MS * WINDOW_MS)
        n_events, total = found.get(key, (0, 0))
        assert one.quantities is not None
        found[key] = n_events + 1, total + int(one.quantities["n"])
    return found


def usage_at(database: Path) -> tuple[Usage, Counter[str]]:
    """Return the usage that a centre reads, and which events that is of."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as ledger:
        (served,) = ledger.execute(
            "SELECT id FROM generations ORDER BY is_complete DESC, id DESC"
        ).fetchone()
        rows = ledger.execute(
            "SELECT coalesce(s.name, ''), u.window_ms, u.totals FROM usage u"
            " LEFT JOIN subjects s ON s.id = u.subject_id WHERE u.generation = ?",
            (served,),
        ).fetchall()
        ids = ledger.execute(
            "SELECT value FROM unique_values WHERE generation = ? AND meter = ?",
            (served, IDS),
        ).fetchall()
    usage: Usage = {}
    for subject, window_ms, text in rows:
        totals = json.loads(text)
        if totals.get("api_calls"):
            usage[subject, window_ms] = totals["api_calls"], totals["n"]
    return usage, Counter(row[0] for row in ids)


def bills_at(database: Path) -> dict[tuple[str, str], Decimal]:
    """Return what each period of each customer came to in the end, where it did."""
    found: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as ledger:
        invoices = ledger.execute("SELECT customer, period, document FROM invoices")
        for customer, period, document in invoices:
            for line in json.loads(document)["invoice"]["lines"]:
                found[customer, period] += Decimal(line["amount"])
        for customer, period, amount in ledger.execute(
            "SELECT customer, period, amount FROM adjustments"
        ):
            found[customer, period] += Decimal(amount)
    return {key: amount for key, amount in found.items() if amount}
