"""Names that events have from who sent or recorded them: under each, one counts for ever.

A name is a source and an id in it. What comes over HTTP has one always, what an app
records where it says one. Judged in the transaction that stores the events, and stored
there with them: the first event of a name counts. Another one that says the same is a
duplicate, and one that says something else a conflict; both keep their number and are
stored with a flag that no meter counts.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace

from meterline.events import Flag, Kind
from meterline_sidecar.ledger.external import name_mac
from meterline_sidecar.store.edge import external as store
from meterline_sidecar.store.edge.events import EventRow
from meterline_sidecar.store.port import Tx

SOURCES_MAX: Final = 10_000
DEFAULT_SOURCE: Final = "default"  # as over HTTP; of an app without a name
NOT_LOOKED_UP: Final = -1

HELD: Final = int(Flag.HELD)  # arithmetic on enums costs ten times as much
NAMED: Final = int(Flag.NAMED)
DUPLICATE: Final = int(Flag.DUPLICATE)
CONFLICT: Final = int(Flag.CONFLICT)
BAD_ID: Final = int(Flag.BAD_ID)
USE: Final = int(Kind.USE)


class Name(NamedTuple):
    """What its sender calls an event."""

    source: str
    external_id: str


class Named(msgspec.Struct, frozen=True, gc=False):
    """The name of an event that waits to be stored."""

    place: int
    """Which of the events that came with it."""
    name: Name
    is_timed: bool
    mac: bytes


class Known(msgspec.Struct, frozen=True, gc=False):
    """An event that is stored under a name."""

    event_id: int
    mac: bytes
    is_held: bool = False
    is_older: bool = False
    """Whether an event that was thought to be new found this one there."""


class Judged(NamedTuple):
    """Events that came together, with what became of those that have names."""

    events: list[EventRow]
    clashes: dict[int, Known]
    """Of those that do not count, by their places: the event that does."""
    n_held: int
    """How many of those were held for their time: that is no matter any more."""
    n_nameless: int
    """Events whose name could not be taken: they count as if they had none."""


class Names:
    """The names of all events, which are looked up in the ledger.

    Args:
        key: of the ledger's chain.
        others_write: whether other processes store names as well.
    """

    def __init__(self, *, key: bytes, others_write: bool = False) -> None:
        self._key = key
        self._others_write = others_write
        self.ids: dict[str, int | None] = {}
        """Those of sources; ``None`` before the first event of one is stored."""
        self.version = 0
        """How often apps have stored names: what was looked up before may be old."""
        self._added: dict[str, int] = {}
        self._is_newer = False

    async def start(self, tx: Tx) -> None:
        """Read which sources there are; nothing but this changes them from then on.

        Where others write, those that are not known are looked for again.
        """
        self.ids.update(await store.sources(tx))

    def admits(self, source: str) -> bool:
        """Say whether there is room for a source; note it."""
        if source not in self.ids:
            if len(self.ids) >= SOURCES_MAX:
                return False
            self.ids[source] = None
        return True

    def recorded(
        self,
        events: list[EventRow],
        ids: Iterable[tuple[int, str | None, str]],
        app: str,
    ) -> list[Named]:
        """Return the names of events that an app gave ids to; flag these in place.

        Args:
            ids: the places of these events, their sources, and ids.
            app: the source of those without one.
        """
        found: list[Named] = []
        for place, source, external_id in ids:
            event = events[place]
            if event.kind != USE:
                continue  # see RequestKeys
            events[place] = event = event._replace(flags=event.flags | NAMED)
            name = Name(source or app or DEFAULT_SOURCE, external_id)
            mac = name_mac(
                self._key,
                source=name.source,
                external_id=external_id,
                is_timed=False,  # who tries again does so later
                event=event,
            )
            found.append(Named(place, name, is_timed=False, mac=mac))
        return found

    async def find(self, tx: Tx, names: Collection[Name]) -> dict[Name, Known]:
        """Return what is stored under these names."""
        sources = {name.source for name in names}
        await self._learn_sources(tx, sources)
        ids = {source: self._id_of(source) for source in sources}
        of_known_sources = [
            (source_id, external_id)
            for source, external_id in names
            if (source_id := ids[source]) is not None
        ]
        if not of_known_sources:
            return {}
        found = await store.named(tx, of_known_sources)
        source_of = {source_id: source for source, source_id in ids.items()}
        return {
            Name(source_of[source_id], external_id): Known(*known)
            for (source_id, external_id), known in found.items()
        }

    async def _learn_sources(self, tx: Tx, sources: Iterable[str]) -> None:
        if self._others_write and any(self._id_of(one) is None for one in sources):
            self.ids |= await store.sources(tx)

    def _id_of(self, source: str) -> int | None:
        return self._added.get(source) or self.ids.get(source)

    async def judge(
        self,
        tx: Tx,
        events: Sequence[EventRow],
        named: Sequence[Named],
        *,
        first_id: int,
        as_of: int,
    ) -> Judged:
        """Tell those that count from those that do not, and store the names of the first.

        Args:
            first_id: of the events, as they are about to be stored.
            as_of: the version in which all of these names were free.
        """
        if not self._others_write and as_of == self.version and not self._is_newer:
            # Who has looked them up has each once, and room for their sources.
            await self._add(tx, named, first_id)
            return Judged(list(events), {}, 0, 0)
        known = await self.find(tx, {one.name for one in named})
        judged = Judged(list(events), {}, 0, 0)
        new: list[Named] = []
        n_held = n_nameless = 0
        for one in named:
            row = judged.events[one.place]
            before = known.get(one.name)
            if before is not None:
                judged.clashes[one.place] = replace(before, is_older=True)
                why = DUPLICATE if before.mac == one.mac else CONFLICT
                n_held += row.flags & HELD != 0
                flags = row.flags & ~HELD | why
            elif self.admits(one.name.source):
                known[one.name] = Known(first_id + one.place, one.mac)
                new.append(one)
                continue
            else:
                n_nameless += 1
                flags = row.flags & ~NAMED | BAD_ID
            judged.events[one.place] = row._replace(flags=flags)
        await self._add(tx, new, first_id)
        if as_of == NOT_LOOKED_UP:
            self._is_newer = self._is_newer or bool(new)
            # Whoever sends over HTTP is told of conflicts, and notes them then.
            conflicts = [
                before.event_id
                for place, before in judged.clashes.items()
                if judged.events[place].flags & CONFLICT
            ]
            await store.note_conflicts(tx, conflicts)
        return judged._replace(n_held=n_held, n_nameless=n_nameless)

    async def _add(self, tx: Tx, new: Sequence[Named], first_id: int) -> None:
        sources = {one.name.source for one in new}
        unknown = sorted(source for source in sources if self._id_of(source) is None)
        if unknown:
            self._added |= await store.add_sources(tx, unknown)
        ids = {source: self._id_of(source) for source in sources}
        await store.add_names(
            tx,
            [
                (
                    first_id + one.place,
                    ids[one.name.source],
                    one.name.external_id,
                    int(one.is_timed),  # a truth takes twice as long to bind
                    one.mac,
                )
                for one in new
            ],
        )

    def end(self, *, is_committed: bool) -> None:
        """Note whether what was judged since the last time is stored."""
        if is_committed:
            self.ids |= self._added
            self.version += self._is_newer
        self._added, self._is_newer = {}, False
