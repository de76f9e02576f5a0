"""The lease of a PostgreSQL ledger: one row of a table of its own.

Whoever leads says so again before its time is over, by the database's clock, and waits for
no transaction to do so. Once it is over another one is elected, under the next number and
under the lock of all writers: what was begun under the number before has ended by then,
and nothing is begun under it any more. A clock of a host decides nothing.
"""

from typing import Any, Final

from meterline_sidecar.store.port import Candidate, Turn
from meterline_sidecar.store.postgres.errors import RAISED, translate
from meterline_sidecar.store.postgres.line import Line, end_frozen

BEGIN: Final = (
    "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL lock_timeout = '12s'"
)
# A writer has this one for some milliseconds, one that froze for ten seconds.
ELECT: Final = f"{BEGIN}; SELECT id FROM writer FOR UPDATE"  # noqa: S608 - our own words
LOOK: Final = (
    "SELECT fence, life, name, files, (extract(epoch FROM since) * 1000)::int8,"
    " greatest((extract(epoch FROM until - clock_timestamp()) * 1000)::int8, 0)"
    " FROM lease"
)
KEEP: Final = (
    "UPDATE lease SET until = clock_timestamp() + make_interval(secs => $1),"
    " name = $2, files = $3 WHERE life = $4"
)
TAKE: Final = (
    "UPDATE lease SET fence = fence + 1, since = clock_timestamp(),"
    " until = clock_timestamp() + make_interval(secs => $1),"
    " name = $2, files = $3, life = $4 WHERE until <= clock_timestamp()"
)
GIVE_UP: Final = "UPDATE lease SET until = clock_timestamp() WHERE life = $1"


class PostgresLease:
    """The lease; see ``Lease``.

    Args:
        place: where the ledger is, for errors.
        line: of its own: it must not wait for what this process writes.
    """

    def __init__(self, place: str, line: Line) -> None:
        self._place = place
        self._line = line

    async def turn(self, me: Candidate, *, lease_s: float) -> Turn:
        """Go on leading, or begin to; return who leads. See ``Lease.turn``."""
        found = await self._look()
        if found.life == me.life or not found.left_ms:
            if found.life != me.life:
                # It may have frozen in a statement, and then keeps the lock for good.
                await self._end_frozen()
            # The row is looked at again behind its lock: of two that want it one gets it.
            how = (BEGIN, KEEP) if found.life == me.life else (ELECT, TAKE)
            await self._do(*how, lease_s, me.name, me.files, me.life)
            found = await self._look()
        return found

    async def _end_frozen(self) -> None:
        connection = await self._line.begin("BEGIN READ ONLY")
        try:
            await end_frozen(connection)
        finally:
            await self._line.leave()

    async def give_up(self, me: Candidate) -> None:
        """Let another one lead at once, if we do. See ``Lease.give_up``."""
        leads = (await self._look()).life
        await self._do(BEGIN, GIVE_UP, leads if me.follows(leads) else me.life)

    async def close(self) -> None:
        """Close the connection."""
        await self._line.close()

    async def _look(self) -> Turn:
        connection = await self._line.begin("BEGIN READ ONLY")
        try:
            (row,) = await connection.fetch(LOOK)
        except RAISED as error:
            raise translate(self._place, error) from error
        finally:
            await self._line.leave()
        return Turn(*row)

    async def _do(self, begin: str, sql: str, *parameters: Any) -> None:
        connection = await self._line.begin(begin)
        try:
            await connection.execute(sql, *parameters)
            await self._line.commit()
        except RAISED as error:
            raise translate(self._place, error) from error
        finally:
            await self._line.leave()
