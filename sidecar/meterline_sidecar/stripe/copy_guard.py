"""Notices that a database is a copy, and holds what another copy may have told already.

Such a database knows less than Stripe does: it would tell again what it does not
remember. Four things contradict it, and each is kept where the others are not:

- the place that it was in, noted inside the database and so in every backup;
- the number of rows ever sent, in a file beside it, which no backup has;
- the machine's boot and the time when it was last awake: a disk that was set back by
  more than a day begins with both, and Stripe has forgotten what it was told since;
- Stripe itself, which knows an identifier that this database never sent.
"""

import logging
from pathlib import Path
from typing import Final

from msgspec import Struct

from meterline_sidecar.clock import HOUR_MS, MINUTE_MS
from meterline_sidecar.files import LedgerFiles, replace_file
from meterline_sidecar.problems.problem import n_of
from meterline_sidecar.store import facts, outbox
from meterline_sidecar.store import outbox_sending as sending
from meterline_sidecar.store.outbox import Cursor
from meterline_sidecar.store.port import Tx
from meterline_sidecar.stripe.meter_events import RESEND_MS_MAX

HOME: Final = "outbox_home"
AWAKE: Final = "outbox_awake"
SUSPICION: Final = "outbox_suspicion"
BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
AWAKE_EVERY_MS: Final = 15 * MINUTE_MS

log = logging.getLogger(__name__)


class Mark(Struct, frozen=True):
    """What the file beside the database says."""

    sends: int
    install: str | None
    """Whose rows these were; ``None`` in a file of an earlier Meterline."""


class SentMark:
    """How many rows were ever sent: a file next to the database that only grows."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._path = LedgerFiles(database).sent

    @property
    def place(self) -> str:
        """Where the database is, in a way that a copy of it is elsewhere."""
        try:
            return str(self._database.stat().st_ino)
        except FileNotFoundError:
            return ""

    @property
    def boot(self) -> str:
        """Which boot of the machine this is; empty where it does not say."""
        try:
            return BOOT_ID.read_text(encoding="ascii").strip()
        except OSError:
            return ""

    def read(self) -> Mark | None:
        """Return what it says, ``None`` where there is none."""
        try:
            sends, _, install = self._path.read_text(encoding="ascii").partition(" ")
            return Mark(int(sends), install or None)
        except (FileNotFoundError, ValueError):
            return None

    def write(self, sends: int, install: str = "") -> None:
        """Replace what it says, on the disk: an empty one would look like a copy."""
        text = f"{sends} {install}".rstrip()
        replace_file(self._path, text.encode("ascii"), durably=True)


class Suspicion(Struct, frozen=True):
    """What another copy of this ledger may have told."""

    told_ms: int
    """Until when it may have told something."""
    reason: str


async def read_suspicion(tx: Tx) -> Suspicion | None:
    """Return why this ledger was last taken for a copy; ``None``: it never was."""
    known = await facts.get_fact(tx, SUSPICION)
    if known is None:
        return None
    told_ms, _, reason = known.partition(" ")
    return Suspicion(int(told_ms), reason)


class CopyGuard:
    """Looks once whether the database is a copy, and keeps the marks up to date.

    Args:
        is_shared: whether several processes tell of it, one after the other: each has a
            mark of its own, which says up to where it told something, and no place is
            that of the ledger.
    """

    def __init__(self, mark: SentMark, *, is_shared: bool = False) -> None:
        self._mark = mark
        self._is_shared = is_shared
        self._checked: Cursor | None = None
        self._known: Cursor | None = None
        self._sends = 0
        self._awake_ms = 0

    async def check(self, tx: Tx, *, now_ms: int) -> None:
        """Hold every row that another copy of the ledger may have sent already.

        Only the first check of a process looks. Call ``enrol`` once ``tx`` has been
        committed: until then the files must not say that all is well.
        """
        if self._known is None:
            cursor = await outbox.cursor(tx)
            assert cursor is not None, (
                "the outbox was started, or nothing could be sent"
            )
            await self._look(tx, cursor, now_ms=now_ms)
            await facts.put_fact(tx, HOME, self._mark.place)
            self._checked = cursor
        if abs(now_ms - self._awake_ms) >= AWAKE_EVERY_MS:
            self._awake_ms = now_ms
            await facts.put_fact(tx, AWAKE, f"{now_ms} {self._mark.boot}")

    def forget(self) -> None:
        """Look again: another process told something since."""
        self._known = self._checked = None

    def enrol(self) -> None:
        """Note beside the database that this is its place from now on."""
        if self._checked is not None:
            self._known, self._checked = self._checked, None
            self._sends = self._known.sends
            self._mark.write(self._sends, self._known.install)

    def count(self, n_rows: int) -> None:
        """Add rows that are being sent from now on, before a socket is touched."""
        if n_rows:
            assert self._known is not None, "checked before anything is sent"
            self._sends += n_rows
            self._mark.write(self._sends, self._known.install)

    async def contradict(self, tx: Tx, *, now_ms: int) -> None:
        """Hold what waits: Stripe knows a row that this ledger had never sent."""
        reason = "Stripe knows a row that this ledger had not sent before"
        # What is out just now is left: its answer tells more than a doubt does.
        await _suspect(
            tx, reason, before_ms=_closed(now_ms), told_ms=now_ms, holds_sent=False
        )

    async def _look(self, tx: Tx, cursor: Cursor, *, now_ms: int) -> None:
        home = await facts.get_fact(tx, HOME)
        mark = self._mark.read()
        if mark is None and (self._is_shared or (home is None and cursor.sends == 0)):
            # A new ledger, or one that others told of. The file first: without it, whoever is killed in between
            # would find a ledger that has a home and no file, as a copy has.
            self._mark.write(cursor.sends, cursor.install)
            return
        reason = self._contradiction(cursor, home, mark)
        if reason is not None:
            await _suspect(tx, reason, before_ms=_closed(now_ms), told_ms=now_ms)
            return
        awake = await facts.get_fact(tx, AWAKE)
        awake_ms, _, boot = (awake or f"{now_ms} {self._mark.boot}").partition(" ")
        slept_ms = now_ms - int(awake_ms)
        if slept_ms > RESEND_MS_MAX and boot != self._mark.boot:
            # Whoever went on from the same state told what was known then within the
            # hour, and Stripe has forgotten the identifiers: only its totals know.
            reason = "its machine was off for more than 23 h, or was set back to then"
            before_ms = _closed(int(awake_ms) + AWAKE_EVERY_MS) + HOUR_MS
            await _suspect(tx, reason, before_ms=before_ms, told_ms=before_ms)

    def _contradiction(
        self, cursor: Cursor, home: str | None, mark: Mark | None
    ) -> str | None:
        """Return what says that this database is a copy, ``None`` if nothing does."""
        if mark is None:
            return (
                "the file next to it that says what was sent is missing: it is a copy"
            )
        if mark.install not in (None, cursor.install):
            return "the file next to it that says what was sent is another ledger's"
        if mark.sends > cursor.sends:
            return "it is an older copy: more was sent than it knows of"
        if not self._is_shared and home not in (None, self._mark.place):
            return "it is not where it was: it is a copy"
        return None


async def _suspect(
    tx: Tx, reason: str, *, before_ms: int, told_ms: int, holds_sent: bool = True
) -> None:
    n_rows = await sending.suspect(
        tx,
        before_ms=before_ms,
        reason=f"{reason}; another copy may have told this already",
        holds_sent=holds_sent,
    )
    await facts.put_fact(tx, SUSPICION, f"{told_ms} {reason}")
    held = n_of(n_rows, "row")
    log.error("this ledger may be a copy (%s): %s unresolved", reason, held)


def _closed(now_ms: int) -> int:
    """Return up to when hours are closed."""
    return now_ms // HOUR_MS * HOUR_MS
