"""The edge's end: sends what its ledger holds to the centre, and follows the acks.

The cursor is the centre's: it says up to which batch all is on its disk, and what is
behind that is sent, again if need be. So an edge, a centre or both can be killed at any
moment, and a centre that was restored from a backup is sent what it lost.
"""

import asyncio
import contextlib
import logging
import secrets
import time
from typing import Final

import meterline
from meterline.edge_wire import (
    EDGE_VERSION,
    AskEvents,
    Covered,
    EdgeHello,
    EdgeWelcome,
    Heartbeat,
    Meters,
    Resume,
)
from meterline.wire import Ack, Welcome, WireError
from meterline_sidecar.clock import Clock
from meterline_sidecar.config.centre import CentreConfig
from meterline_sidecar.errors import DatabaseCorrupt, DiskFailed, MeterlineError
from meterline_sidecar.fleet.backlog import Place, Slice, read_standing
from meterline_sidecar.fleet.batches import Batches
from meterline_sidecar.fleet.filing import Filing
from meterline_sidecar.fleet.goodbyes import Goodbyes
from meterline_sidecar.fleet.line import HURRY, Line, Refused, in_words, reach
from meterline_sidecar.fleet.low import LowMark
from meterline_sidecar.fleet.roller import Roller
from meterline_sidecar.fleet.telling import Telling
from meterline_sidecar.fleet.there import There
from meterline_sidecar.fleet.tls import edge_tls, token_of
from meterline_sidecar.ingest.accept import Ingest
from meterline_sidecar.ingest.dead_spools import Drain
from meterline_sidecar.ledger.archived import Archived
from meterline_sidecar.ledger.edge_files import Reached
from meterline_sidecar.problems.problem import n_of
from meterline_sidecar.store.edge.events import marks
from meterline_sidecar.store.port import Database

RETRY_S: Final = 0.5
RETRY_S_MAX: Final = 15.0
LOOK_EVERY_S: Final = 0.1  # for something to send
BEAT_EVERY_S: Final = 2.0
BUSY_ROWS: Final = 4_000
"""So many events wait for their commit only where there are very many: see ``_read``."""
SHARE: Final = 29
TOLD_CHARS: Final = 256  # of each thing that is missing
BUFFER_BYTES: Final = 256 << 10

log = logging.getLogger(__name__)


class Forwarder:
    """Sends on what this sidecar takes in, for as long as it runs.

    Args:
        edge: the id of this ledger.
        there: is told of what is at the centre, where apps wait for that.
        archived: the files that what is in this ledger no more is in.
        filing: has what is at the centre written as files, where that is wanted.
    """

    def __init__(
        self,
        database: Database,
        ingest: Ingest,
        drain: Drain,
        config: CentreConfig,
        *,
        edge: str,
        clock: Clock,
        archived: Archived,
        there: There | None = None,
        filing: Filing | None = None,
    ) -> None:
        assert config.url is not None, "checked where the file is read"
        self._database = database
        self._ingest = ingest
        self._drain = drain
        self._config = config
        self.address = config.url
        self.edge = edge
        self._clock = clock
        self.there = there
        self.filing = filing
        self._roller: Roller | None = None
        if config.forward == "usage":
            self._roller = Roller(
                database, ingest, archived, clock=clock, pause=self._pause
            )
        self._batches = Batches(
            database, archived, is_rolled_up=config.forward == "usage"
        )
        self._life = secrets.token_hex(16)
        self._low = LowMark()
        self._goodbyes = Goodbyes(database, clock=clock)
        self._stopping = asyncio.Event()
        self.acked: int | None = None
        """Up to which batch the centre has all; ``None`` before it first said so."""
        self.acked_ms: int | None = None
        """When the centre last answered anything; ``None`` before it first did."""
        self.behind: int = 0
        """How many batches it does not have, as of the last heartbeat."""
        self.low_ms = 0
        self.skew_ms = 0
        """The centre's clock, less ours."""
        self.is_connected = False
        self.trouble: str | None = "not connected yet"
        """Why nothing reaches the centre, in words."""

    @property
    def name(self) -> str:
        """What people at the centre call this edge."""
        return self._config.own_name

    @property
    def recount_trouble(self) -> str | None:
        """Why a meter is not counted again that should be; ``None``: it is."""
        return None if self._roller is None else self._roller.trouble

    async def run(self) -> None:
        """Keep a connection to the centre until stopped, or cancelled.

        Raises:
            DiskFailed, DatabaseCorrupt: this ledger cannot be used; the process must end.
        """
        wait_s = RETRY_S
        while not self._stopping.is_set():
            began_s = time.monotonic()
            try:
                await self._connect()
            except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
                self._note(f"{self.address}: {in_words(error)}")
            except Refused as error:
                self._note(f"{self.address} refuses this edge: {error}")
            except (DiskFailed, DatabaseCorrupt):
                raise  # That is about our own ledger.
            except (WireError, MeterlineError) as error:
                self._note(str(error))
            lasted = time.monotonic() - began_s > RETRY_S_MAX
            wait_s = RETRY_S if lasted else min(2 * wait_s, RETRY_S_MAX)
            with contextlib.suppress(TimeoutError):
                # Not all edges of a centre that was away come back in one moment.
                jitter = 0.5 + secrets.randbelow(1_000) / 1_000
                await asyncio.wait_for(self._stopping.wait(), wait_s * jitter)

    def stop(self) -> None:
        """Send what there is still to be sent, and end."""
        self._stopping.set()

    def _note(self, trouble: str) -> None:
        if trouble != self.trouble:
            log.warning("events are not forwarded, and wait here: %s", trouble)
        self.trouble = trouble

    async def _connect(self) -> None:
        reader, writer = await reach(
            self.address, tls=edge_tls(self._config), limit=BUFFER_BYTES
        )
        try:
            line = Line(reader, writer)
            place = await self._greet(line)
            self.is_connected, self.trouble = True, None
            log.info("forwarding to %s, behind batch %d", self.address, place.batch)
            await self._converse(line, place)
        finally:
            self.is_connected = False
            writer.close()

    async def _greet(self, line: Line) -> Place:
        """Say who this is; return what the centre has."""
        await line.send(
            EdgeHello(
                EDGE_VERSION,
                self.edge,
                self._life,
                self.name,
                meterline.__version__,
                self._clock.now_ms(),
                token_of(self._config),
                self._config.forward,
                self._config.tells_events,
            )
        )
        welcome = await line.receive()
        if not isinstance(welcome, EdgeWelcome):
            raise WireError("unexpected", "a welcome must follow the hello")
        self.skew_ms = welcome.at_ms - self._clock.now_ms()
        line.in_flight_max = max(
            1, min(welcome.frames_in_flight_max, line.in_flight_max)
        )
        async with self._database.reading() as tx:
            newest = (await marks(tx)).batch_id
        mark = await self._batches.mac_of(welcome.ahead)
        await line.send(Resume(mark or b"", newest))
        if not isinstance(await line.receive(), Ack):
            raise WireError("unexpected", "an ack must follow the resume")
        self.acked = welcome.batch
        if self.filing is not None:
            await self.filing.begin(welcome.file)
        if self._roller is not None:
            await self._agree(line, self._roller)
        return Place(welcome.batch)

    async def _agree(self, line: Line, roller: Roller) -> None:
        """Hear by which meters events are rolled up, and which are already."""
        meters = await line.receive()
        if not isinstance(meters, Meters):
            raise WireError("unexpected", "meters must follow the ack")
        await line.send(await roller.epochs())
        while not isinstance(answer := await line.receive(), Covered):
            if not isinstance(answer, Meters):
                raise WireError("unexpected", "no answer to which epochs there are")
            meters = answer
        await roller.settle(answer)
        await roller.follow(meters)

    async def _converse(self, line: Line, place: Place) -> None:
        """Send while answers come in, until either ends."""
        may_tell = self._config.tells_events
        telling = Telling(self._database, may_tell=may_tell, pause=self._pause)
        # What the centre said is the reason why nothing could be sent.
        tasks = [
            asyncio.ensure_future(self._listen(line, telling)),
            asyncio.ensure_future(self._send(line, place)),
            asyncio.ensure_future(telling.run(line)),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            found = await asyncio.gather(*tasks, return_exceptions=True)
        for error in found:
            if isinstance(error, Exception):
                raise error

    async def _listen(self, line: Line, telling: Telling) -> None:
        while True:
            message = await line.receive()
            if isinstance(message, AskEvents):
                telling.take(message)
                continue
            if isinstance(message, Meters) and self._roller is not None:
                await self._roller.follow(message)
                continue
            if isinstance(message, Covered):
                line.told(message)
            elif not isinstance(message, Ack | Welcome):
                raise WireError("unexpected", "no answer to what was sent")
            part = line.answered()
            self.acked_ms = self._clock.now_ms()
            if part is not None:
                await self._moved_to(part)

    async def _moved_to(self, part: Slice) -> None:
        self.acked = part.end.batch
        if self.there is None:
            return
        if self._roller is None:
            await self.there.move(part.end.batch, part.reached)
            return
        async with self._database.reading() as tx:
            rolled_up_to, _ = await self._roller.standing(tx, self.acked)
        await self.there.move_to_event(rolled_up_to)

    async def _send(self, line: Line, place: Place) -> None:
        """Send what is behind a place, and whatever comes behind that."""
        beat_s = time.monotonic() - BEAT_EVERY_S  # one is due at once
        while True:
            is_left = False
            if self._roller is not None:
                is_urgent = self._stopping.is_set()
                is_left = await self._roller.run(line.ask, is_urgent=is_urgent)
            n_commits = self._ingest.n_commits
            part = await self._read(place)
            if part.ahead is not None:
                await line.send_all([part.ahead, *part.frames], part)
                if not part.is_all:
                    await line.send_all([HURRY])
            elif part.end != place:
                await line.until_answered()
                await self._moved_to(part)
            place = part.end
            is_idle = part.is_all and not part.frames and not is_left
            if is_idle and self._stopping.is_set():
                await line.until_answered()
                await self._beat(line)
                await line.until_answered()
                if self.filing is not None:
                    await self.filing.finish(line)
                return
            if time.monotonic() - beat_s >= BEAT_EVERY_S:
                if is_idle and self._roller is None:
                    await self._goodbyes.send(line)
                await self._beat(line)
                if self.filing is not None:
                    await self.filing.tell(line)
                beat_s = time.monotonic()
            if is_idle:
                await self._rest(n_commits, until_s=beat_s + BEAT_EVERY_S)

    async def _rest(self, n_commits: int, *, until_s: float) -> None:
        """Wait until more is committed, or something is due, or there is a stop.

        What is rolled up is sent when that is due, whatever is committed meanwhile.
        """
        if self._roller is not None:
            until_s = min(until_s, self._roller.due_s)
        while not self._stopping.is_set():
            left_s = 0.0 if self._roller is None else until_s - time.monotonic()
            look_s = max(LOOK_EVERY_S, left_s)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), look_s)
            if self._ingest.n_commits != n_commits or time.monotonic() >= until_s:
                return

    async def _read(self, place: Place) -> Slice:
        """Read the next frames; where there are very many events, at leisure.

        A flood of events is taken in first, and sent on with what is left of the time:
        this takes a thirtieth of it meanwhile.
        """
        began_s = time.monotonic()
        part = await self._batches.behind(place)
        await self._pause(time.monotonic() - began_s)
        return part

    async def _pause(self, worked_s: float) -> None:
        if self._ingest.pending_rows >= BUSY_ROWS and not self._stopping.is_set():
            await asyncio.sleep(SHARE * worked_s)

    async def _beat(self, line: Line) -> None:
        now_ms = self._clock.now_ms()
        assert self.acked is not None
        acked = self.acked
        missing: list[str] = []
        try:
            waiting = await self._drain.waiting_since()
        except OSError as error:
            waiting = {"": 0}
            missing.append(f"its spools cannot be read: {error.strerror}")
        rolled_up_to: int | None = None
        generations: tuple[str, ...] = ()
        async with self._database.reading() as tx:
            if self._roller is not None:
                rolled_up_to, generations = await self._roller.standing(tx, acked)
            at = await read_standing(tx, acked, rolled_up_to=rolled_up_to)
        if self.filing is not None:
            self.filing.reached = Reached(acked, rolled_up_to)
        if self.there is not None and rolled_up_to is not None:
            # Events that no meter counts come to nothing, of which there is no ack.
            await self.there.move_to_event(rolled_up_to)
        low_ms = self._low.of(at.unfinished, waiting, now_ms=now_ms)
        if at.first_hour_ms is not None:
            low_ms = min(low_ms, at.first_hour_ms)
        missing += at.unfinished_in_words()
        if waiting:
            missing.append(f"{n_of(len(waiting), 'spool')} not taken in")
        if self.recount_trouble is not None:
            missing.append(self.recount_trouble[:TOLD_CHARS])
        if at.held and self._roller is not None:
            missing.append(
                f"{n_of(at.held, 'event')} held: decide there, `meterline held`"
            )
        self.behind, self.low_ms = at.last_batch - acked, low_ms
        beat = Heartbeat(
            acked,
            low_ms,
            now_ms,
            self.behind,
            tuple(missing),
            generations=generations,
            lost=at.lost,
            held=at.held,
            head=at.head,
        )
        await line.send_all([beat])
