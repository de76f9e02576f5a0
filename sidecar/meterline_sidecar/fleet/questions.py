"""Asks what an edge has, wherever it is connected: here, or to another centre.

Centres that share a ledger know nothing of each other but the ledger, so that is the way:
the one that is asked puts the question there, the one that the edge is connected to sees
it, asks, and puts the answer beside it. No address and no secret is needed for that, and no
session of the database. A question is there for seconds: who asked takes it away, or, if it
died, whichever centre sees it lie there.
"""

import asyncio
import secrets
import time
from collections.abc import Collection
from typing import Final, TypeVar

import msgspec

from meterline.edge_wire import AskEvents, EventsTold
from meterline_sidecar.clock import Clock
from meterline_sidecar.fleet.asking import NotTold
from meterline_sidecar.fleet.edge import Edge
from meterline_sidecar.fleet.edges import Edges
from meterline_sidecar.fleet.telling import TROUBLE_CHARS
from meterline_sidecar.store import questions as store
from meterline_sidecar.store.port import Database
from meterline_sidecar.store.questions import Question

ANSWER_S: Final = 3.0
"""How long one answer is waited for."""
LOOK_EVERY_S: Final = 0.5
"""How soon a question of another centre is seen."""
TOLD_EVERY_S: Final = 0.1
"""How soon its answer is, by who waits for it."""
LEFT_S: Final = 10.0
"""After so long nobody waits for an answer any more."""
AT_ONCE_MAX: Final = 16
"""Questions of others that are asked here at once; the rest waits for these."""

T = TypeVar("T")

_question: Final = msgspec.msgpack.Decoder(AskEvents)
_told: Final = msgspec.msgpack.Decoder(EventsTold)
_encode: Final = msgspec.msgpack.Encoder().encode


class Questions:
    """Asks edges, and answers what other centres ask of those that are connected here.

    Args:
        edges: ``None`` where there are none, and so no questions.
    """

    def __init__(
        self, database: Database, edges: Edges | None, *, clock: Clock
    ) -> None:
        self._database = database
        self._edges = edges
        self._clock = clock
        self._seen_s: dict[str, float] = {}
        """When each question that lies in the ledger was first seen here."""

    async def ask(
        self, edge: Edge, question: AskEvents, *, timeout_s: float
    ) -> EventsTold:
        """Return what an edge tells, wherever it is connected.

        Raises:
            NotTold: it tells nothing, or nothing in time.
        """
        if not edge.is_elsewhere:
            return await self._ask_here(edge, question, timeout_s=timeout_s)
        where = f"it is connected to the centre {edge.at or 'beside this one'}, which"
        name = secrets.token_hex(16)
        async with self._database.transaction() as tx:
            if not await store.add_question(tx, name, edge.row.id, _encode(question)):
                raise NotTold(f"{where} is asked too much at the moment: ask again")
        try:
            told = await self._told(name, timeout_s=timeout_s)
        finally:
            async with self._database.transaction() as tx:
                await store.drop_question(tx, name)
        if told is None:
            raise NotTold(
                f"{where} did not answer within {timeout_s:.1f} s: ask again in a"
                " moment, or ask that one by its own address"
            )
        if told.trouble:
            raise NotTold(told.trouble)
        return told

    async def _ask_here(
        self, edge: Edge, question: AskEvents, *, timeout_s: float
    ) -> EventsTold:
        why = edge.why_not_asked(now_ms=self._clock.now_ms())
        if why is not None or edge.asking is None:
            raise NotTold(why or "it is not connected any more")
        return await edge.asking.ask(question, timeout_s=timeout_s)

    async def _told(self, name: str, *, timeout_s: float) -> EventsTold | None:
        """Return what another centre was told; ``None``: nothing in time."""
        until_s = time.monotonic() + timeout_s
        while (left_s := until_s - time.monotonic()) > 0:
            await asyncio.sleep(min(left_s, TOLD_EVERY_S))
            async with self._database.reading() as tx:
                told = await store.told_of(tx, name)
            if told is not None:
                return _read(_told, told)
        return None

    async def answer(self) -> None:
        """Have edges that are connected here answer what other centres ask of them."""
        asking: dict[asyncio.Task[EventsTold | None], str] = {}
        try:
            while True:
                here = self._here()
                found = await self._waiting(here, besides=asking.values())
                for one in found[: AT_ONCE_MAX - len(asking)]:
                    work = self._answer_to(here[one.edge_id], one.asked)
                    asking[asyncio.ensure_future(work)] = one.name
                if not asking:
                    return
                # A slow edge keeps nobody from what another one tells.
                done, _ = await asyncio.wait(
                    asking,
                    timeout=LOOK_EVERY_S,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                for task in done:
                    await self._note(asking.pop(task), task.result())
        finally:
            for task in asking:
                task.cancel()

    def _here(self) -> dict[int, Edge]:
        edges = () if self._edges is None else self._edges.all()
        return {edge.row.id: edge for edge in edges if edge.life is not None}

    async def _waiting(
        self, here: Collection[int], *, besides: Collection[str]
    ) -> list[Question]:
        """Return the questions about edges of here; let those go that were left behind."""
        async with self._database.reading() as tx:
            found = await store.list_questions(tx)
        now_s = time.monotonic()
        self._seen_s = {q.name: self._seen_s.get(q.name, now_s) for q in found}
        left = [name for name, at_s in self._seen_s.items() if now_s - at_s > LEFT_S]
        if left:
            async with self._database.transaction() as tx:
                for name in left:
                    await store.drop_question(tx, name)
        return [
            one
            for one in found
            if one.edge_id in here
            and not one.is_answered
            and one.name not in left
            and one.name not in besides
        ]

    async def _answer_to(self, edge: Edge, asked: bytes) -> EventsTold | None:
        """Return what an edge tells; ``None``: it is connected elsewhere by now."""
        try:
            question = _read(_question, asked)
            return await self._ask_here(edge, question, timeout_s=ANSWER_S)
        except NotTold as error:
            if edge.life is None:
                return None
            return EventsTold(0, trouble=str(error)[:TROUBLE_CHARS])

    async def _note(self, name: str, told: EventsTold | None) -> None:
        if told is not None:
            async with self._database.transaction() as tx:
                await store.answer_question(tx, name, _encode(told))


def _read(decoder: "msgspec.msgpack.Decoder[T]", body: bytes) -> T:
    """Return what another centre wrote.

    Raises:
        NotTold: it cannot be read.
    """
    try:
        return decoder.decode(body)
    except msgspec.MsgspecError as error:
        raise NotTold(
            f"centres of this ledger do not understand each other ({error}): install the"
            " same Meterline on all"
        ) from error
