"""What customers are billed, by the sidecar's answers and by hand from what is found."""

import time
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from meterline.events import Kind
from tests.sidecar_process import SidecarProcess
from tests.soak.book import DAY_MS, MOVER, MOVER_FROM, Book
from tests.soak.oracle import Oracle

Days = dict[int, dict[str, int]]
"""Calls and work on each day."""
Months = dict[str, dict[str, Days]]
"""The days of each customer, by month."""
WINDOW_MS: Final = 900_000

_USED: Final = f"""
    SELECT subject, time_ms / {DAY_MS}, sum(kind <> {Kind.USE}), sum(units)
    FROM found WHERE subject IS NOT NULL AND subject <> ? GROUP BY 1, 2"""
_MOVED: Final = f"""
    SELECT event, time_ms, kind <> {Kind.USE}, units FROM found WHERE subject = ?"""
_OWNERS: Final = """
    SELECT o.from_ms, o.customer FROM ledger.owners o
    JOIN ledger.subjects s ON s.id = o.subject_id
    WHERE s.name = ? AND o.customer IS NOT NULL ORDER BY o.from_ms"""
_CUTS: Final = """
    SELECT c.cut_ms, c.after_event_id FROM ledger.window_cuts c
    JOIN ledger.subjects s ON s.id = c.subject_id WHERE s.name = ?"""


def used_by_hand(oracle: Oracle, book: Book) -> Months:
    """Return what each customer used on each day, from single events."""
    months: Months = defaultdict(lambda: defaultdict(dict))

    def add(customer: str | None, day: int, calls: int, work: int) -> None:
        if customer is None:
            return
        at = datetime.fromtimestamp(day * DAY_MS // 1000, tz=UTC)
        used = months[f"{at:%Y-%m}"][customer].setdefault(day, {"calls": 0, "work": 0})
        used["calls"] += calls
        used["work"] += work

    for subject, day, calls, work in oracle.rows(_USED, MOVER):
        add(book.owner(str(subject)), day, calls, work)
    owners = [(from_ms, str(customer)) for from_ms, customer in _owners(oracle)]
    cuts = oracle.rows(_CUTS, MOVER)
    for event, time_ms, is_call, work in oracle.rows(_MOVED, MOVER):
        # What was counted before a move was known stays where it was, also where the
        # clock of its app was ahead of the move.
        known = [cut for cut, after in cuts if cut <= time_ms and after < event]
        part_ms = max([time_ms - time_ms % WINDOW_MS, *known])
        payers = [customer for from_ms, customer in owners if from_ms <= part_ms]
        add((payers or [MOVER_FROM])[-1], time_ms // DAY_MS, is_call, work)
    return months


def wrong_moves(oracle: Oracle, book: Book) -> Iterator[str]:
    """Yield each move of the subject that is not in the ledger as it was asked for."""
    owners = [(from_ms, str(customer)) for from_ms, customer in _owners(oracle)]
    moved = [one for one in owners if one[0] > 0]
    if len(moved) != len(book.moves):
        yield f"{len(book.moves)} moves were loaded, and the ledger has {moved}"
        return
    for (from_ms, customer), move in zip(moved, book.moves, strict=True):
        is_then = move.asked_ms <= from_ms <= move.answered_ms
        if customer != move.customer or not is_then:
            yield f"{move} stands as {customer} from {from_ms}"


def _owners(oracle: Oracle) -> list[tuple[int, ...]]:
    return list(oracle.rows(_OWNERS, MOVER))


def answers(sidecar: SidecarProcess, book: Book) -> dict[tuple[str, str], Any]:
    """Return the invoices of all customers as the sidecar shows them, by month."""
    return {
        (month, customer): sidecar.get(
            f"/v1/customers/{customer}/invoice", period=month
        )
        for month in months_since(book.begun_ms)
        for customer in book.customers
    }


def months_since(begun_ms: int) -> list[str]:
    """Return the months of a soak: one, or two where it ran over the end of one."""
    ends = (begun_ms - DAY_MS, time.time_ns() // 1_000_000)
    texts = {f"{datetime.fromtimestamp(ms // 1000, tz=UTC):%Y-%m}" for ms in ends}
    return sorted(texts)


def wrong_bills(
    shown: dict[tuple[str, str], Any], months: Months, book: Book
) -> Iterator[str]:
    """Yield each invoice that is not what a calculation by hand comes to."""
    for (month, customer), answer in shown.items():
        days = months.get(month, {}).get(customer, {})
        used = {
            "calls": sum(day["calls"] for day in days.values()),
            **dict.fromkeys(
                book.work_meters, sum(day["work"] for day in days.values())
            ),
        }
        counted = {each["meter"]: each["quantity"] for each in answer["usage"]}
        if {k: v for k, v in counted.items() if v} != {
            k: v for k, v in used.items() if v
        }:
            yield f"{customer} {month}: used {counted}, by hand {used}"
        right = book.amount(customer, days)
        total = Decimal(answer["invoice"]["total"])
        if total != right:
            yield f"{customer} {month}: {total} is billed, {right} by hand"


def wrong_sums(oracle: Oracle, book: Book) -> Iterator[str]:
    """Yield each subject whose sums in the ledger are not those of its events."""
    meters = {"calls": f"sum(kind <> {Kind.USE})"}
    meters |= dict.fromkeys(book.work_meters, "sum(units)")
    for table in ("usage", "usage_days"):
        for meter, of_events in meters.items():
            wrong = oracle.rows(
                f"""
                WITH summed AS (
                  SELECT s.name AS subject,
                    sum(coalesce(json_extract(u.totals, '$.{meter}'), 0)) AS total
                  FROM ledger.{table} u JOIN ledger.subjects s ON s.id = u.subject_id
                  WHERE u.generation = (SELECT max(id) FROM ledger.generations)
                  GROUP BY s.name),
                counted AS (
                  SELECT subject, {of_events} AS total FROM found GROUP BY subject)
                SELECT subject, counted.total, summed.total
                FROM counted LEFT JOIN summed USING (subject)
                WHERE counted.total <> coalesce(summed.total, 0)
                """
            )
            if wrong:
                yield f"{table}, {meter}: {len(wrong)} subjects, such as {wrong[:5]}"


def wrong_finals(
    sidecar: SidecarProcess, shown: dict[tuple[str, str], Any]
) -> Iterator[str]:
    """Make all invoices final; yield each that is not what its draft came to.

    Args:
        sidecar: rehearses a day after all months.
        shown: the drafts.
    """
    for (month, customer), draft in shown.items():
        finalize = ("invoice", customer, "--period", month, "--finalize")
        done = sidecar.meterline(*finalize)
        if done.returncode:
            yield f"{' '.join(finalize)}: {done.returncode}: {done.stderr[-500:]}"
            continue
        final = sidecar.get(f"/v1/customers/{customer}/invoice", period=month)
        if final["status"] != "final" or final["due"] != draft["due"]:
            yield (
                f"{customer} {month}: {draft['due']} was shown as a draft, and now"
                f" {final['due']} as {final['status']}"
            )
