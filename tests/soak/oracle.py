"""The one law: what every worker was told, against the ledger at rest.

Both sides go into ``oracle.db``, a database of our own, and each law is a query that
finds what breaks it: no memory grows with the length of a soak.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from meterline.events import Flag, Kind
from tests.all_events import ALL_EVENTS, with_packs
from tests.fault.oracle import verify_ledger
from tests.soak.notes import read_notes

OPEN_LOST: Final = "open with units in memory as its worker died"
"""The one reason for a loss that a kill may have: docs/guarantees.md has it."""
SHOWN: Final = 5

_SCHEMA: Final = """
CREATE TABLE told (
  number INTEGER PRIMARY KEY, app TEXT, subject TEXT, is_call INTEGER,
  begun_ms INTEGER, ended_ms INTEGER, units INTEGER, units_sure INTEGER
);
CREATE TABLE found (
  event INTEGER PRIMARY KEY, number INTEGER, app TEXT, subject TEXT, time_ms INTEGER,
  kind INTEGER, flags INTEGER, units INTEGER
);
ATTACH '{ledger}' AS ledger;
INSERT INTO found
  SELECT e.id, json_extract(e.quantities, '$.n'), p.app, s.name, e.time_ms, e.kind,
    e.flags, coalesce(json_extract(e.quantities, '$.w'), 0)
  FROM {events} e JOIN ledger.producers p ON p.id = e.producer_id
  LEFT JOIN ledger.subjects s ON s.id = e.subject_id;
CREATE INDEX found_by_number ON found (number);
CREATE INDEX found_by_subject ON found (subject);
CREATE INDEX told_by_subject ON told (subject);
"""

# What breaks a law, as rows; the first column says where.
_LAWS: Final = {
    "recorded, and not in the ledger": """
        SELECT number, app, subject, begun_ms FROM told
        WHERE ended_ms IS NOT NULL AND number NOT IN
          (SELECT number FROM found WHERE number IS NOT NULL)""",
    "in the ledger twice": """
        SELECT number, count(*) FROM found WHERE number IS NOT NULL
        GROUP BY number HAVING count(*) > 1""",
    "in the ledger, and told to nobody": """
        SELECT number, app, subject FROM found
        WHERE number NOT IN (SELECT number FROM told)""",
    "under another subject, or from another app": """
        SELECT number, t.subject, f.subject, t.app, f.app
        FROM found f JOIN told t USING (number)
        WHERE f.subject IS NOT t.subject OR f.app IS NOT t.app""",
    "at another time than the app's clock said": """
        SELECT number, begun_ms, time_ms, ended_ms FROM found JOIN told USING (number)
        WHERE time_ms < begun_ms - 1 OR time_ms > ended_ms + 1""",
    "without a subject, held or stray": f"""
        SELECT event, subject, flags FROM found
        WHERE subject IS NULL OR flags & {Flag.STRAY | Flag.HELD} <> 0""",
    "calls of a subject (surely, at most, found)": f"""
        WITH here AS (SELECT subject, sum(kind <> {Kind.USE}) AS calls FROM found
          GROUP BY subject)
        SELECT subject, sum(is_call * (ended_ms IS NOT NULL)) AS sure,
          sum(is_call) AS most, coalesce(here.calls, 0) AS calls_here
        FROM told LEFT JOIN here USING (subject) GROUP BY subject
        HAVING calls_here < sure OR calls_here > most""",
    "units of a subject (surely, at most, found)": """
        WITH here AS (SELECT subject, sum(units) AS units FROM found GROUP BY subject)
        SELECT subject, sum(units_sure) AS sure, sum(t.units) AS most,
          coalesce(here.units, 0) AS units_here
        FROM told t LEFT JOIN here USING (subject) GROUP BY subject
        HAVING units_here < sure OR units_here > most""",
    "lost for a reason that no kill has": f"""
        SELECT reason, sum(last_seq - first_seq + 1) FROM ledger.losses
        WHERE reason <> '{OPEN_LOST}' GROUP BY reason""",
    "more lost than was open when its worker died": f"""
        SELECT lost, open FROM
          (SELECT coalesce(sum(last_seq - first_seq + 1), 0) AS lost
           FROM ledger.losses WHERE reason = '{OPEN_LOST}'),
          (SELECT count(*) AS open FROM told WHERE ended_ms IS NULL)
        WHERE lost > open""",
    "producers with a gap": """
        SELECT producer, recorded_seq, last_seq, ingested, lost, refused
        FROM ledger.producers
        WHERE recorded_seq <> last_seq OR last_seq <> ingested + lost + refused""",
}


class Numbers(NamedTuple):
    """How much was judged."""

    told: int
    ended: int
    found: int
    lost: int
    producers: int
    subjects: int


class Oracle:
    """What the notes say, beside what the ledger says.

    Args:
        ledger: at rest; nothing writes it any more.
    """

    def __init__(self, file: Path, *, notes: Path, ledger: Path) -> None:
        self._ledger = ledger
        self._db = with_packs(sqlite3.connect(file))
        self._db.executescript(_SCHEMA.format(ledger=ledger, events=ALL_EVENTS))
        for path in sorted(notes.iterdir()):
            self._db.executemany(
                "INSERT INTO told (number, app, subject, is_call, begun_ms, ended_ms,"
                " units, units_sure) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                read_notes(path),
            )
        self._db.commit()

    def close(self) -> None:
        """Let go of the files."""
        self._db.close()

    def broken(self) -> Iterator[str]:
        """Yield each law that does not hold, with what breaks it."""
        yield from self.broken_rows()
        report = verify_ledger(self._ledger)
        if not report.is_sound:
            yield f"verify: {report.findings}"

    def broken_rows(self) -> Iterator[str]:
        """Yield each law between notes and ledger that does not hold."""
        for law, query in _LAWS.items():
            rows = self.rows(query)
            if rows:
                yield f"{law}: {len(rows)}, such as {rows[:SHOWN]}"

    def numbers(self) -> Numbers:
        """Return how much was judged."""
        query = """
            SELECT (SELECT count(*) FROM told),
              (SELECT count(*) FROM told WHERE ended_ms IS NOT NULL),
              (SELECT count(*) FROM found),
              (SELECT coalesce(sum(last_seq - first_seq + 1), 0) FROM ledger.losses),
              (SELECT count(*) FROM ledger.producers),
              (SELECT count(DISTINCT subject) FROM told)"""
        return Numbers(*self.rows(query)[0])

    def rows(self, query: str, *values: int | str) -> Sequence[tuple[int, ...]]:
        """Return the rows of a query."""
        return self._db.execute(query, values).fetchall()
