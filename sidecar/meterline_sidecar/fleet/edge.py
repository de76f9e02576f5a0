"""One edge as its centre knows it: how it stands, and what of that is wrong, in words."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from meterline.edge_wire import EdgeHello
from meterline_sidecar.clock import MINUTE_MS, format_time_ms, lasting
from meterline_sidecar.errors import MeterlineError
from meterline_sidecar.fleet.asking import Asking
from meterline_sidecar.problems.catalogue import found
from meterline_sidecar.problems.problem import Found, n_of, such_as
from meterline_sidecar.store.fleet import EdgeRow

ALARM_MS: Final = 60_000
"""An edge that was not heard of for so long is a problem."""
SKEW_MS_MAX: Final = 5_000
CROSSED_S: Final = 60.0  # it tries again within 15 s
COPY_MS: Final = 10 * MINUTE_MS  # for so long a second host is told of
COPY: Final = (
    "a second host speaks as this edge while the first is connected; if its state"
    " directory was copied, give the copy an empty one"
)


class UnknownEdge(MeterlineError):
    """No edge is called so, or several are."""


@dataclass(slots=True)
class Edge:
    """An edge, as it stands now."""

    row: EdgeRow
    is_retired: bool = False
    tells: bool | None = None
    """Whether it tells events that it is asked for; ``None``: it is too old to."""
    asking: Asking | None = None
    """Asks it; ``None`` while it is not connected here, and at the very beginning."""
    life: str | None = None
    """Of the process that is connected; ``None`` while none is."""
    behind: int = 0
    """How many of its batches are not here, as it said last."""
    missing: tuple[str, ...] = ()
    """In words: what it waits for itself."""
    generations: dict[str, int] = field(default_factory=dict[str, int])
    """By which countings all of its events are rolled up that there were, and up to
    which event of this ledger that was here when it said so."""
    lost: int = 0
    """How many events of its workers were lost or refused, as it said last."""
    held: int = 0
    """How many events wait there for a decision about their time."""
    head: bytes = b""
    """The newest mac of its chain."""
    filed_ms: int = 0
    """When the last of its batches was stored there that is in a file; 0: none is."""
    is_elsewhere: bool = False
    """Whether it is connected to another centre of this ledger."""
    at: str = ""
    """What that one is called; empty: it is too old to have said so."""
    crossed: tuple[float, str] = (0.0, "")
    """When it last spoke for a worker that is not its own, and what it was told then."""
    copy_ms: int | None = None
    """When a second host last spoke as this edge."""
    frames: int = 0
    """Frames that came of it since the start; ``events`` and ``refusals`` likewise."""
    events: int = 0
    """By their numbers: what is sent again does not count again."""
    refusals: int = 0
    heard_s: float = 0.0
    stored_s: float = 0.0

    @property
    def rolls_up(self) -> bool:
        """Whether it sends what its events come to, and keeps them."""
        return self.row.forwards == "usage"

    @property
    def is_connected(self) -> bool:
        """Whether it is connected, here or to another centre."""
        return self.life is not None or self.is_elsewhere

    @property
    def refusal(self) -> str:
        """Why it is refused; empty where it is not."""
        at_s, told = self.crossed
        is_new = now_s() - at_s < CROSSED_S
        return self.row.trouble or (told if is_new else "")

    def behind_in_words(self, before_ms: int, *, now_ms: int) -> str:
        """Say that it may hold events from before a time, and how it stands."""
        how = ", ".join(self._how(now_ms))
        return (
            f"edge {self.row.name} has not said that all of its events from before"
            f" {format_time_ms(before_ms)} are here{f' ({how})' if how else ''}"
        )

    def _how(self, now_ms: int) -> Iterator[str]:
        if self.refusal:
            yield f"it is refused: {self.refusal}"
        elif not self.is_connected:
            yield f"silent for {lasting(max(0, now_ms - self.row.seen_ms))}"
        elif self.behind:
            yield f"{n_of(self.behind, 'batch')} on the way"
        yield from self.missing

    def why_not_asked(self, *, now_ms: int) -> str | None:
        """Say why it cannot be asked from here for its events; ``None``: it can."""
        if self.life is None:
            away = lasting(max(0, now_ms - self.row.seen_ms))
            since = f"it is away since {format_time_ms(self.row.seen_ms)}, for {away}"
            return f"{since}, and was retired" if self.is_retired else since
        if self.tells is None:
            return f"its Meterline ({self.row.program}) is too old to be asked: upgrade"
        if not self.tells:
            return "it tells no events: `centre.tells_events` is false there"
        return None if self.asking is not None else "it has just connected: ask again"

    def problems(self, *, now_ms: int) -> Iterator[Found]:
        """Yield what a person should look at."""
        row = self.row
        if self.refusal:
            yield found("edge_refused", f"edge {row.name}: {self.refusal}")
        elif self.copy_ms is not None and now_ms - self.copy_ms < COPY_MS:
            yield found("edge_refused", f"edge {row.name}: {COPY}")
        elif not self.is_connected and now_ms - row.seen_ms > ALARM_MS:
            silent = lasting(now_ms - row.seen_ms)
            yield found("edge_silent", f"edge {row.name}: silent for {silent}")
        if self.rolls_up and self.lost:
            lost = n_of(self.lost, "event")
            yield found("events_lost", f"edge {row.name}: {lost} lost or refused there")
        if self.rolls_up and self.held:
            text = f"edge {row.name}: {n_of(self.held, 'event')} held; decide there"
            yield found("events_held", text)
        if self.is_connected and abs(row.skew_ms) > SKEW_MS_MAX:
            way = "ahead of" if row.skew_ms > 0 else "behind"
            by = lasting(abs(row.skew_ms))
            yield found(
                "edge_clock", f"the clock of edge {row.name} is {by} {way} ours"
            )


def new_row(hello: EdgeHello, credential: str, *, now_ms: int) -> EdgeRow:
    """Return the row of an edge that comes for the first time."""
    return EdgeRow(
        id=0,
        edge=hello.edge,
        name=hello.name,
        credential=credential,
        program=hello.program,
        first_ms=now_ms,
        seen_ms=now_ms,
        batch=0,
        ahead=0,
        mark=b"",
        low_ms=0,
        skew_ms=hello.at_ms - now_ms,
        trouble="",
        forwards=hello.forward,
    )


def named(edges: Sequence[Edge], name: str) -> Edge:
    """Return the edge with a name, or whose id begins so.

    Raises:
        UnknownEdge: there is none, or more than one.
    """
    among = [e for e in edges if e.row.name == name]
    among = [e for e in among if not e.is_retired] or among
    among = among or [e for e in edges if e.row.edge.startswith(name)]
    if len(among) == 1:
        return among[0]
    if not among:
        known = such_as([e.row.name for e in edges], n_all=len(edges))
        raise UnknownEdge(f"no edge is called {name!r}; there are {known or 'none'}")
    ids = ", ".join(e.row.edge[:8] for e in among)
    raise UnknownEdge(f"{n_of(len(among), 'edge')} are called {name}: say which, {ids}")


def not_the_same(row: EdgeRow, *, last_batch: int) -> str:
    """Say how a ledger that comes as an edge is not the one that it was, and what to do.

    Args:
        last_batch: its newest.
    """
    if row.ahead > last_batch:
        how = (
            f"its ledger ends at batch {last_batch}, and {row.ahead} of its batches"
            " were sent: an old backup was restored there"
        )
    else:
        how = (
            f"its batch {row.ahead} is not the one that was sent: an old backup was"
            " restored there, or a copy of it is running"
        )
    return (
        f"{how}. Of a copy, stop it and empty its state directory; otherwise `meterline"
        f" edges adopt {row.name} --reason ...` at the centre takes it in: it sends all"
        " that it has, and nothing counts twice"
    )


def whose(producer: str, owner: int | None, edges: Sequence[Edge]) -> str:
    """Say whose a producer is, and what to do about it.

    Args:
        owner: the id of its edge; ``None``: it is this host's.
    """
    copied = (
        "If a spool, or a whole state directory, was copied from there, stop the copy"
        " and empty its state directory"
    )
    name = next((e.row.name for e in edges if e.row.id == owner), None)
    if name is None:
        return (
            f"producer {producer} is this host's: nobody else speaks for it. {copied}"
        )
    return (
        f"producer {producer} is another edge's, {name}: one at a time speaks for it."
        f" {copied}. If the disk of {name} is lost, or the one here was lost and is"
        f" found again: stop {name} in order, if it is there, so that it sends all that"
        f" it has, and run `meterline edges retire {name} --reason ...` at the centre;"
        " then this one goes on by itself"
    )


def now_s() -> float:
    """Return the event loop's time, by which a silence is measured."""
    return asyncio.get_running_loop().time()
