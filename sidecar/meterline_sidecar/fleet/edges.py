"""Which edges there are, how they stand, and what people decided about them.

An edge is a ledger: its id is born with it. The centre notes up to which of its batches
something is about to come, with the mac of that batch, before anything of it is taken
in. An edge that comes back without that batch is not the ledger that it was (an old backup
was put back, or a copy of it went on), and is refused until a person decides. A retired
edge holds up no close, and is refused.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final, NoReturn

from meterline.edge_wire import Ahead, EdgeHello, Heartbeat, Resume
from meterline.wire import WireError
from meterline_sidecar.clock import Clock
from meterline_sidecar.errors import SequenceGap
from meterline_sidecar.fleet import counts_by
from meterline_sidecar.fleet.edge import (
    COPY,
    Edge,
    named,
    new_row,
    not_the_same,
    now_s,
    whose,
)
from meterline_sidecar.fleet.owners import claimed
from meterline_sidecar.ledger.journal import Journal
from meterline_sidecar.problems.problem import Found
from meterline_sidecar.store import fleet as store
from meterline_sidecar.store.edge.roll_ups import expect_no_more
from meterline_sidecar.store.fleet import Decided, EdgeRow
from meterline_sidecar.store.port import Database, Tx
from meterline_sidecar.usage.rolled_up import OWN_APP

SILENT_S: Final = 15.0
"""After so long without a word a connection is over: a heartbeat comes every 2 s."""
STORED_EVERY_S: Final = 5.0  # how an edge stands; what is older is only sent again
NOBODY: Final = ""  # speaks for an edge that is not connected
SAID: Final = ("batch", "low_ms", "seen_ms", "skew_ms")
"""What an edge says in a heartbeat."""
EDGES_MAX: Final = 256
PRODUCERS_CACHED_MAX: Final = 100_000


class Edges:
    """All edges of a centre.

    Args:
        is_valid: says whether a credential still lets an edge in.
        check: raises where the ledger has lost what this process knows of it.
        name: what this centre is called among several.
    """

    def __init__(
        self,
        database: Database,
        journal: Journal,
        *,
        clock: Clock,
        is_valid: Callable[[str], bool],
        check: Callable[[Tx], Awaitable[None]] | None = None,
        name: str = "",
    ) -> None:
        self._database = database
        self._journal = journal
        self._clock = clock
        self._is_valid = is_valid
        self._check, self._name = check, name
        self._entering = asyncio.Lock()
        self._by_id: dict[str, Edge] = {}
        self._producers: dict[str, int] = {}

    async def follow_ledger(self) -> None:
        """Read which edges there are, how others have them stand, what was decided."""
        async with self._database.reading() as tx:
            retired = await store.retired_edges(tx)
            rows = await store.list_edges(tx)
            counted = await counts_by.read(tx)
            centres = await store.centres_of_edges(tx)
        for row in rows:
            is_new = row.edge not in self._by_id
            edge = self._by_id.setdefault(row.edge, Edge(row))
            edge.is_retired, edge.at = row.id in retired, centres.get(row.id, "")
            if edge.life is not None:
                continue
            if row.seen_ms != edge.row.seen_ms or (is_new and self._is_fresh(row)):
                edge.is_elsewhere, edge.heard_s = True, now_s()
            elif now_s() - edge.heard_s > SILENT_S:
                edge.is_elsewhere = False
            edge.row, edge.generations = row, counted.get(row.edge, {})

    def _is_fresh(self, row: EdgeRow) -> bool:
        """Say whether an edge that we see for the first time may be with others."""
        age_ms = self._clock.now_ms() - row.seen_ms
        return self._database.others_write and age_ms < SILENT_S * 1_000

    def all(self) -> list[Edge]:
        """Return every edge that ever came, in the order in which they did."""
        return list(self._by_id.values())

    # --- what the door calls

    async def enter(self, hello: EdgeHello, credential: str) -> Edge:
        """Let an edge in, under the credential that it came with.

        Raises:
            WireError: it is refused; the text says why.
        """
        async with self._entering:
            try:
                return await self._enter(hello, credential)
            except WireError:
                if hello.edge in self._by_id:
                    self._by_id[hello.edge].refusals += 1
                raise

    async def _enter(self, hello: EdgeHello, credential: str) -> Edge:
        now_ms = self._clock.now_ms()
        speaks = await self._learn(hello.edge)
        edge = self._by_id.get(hello.edge)
        if edge is None:
            edge = await self._add(hello, credential, now_ms)
        row, said_s = edge.row, now_s()
        if edge.is_retired:
            raise WireError(
                "retired",
                f"edge {row.name} was retired here; `meterline edges adopt {row.name}`"
                " at the centre takes it in again",
            )
        if row.credential not in ("", credential) and self._is_valid(row.credential):
            raise WireError(
                "unauthorized",
                f"edge {row.name} comes with {credential}, and before with"
                f" {row.credential}, which still holds: revoke that one first",
            )
        is_other = edge.life == speaks != hello.life
        is_there = edge.is_elsewhere and speaks not in (NOBODY, hello.life)
        if (is_other or is_there) and said_s - edge.heard_s < SILENT_S:
            edge.copy_ms = now_ms
            raise WireError("duplicate_edge", f"edge {row.name}: {COPY}")
        edge.life, edge.heard_s, edge.copy_ms = hello.life, said_s, None
        edge.is_elsewhere, edge.tells = False, hello.tells
        # Of which workers it speaks is looked up anew: some may have gone over.
        self._producers = {p: of for p, of in self._producers.items() if of != row.id}
        await self._store(
            edge,
            speaks=hello.life,
            name=hello.name,
            credential=credential,
            program=hello.program,
            seen_ms=now_ms,
            skew_ms=hello.at_ms - now_ms,
            forwards=hello.forward,
        )
        return edge

    async def _learn(self, edge_id: str) -> str:
        """Read how an edge stands, as others may know more; return who speaks for it."""
        async with self._database.reading() as tx:
            row = await store.find_edge(tx, edge_id)
            if row is None:
                return NOBODY
            speaks = await store.speaks_for(tx, row.id)
            retired = await store.retired_edges(tx)
        edge = self._by_id.setdefault(edge_id, Edge(row))
        edge.row, edge.is_retired = row, row.id in retired
        return speaks

    async def _add(self, hello: EdgeHello, credential: str, now_ms: int) -> Edge:
        if len(self._by_id) >= EDGES_MAX:
            raise WireError("not_ready", f"there are {EDGES_MAX} edges already")
        row = new_row(hello, credential, now_ms=now_ms)
        async with self._database.transaction() as tx:
            row = row._replace(id=await store.add_edge(tx, row))
        return self._by_id.setdefault(hello.edge, Edge(row))

    async def resume(self, edge: Edge, resume: Resume) -> None:
        """Make sure that an edge's ledger is the one that it was.

        Raises:
            WireError: it is not.
        """
        row, last_batch = edge.row, resume.last_batch
        if row.ahead > last_batch or resume.mark != row.mark:
            how = not_the_same(row, last_batch=last_batch)
            await self._refuse(edge, "not_the_same", how)
        elif row.trouble:
            await self._store(edge, trouble="")

    async def _refuse(self, edge: Edge, code: str, how: str) -> NoReturn:
        edge.refusals += 1
        if edge.row.trouble != how:
            await self._store(edge, trouble=how)
        raise WireError(code, f"edge {edge.row.name}: {how}")

    async def ask_for_all(
        self, edge: Edge, gap: SequenceGap, *, sent_from: int
    ) -> None:
        """Have an edge send all again: of what is here of it, the mark is wrong.

        Args:
            sent_from: behind which batch it was to send in this connection.

        Raises:
            WireError: that was all of it.
        """
        if sent_from:
            await self._store(edge, batch=0)
            return
        how = f"{gap}, and it was to send all that it has: run `meterline verify` there"
        await self._refuse(edge, "gap", how)

    async def leave(self, edge: Edge, life: str) -> None:
        """Note that a connection has ended, and how the edge stands now."""
        if edge.life == life:
            try:
                with contextlib.suppress(WireError):  # it is connected elsewhere
                    await self._store(edge, speaks=NOBODY)
            finally:
                if edge.life == life:
                    edge.life = None

    def check(self, edge: Edge, life: str, credential: str) -> None:
        """Make sure that an edge may still be here.

        Raises:
            WireError: its credential was revoked, it was retired, or it has another
                connection by now.
        """
        if edge.is_retired:
            raise WireError("retired", f"edge {edge.row.name} was retired here")
        if not self._is_valid(credential):
            raise WireError("unauthorized", f"{credential} was revoked")
        if edge.life != life:
            raise WireError("duplicate_edge", "a newer connection speaks for this edge")

    async def claim(self, edge: Edge, producer: str, *, begins: int = 1) -> None:
        """Note that a producer is an edge's; that of a retired one goes over.

        Args:
            begins: from which number on the edge has it.

        Raises:
            WireError: it is another edge's, or of this host.
        """
        if self._producers.get(producer) == edge.row.id:
            return
        async with self._database.transaction() as tx:
            owner = await claimed(tx, producer, edge_id=edge.row.id, begins=begins)
        if owner is None or owner != edge.row.id:
            told = whose(producer, owner, self.all())
            edge.crossed = now_s(), told
            raise WireError("duplicate_producer", told)
        if len(self._producers) >= PRODUCERS_CACHED_MAX:
            self._producers.clear()
        self._producers[producer] = owner

    async def ahead(self, edge: Edge, ahead: Ahead, *, life: str) -> None:
        """Note up to which batch something is about to come, before it does.

        Raises:
            WireError: somebody else speaks for the edge by now.
        """
        if edge.life != life:
            raise WireError("duplicate_edge", "a newer connection speaks for this edge")
        if ahead.batch > edge.row.ahead:
            await self._store(edge, ahead=ahead.batch, mark=ahead.mark)

    async def beat(self, edge: Edge, beat: Heartbeat) -> None:
        """Take note of how an edge stands."""
        now_ms, at_s = self._clock.now_ms(), now_s()
        edge.heard_s, edge.behind, edge.missing = at_s, beat.behind, beat.missing
        edge.lost, edge.held, edge.head = beat.lost, beat.held, beat.head
        if edge.generations.keys() != set(beat.generations):
            await counts_by.note(self._database, edge, beat.generations)
        edge.row = edge.row._replace(
            batch=min(beat.batch, edge.row.ahead),
            # What has not been yet, by our clock, is not over.
            low_ms=min(beat.low_ms, now_ms),
            seen_ms=now_ms,
            skew_ms=beat.at_ms - now_ms,
        )
        if at_s - edge.stored_s >= STORED_EVERY_S:
            await self._store(edge)

    async def _store(
        self, edge: Edge, *, speaks: str | None = None, **changes: Any
    ) -> None:
        """Change how an edge stands, here and on disk, with what it said last.

        One after the other, in the row as it is: nothing decided meanwhile is undone.

        Args:
            speaks: the process that speaks for it from now on, where that changes.

        Raises:
            WireError: another process speaks for the edge by now.
            LedgerWentBack: what was acked is gone.
        """
        async with self._database.transaction() as tx:
            if self._check is not None:
                await self._check(tx)
            is_first_word = speaks == edge.life
            if not is_first_word and edge.life != await store.speaks_for(
                tx, edge.row.id
            ):
                raise WireError(
                    "duplicate_edge", "a newer connection speaks for this edge"
                )
            if speaks is not None:
                await store.note_speaks(tx, edge.row.id, speaks, at=self._name)
            before = await store.find_edge(tx, edge.row.edge)
            assert before is not None, "it is never deleted"
            said = {name: getattr(edge.row, name) for name in SAID}
            row = before._replace(**{**said, **changes})
            if speaks is None and row.seen_ms == before.seen_ms:
                # Others see by it that the edge is here; a rehearsal's clock may stand.
                row = row._replace(seen_ms=row.seen_ms + 1)
            await store.update_edge(tx, row._replace(batch=min(row.batch, row.ahead)))
        # What it said while this was written is newer.
        said = {name: getattr(edge.row, name) for name in SAID if name not in changes}
        edge.row = row._replace(**said)
        edge.stored_s = now_s()

    # --- what people decide

    def named(self, name: str) -> Edge:
        """Return the edge with a name, or whose id begins so.

        Raises:
            UnknownEdge: there is none, or more than one.
        """
        return named(self.all(), name)

    async def adopt(self, name: str, *, author: str, reason: str) -> Edge:
        """Take the ledger that comes as an edge next for what it is.

        It sends all that it has; what is here already does not count again.

        Raises:
            UnknownEdge: there is none, or more than one.
        """
        edge = self.named(name)
        await self._decide(edge, "adopt", author=author, reason=reason)
        edge.is_retired = False
        return edge

    async def retire(self, name: str, *, author: str, reason: str) -> Edge:
        """Note that an edge does not come back: it holds up no close; as ``adopt``."""
        edge = self.named(name)
        if not edge.is_retired:
            await self._decide(edge, "retire", author=author, reason=reason)
            edge.is_retired = True
        return edge

    async def _decide(
        self, edge: Edge, decision: Decided, *, author: str, reason: str
    ) -> None:
        async with self._database.transaction() as tx:
            who, now_ms = {"author": author, "reason": reason}, self._clock.now_ms()
            decision_id = await store.add_decision(
                tx, edge.row.id, decision, decided_ms=now_ms, **who
            )
            await self._journal.link(tx, "edge_decisions", decision_id)
            known = await store.find_edge(tx, edge.row.edge)
            assert known is not None, "it is never deleted"
            row = known._replace(trouble="")
            if decision == "adopt":
                row = row._replace(batch=0, ahead=0, mark=b"", credential="")
            else:  # nobody else has what it announced of its usage
                await expect_no_more(tx, row.id, app=OWN_APP)
            await store.update_edge(tx, row)
            # Whoever is connected, here or elsewhere, says hello again.
            await store.note_speaks(tx, edge.row.id, NOBODY)
            edge.row = row
            edge.life = None

    # --- what others ask

    def behind(self, *, before_ms: int) -> tuple[tuple[str, str], ...]:
        """Return which edges may hold events from before a time: names, and in words."""
        now_ms = self._clock.now_ms()
        return tuple(
            (edge.row.name, edge.behind_in_words(before_ms, now_ms=now_ms))
            for edge in self.all()
            if not edge.is_retired and edge.row.low_ms < before_ms
        )

    def problems(self) -> Iterator[Found]:
        """Yield what a person should look at."""
        for edge in self.all():
            if not edge.is_retired:
                yield from edge.problems(now_ms=self._clock.now_ms())
