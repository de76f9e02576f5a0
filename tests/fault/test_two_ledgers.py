"""Apps of two ledgers share a directory of spools, and everything is cut anywhere.

Whatever the order: each event is in one ledger, and none is lost.
"""

import random
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import pytest

from meterline.link import Link, State
from meterline.spool.dead import DeadSource, DeadSpool, spool_directories
from meterline.spool.living import Spool
from meterline.spool.segment import SEGMENT_BYTES_MIN
from tests.fake_sidecar import FakeSidecar
from tests.fault.host import rounds
from tests.patience import PATIENCE_S
from tests.producer import event

if TYPE_CHECKING:
    from meterline.link import Source

pytestmark = pytest.mark.fault

STEPS: Final = 60
APPS_MAX: Final = 4
NEVER: Final = 10**9


class Cut:
    """Lets so many acks through, and cuts the connection then."""

    def __init__(self) -> None:
        self.acks_left = NEVER

    def __call__(self) -> bool:
        self.acks_left -= 1
        return self.acks_left >= 0


class App:
    """A worker, and which of the two ledgers is behind its socket."""

    def __init__(self, spool: Spool, home: int) -> None:
        self.spool = spool
        self.home = home


class Shared:
    """Two ledgers, the apps of both, and one directory for the spools of all."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self._chance = chance
        self._spool_dir = folder / "spool"
        self._cuts = [Cut(), Cut()]
        self.ledgers = [
            FakeSidecar(folder / f"{i}.sock", before_ack=cut, ledger=i + 1)
            for i, cut in enumerate(self._cuts)
        ]
        self._apps: list[App] = []
        self._is_settling = False
        self.n_recorded = 0

    def run(self) -> None:
        """Take random steps, then let nothing fail any more until all is somewhere."""
        for ledger in self.ledgers:
            ledger.start()
        steps = (
            *(self._start, self._record, self._start, self._record, self._ship),
            *(self._kill, self._drain, self._drain, self._drain),
        )
        for _ in range(STEPS):
            self._chance.choice(steps)()
        self._is_settling = True
        while self._apps:
            self._kill()
        for i in (0, 1):
            for path in spool_directories(self._spool_dir):
                self._take(path, i)
        left = spool_directories(self._spool_dir)
        for ledger in self.ledgers:
            ledger.stop()
        assert left == []

    def _start(self) -> None:
        if len(self._apps) < APPS_MAX:
            spool = Spool.open(
                self._spool_dir,
                app="app",
                host="h",
                pid=1,
                bytes_max=64 * SEGMENT_BYTES_MIN,
            )
            self._apps.append(App(spool, self._chance.randrange(2)))

    def _record(self) -> None:
        for app in self._apps:
            for _ in range(self._chance.randrange(400)):
                self.n_recorded += 1
                payload = event(quantities={"n": self.n_recorded})
                app.spool.writer.append(msgspec.msgpack.encode(payload))

    def _ship(self) -> None:
        if self._apps:
            app = self._chance.choice(self._apps)
            app.spool.maintain(sync_interval_s=None)
            self._talk(app.spool.reader, app.home, is_last=False)

    def _kill(self) -> None:
        if self._apps:
            app = self._chance.choice(self._apps)
            self._apps.remove(app)
            app.spool.abandon()

    def _drain(self) -> None:
        paths = spool_directories(self._spool_dir)
        if paths:
            self._take(self._chance.choice(paths), self._chance.randrange(2))

    def _take(self, path: str, i: int) -> None:
        dead = DeadSpool.take(path)
        if dead is None:
            return
        if self._talk(DeadSource(dead), i, is_last=True) is State.DONE:
            dead.delete()
        else:
            dead.close()

    def _talk(self, source: "Source", i: int, *, is_last: bool) -> State:
        """Let a source send to a ledger, until that is done, refused or cut."""
        fails = not self._is_settling and self._chance.random() < 0.5
        self._cuts[i].acks_left = self._chance.randrange(4) if fails else NEVER
        # It can also be killed before it has heard anything.
        n_rounds = self._chance.choice([1, 2, 4, NEVER]) if fails else NEVER
        link = Link(self.ledgers[i].path, source)
        end_s = time.monotonic() + PATIENCE_S
        while link.state in (State.GREETING, State.OPEN, State.LEAVING):
            assert time.monotonic() < end_s
            moved = link.pump(is_last=is_last, is_awaited=True)
            if not moved and not is_last and link.state is State.OPEN:
                break  # a living one stays; here it is enough for now
            n_rounds -= 1
            if not n_rounds:
                break
        link.close()
        return link.state


def test_whatever_is_cut_each_event_is_in_one_ledger_of_two(
    tmp_path: Path, chance: random.Random
) -> None:
    for i in range(rounds(20, soak=500)):
        (tmp_path / str(i)).mkdir()
        shared = Shared(tmp_path / str(i), chance)

        shared.run()

        found = Counter(
            int((one.quantities or {})["n"])
            for ledger in shared.ledgers
            for one in ledger.events
        )
        assert found == Counter(range(1, shared.n_recorded + 1))
        for ledger in shared.ledgers:
            ledger.assert_complete()
            assert ledger.losses == []
