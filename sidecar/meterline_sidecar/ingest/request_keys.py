"""Requests that clients send again under a key of theirs: for a time, one counts.

An ``Idempotency-Key`` is a client's word, so that it holds for one app, subject, method
and route, and for a time. The first request that was answered without an error takes
its key. What comes under it within the time is stored with a flag, and counts for the
meters alone that say so.
"""

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Final, NamedTuple

import msgspec

from meterline.events import Flag, Kind
from meterline_sidecar.clock import DAY_MS
from meterline_sidecar.store.edge import request_keys as store
from meterline_sidecar.store.edge.events import EventRow
from meterline_sidecar.store.edge.request_keys import KeyRow
from meterline_sidecar.store.port import Tx

LATE_MS: Final = DAY_MS  # what arrives up to a day late is told apart as well
KEYS_MAX: Final = 5_000_000
"""About 300 MB: of a day's keys, 28 requests a second with keys, all day. Beyond them the
oldest go."""
FORGET_ROWS: Final = 2_000  # at one commit, while ingest waits for it
DIGEST_BYTES: Final = 16

REQUEST: Final = int(Kind.REQUEST)  # arithmetic on enums costs ten times as much
HELD: Final = int(Flag.HELD)
REPEATED: Final = int(Flag.REPEATED)

_encode = msgspec.msgpack.Encoder().encode


class Keyed(NamedTuple):
    """The key of a request that waits to be stored."""

    place: int
    """Which of the events that came with it."""
    key: bytes


class RequestKeys:
    """The keys of requests, which are looked up in the ledger.

    Args:
        key: of the ledger's chain: nobody finds out what clients said.
        kept_ms: how long after a request its key stands for it.
    """

    def __init__(self, *, key: bytes, kept_ms: int) -> None:
        self._key = key
        self.kept_ms = kept_ms
        self._n_keys: int | None = None
        self.kept_since_ms: int | None = None
        """From when on keys are known, where there were too many to keep them all."""

    def recorded(
        self,
        events: Sequence[EventRow],
        ids: Iterable[tuple[int, str | None, str]],
        app: str,
    ) -> list[Keyed]:
        """Return the keys of requests that have one.

        Args:
            ids: the places of events, their sources, and ids: of a request, its key.
        """
        return [
            Keyed(place, self._digest(app, events[place], key))
            for place, _, key in ids
            if events[place].kind == REQUEST
        ]

    def _digest(self, app: str, event: EventRow, key: str) -> bytes:
        scope = (app, event.subject, event.method, event.route, key)
        return blake2b(_encode(scope), key=self._key, digest_size=DIGEST_BYTES).digest()

    async def judge(
        self,
        tx: Tx,
        events: list[EventRow],
        keyed: Sequence[Keyed],
        *,
        first_id: int,
        now_ms: int,
    ) -> int:
        """Flag in place the requests that were there before; return how many.

        One that is held for its time is not judged.

        Args:
            first_id: of the events, as they are about to be stored.
        """
        known = await store.read_keys(tx, list({one.key for one in keyed}))
        before = len(known)
        taken: dict[bytes, KeyRow] = {}
        n_repeated = 0
        for place, key in keyed:
            row = events[place]
            if row.flags & HELD:
                continue
            first_ms = known.get(key)
            if first_ms is not None and abs(row.time_ms - first_ms) < self.kept_ms:
                events[place] = row._replace(flags=row.flags | REPEATED)
                n_repeated += 1
            elif _is_answered(row) and (first_ms is None or row.time_ms > first_ms):
                known[key] = row.time_ms
                taken[key] = KeyRow(key, first_id + place, row.time_ms)
        await store.put_keys(tx, taken.values())
        await self._forget(tx, n_new=len(known) - before, now_ms=now_ms)
        return n_repeated

    async def _forget(self, tx: Tx, *, n_new: int, now_ms: int) -> None:
        """Forget keys of long ago, and the oldest beyond the limit, a piece at a time."""
        if self._n_keys is None:
            self._n_keys = await store.count_keys(tx)
        else:
            self._n_keys += n_new
        self._n_keys -= await store.forget_keys(
            tx, before_ms=now_ms - self.kept_ms - LATE_MS, limit=FORGET_ROWS
        )
        beyond = self._n_keys - KEYS_MAX
        if beyond > 0:
            self._n_keys -= await store.forget_keys(
                tx, before_ms=now_ms, limit=max(beyond, FORGET_ROWS)
            )
            self.kept_since_ms = await store.oldest_key(tx)

    def roll_back(self) -> None:
        """Note that nothing of what was judged since the last commit is stored."""
        self._n_keys = None


def _is_answered(request: EventRow) -> bool:
    """Say whether a request was answered without an error: others are tried again."""
    return 200 <= request.status < 400
