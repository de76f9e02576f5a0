"""Reads a batch from the wire into rows: what is stored of an event is decided here."""

from collections.abc import Iterable, Mapping, Sequence, Set
from itertools import chain, repeat
from typing import Annotated, Any, Final, NamedTuple
from zlib import crc32

import msgspec
from msgspec import Meta
from msgspec.structs import astuple, fields, replace

from meterline.events import LEFT_OUT, QUANTITIES_MAX, TIME_MS_MAX, Flag
from meterline.usage_event import Amount, Part, QuantityName, UsageEvent
from meterline.wire import record_crc, split_records
from meterline_sidecar.clock import DAY_MS, MINUTE_MS
from meterline_sidecar.decimals import Number, number_of, plus
from meterline_sidecar.store.edge.events import EventRow, LossRow
from meterline_sidecar.usage import rolled_up

AHEAD_MS_MAX: Final = 5 * MINUTE_MS  # as Stripe: later ones are refused there
EARLIEST_MS: Final = 1_767_225_600_000
"""2026-01-01: nothing was recorded before there was a Meterline. A clock that was never
set says 1970, or when its system was built. Later than that, late is late."""
BEHIND_MS_MAX: Final = 35 * DAY_MS  # possible all the same, for clocks of rehearsals
NEVER: Final = (1, 0)
EVER: Final = (0, TIME_MS_MAX)
"""Spans of possible times: none is, and all are."""
HELD: Final = int(Flag.HELD)  # arithmetic on enums costs ten times as much
APPS_FLAGS: Final = HELD - 1  # those from HELD on are ours alone to set
REPEATS: Final = int(Flag.DUPLICATE | Flag.CONFLICT)
ROLLED_UP: Final = int(Flag.ROLLED_UP)
EDGES_FLAGS: Final = APPS_FLAGS | REPEATS | int(Flag.REPEATED) | ROLLED_UP
"""What an edge judged of its own events is kept: only there is known what came before."""
BODILESS_STATUSES: Final = frozenset({204, 304})
REASON_CHARS_MAX: Final = 256
_NOT_AN_EVENT: Final = (msgspec.DecodeError, ValueError, RecursionError)
NAMES_KNOWN_MAX: Final = 10_000  # of quantities; of 256 bytes at most

_Id = tuple[int, str | None, str]
"""The place of an event that has an id of the app's own, its source, and the id."""
_Quantities = Annotated[dict[str, Amount], Meta(max_length=QUANTITIES_MAX)] | None
_RolledUp = Annotated[str, Meta(max_length=rolled_up.TEXT_MAX)] | None
_Arrived: Final = msgspec.defstruct(
    "_Arrived",
    [
        (at.name, at.type) if at.required else (at.name, at.type, at.default)
        for at in [
            replace(at, type=_Quantities) if at.name == "quantities" else at
            for at in fields(UsageEvent)
        ]
    ]
    + [("usage", _RolledUp, None)],
    array_like=True,
    gc=False,
)
"""A ``UsageEvent`` the names of whose quantities are not checked: that takes longer than
all the rest, and there are few names. What an edge has rolled up stands behind it."""
names_known: Final[set[str]] = set()
"""Names of quantities that were checked."""

_ARRAY: Final = b"\xdd"
"""How MessagePack begins an array whose length follows in four bytes."""
_decode = msgspec.msgpack.Decoder(_Arrived).decode
_decode_all = msgspec.msgpack.Decoder(list[_Arrived]).decode  # type: ignore[valid-type]
_to_lines = msgspec.json.Encoder().encode_lines
_to_sorted_json = msgspec.json.Encoder(order="deterministic").encode


class Intake(NamedTuple):
    """What a batch came to: every number of it is in exactly one of the lists."""

    events: list[EventRow]
    losses: list[LossRow]
    """Numbers that were refused, each with its reason and the bytes that came."""
    unattributed: int
    """Events without a subject."""
    held: int
    """Events whose time cannot be right."""
    bad_quantities: int
    """Events that the app left a quantity, property or id out of, which could not be
    taken."""
    ids: list[_Id]
    """The places of events that have an id of the app's own, its source, and the id; of
    a request, what its client called it."""


def read_records(
    records: bytes,
    *,
    first_seq: int,
    skip: int,
    now_ms: int,
    is_clock_right: bool = True,
    flags_kept: int = APPS_FLAGS,
) -> tuple[Intake, int]:
    """Return the events of a batch and how many records it held.

    A record that is damaged or is no valid event is refused alone: it becomes a
    loss with its reason, and keeps its number.

    Args:
        records: as in ``wire.Batch``.
        first_seq: the number of the first record.
        skip: how many records to pass over because they are on disk already.
        now_ms: to tell events whose time cannot be right.
        is_clock_right: whether it can be told; else all are held until it is.
        flags_kept: those that the sender may set.

    Raises:
        WireError: the records cannot be told apart; nothing of them is taken.
    """
    # None has a possible time while ours is not known.
    possible = possible_ms(now_ms) if is_clock_right else NEVER
    split = list(split_records(records))
    fresh, seq = split[skip:], first_seq + skip
    losses: list[LossRow] = []
    try:
        events, ids = _rows(seq, _decoded(fresh), possible, flags_kept)
    except _NOT_AN_EVENT:
        events, ids, losses = _one_by_one(seq, fresh, possible, flags_kept)
    unattributed = [row.subject for row in events].count(None)
    flagged = [row.flags for row in events if row.flags]  # few, if any
    held = sum(flags & HELD != 0 for flags in flagged)
    bad = sum(flags & LEFT_OUT != 0 for flags in flagged)
    return Intake(events, losses, unattributed, held, bad, ids), len(split)


def _decoded(split: Sequence[tuple[int, int, bytes]]) -> Sequence[Any]:
    """Return what records are, by one call for all, which takes half the time.

    Raises:
        ValueError: one is damaged, or is no event.
    """
    if not split:
        return []
    crcs, hints, payloads = zip(*split, strict=True)
    if tuple(map(crc32, payloads, hints)) != crcs:
        raise ValueError("wrong CRC")
    array = _ARRAY + len(split).to_bytes(4)
    return _decode_all(b"".join((array, *payloads)))


def _one_by_one(
    first_seq: int,
    split: Sequence[tuple[int, int, bytes]],
    possible: tuple[int, int],
    flags_kept: int,
) -> tuple[list[EventRow], list[_Id], list[LossRow]]:
    """Return the rows and ids of those records that are events, and the others as lost."""
    events: list[EventRow] = []
    ids: list[_Id] = []
    losses: list[LossRow] = []
    for seq, (crc, hint, payload) in enumerate(split, first_seq):
        if crc != record_crc(hint, payload):
            losses.append(LossRow(seq, seq, "damaged: wrong CRC", payload))
            continue
        try:
            rows, of_row = _rows(seq, [_decode(payload)], possible, flags_kept)
        except _NOT_AN_EVENT as error:
            reason = f"refused: {error}"[:REASON_CHARS_MAX]
            losses.append(LossRow(seq, seq, reason, payload))
        else:
            ids += [(len(events), source, own_id) for _, source, own_id in of_row]
            events += rows
    return events, ids, losses


def due_ms(time_ms: int, learned_ms: int) -> int | None:
    """Return when the time of a held event becomes possible, ``None`` for never.

    It is the same rule that it was held by: once the clock has come close enough.
    """
    return time_ms - AHEAD_MS_MAX if time_ms > learned_ms else None


def possible_ms(now_ms: int) -> tuple[int, int]:
    """Return the earliest and the latest time that an event can have by now."""
    return min(EARLIEST_MS, now_ms - BEHIND_MS_MAX), now_ms + AHEAD_MS_MAX


def to_row(seq: int, event: UsageEvent, possible: tuple[int, int]) -> EventRow:
    """Return what is stored of an event.

    Args:
        possible: the earliest and the latest time that is right; any other is held.

    Raises:
        ValueError: its parts are more than the whole.
    """
    rows, _ = _rows(seq, [_Arrived(*astuple(event))], possible)
    return rows[0]


def _rows(
    first_seq: int,
    events: Sequence[Any],
    possible: tuple[int, int],
    flags_kept: int = APPS_FLAGS,
) -> tuple[list[EventRow], list[_Id]]:
    """Return what is stored of events that follow each other, and which have an id.

    It is made column by column: a few calls for all take half the time of some for each.

    Raises:
        ValueError: one has parts that are more than the whole, or a quantity with a
            name that none can have.
    """
    if not events:
        return [], []
    n_out: Sequence[int]
    flags: Sequence[int]
    # fmt: off
    (
        times, kinds, subjects, methods, routes, statuses, took_us, n_in, n_out, flags,
        quantities, properties, parts, own_ids, sources, usages,
    ) = zip(*map(astuple, events), strict=True)
    # fmt: on
    flags = _flags(flags, times, possible, flags_kept)
    # A server strips the body of these whatever the app sent.
    if "HEAD" in methods or not BODILESS_STATUSES.isdisjoint(statuses):
        n_out = [
            0 if method == "HEAD" or status in BODILESS_STATUSES else n_bytes
            for method, status, n_bytes in zip(methods, statuses, n_out, strict=True)
        ]
    names = set(chain.from_iterable(filter(None, quantities)))
    if not names_known.issuperset(names):
        _check_names(names)
    said: Iterable[str | None] = repeat(None, len(events))
    has_usage = any(flags) and any(one & ROLLED_UP for one in set(flags))
    if has_usage or any(properties) or any(parts):
        said = map(_said, flags, quantities, properties, parts, usages)
    columns = (
        *(range(first_seq, first_seq + len(events)), times, kinds, subjects),
        *(_texts(methods), _texts(routes), statuses, took_us, n_in, n_out, flags),
        *(_as_json(quantities), said),
    )
    # As the class itself would make them, in a third of the time.
    made = map(tuple.__new__, repeat(EventRow), zip(*columns, strict=True))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType] - typeshed
    ids = [
        (place, sources[place], own_id)
        for place, own_id in enumerate(own_ids)
        if own_id is not None
    ]
    return list(made), ids


def _flags(
    flags: Sequence[int],
    times: Sequence[int],
    possible: tuple[int, int],
    flags_kept: int,
) -> Sequence[int]:
    """Return flags without those that are not the sender's, and with ours."""
    if any(flags) and any(one & ~flags_kept for one in set(flags)):
        flags = [one & flags_kept for one in flags]
    first_ms, last_ms = possible
    if first_ms <= min(times) and max(times) <= last_ms:
        return flags
    return [
        one if first_ms <= time_ms <= last_ms or one & REPEATS else one | HELD
        for one, time_ms in zip(flags, times, strict=True)
    ]


def _texts(texts: Sequence[str | None]) -> Sequence[str | None]:
    return [text or "" for text in texts] if None in texts else texts


def _as_json(
    quantities: Sequence[Mapping[str, int | str] | None],
) -> Iterable[str | None]:
    """Return quantities as they are stored; ``None`` where there are none."""
    if not any(quantities):
        return repeat(None, len(quantities))
    lines = _to_lines(quantities).decode().split("\n")[:-1]
    if all(quantities):
        return lines
    return [line if of else None for line, of in zip(lines, quantities, strict=True)]


def _check_names(names: Set[str]) -> None:
    """Check names of quantities, and know them from now on.

    Raises:
        ValueError: one cannot be the name of a quantity.
    """
    msgspec.convert(dict.fromkeys(names, 0), dict[QuantityName, Amount])
    if len(names_known) >= NAMES_KNOWN_MAX:
        names_known.clear()
    names_known.update(names)


def _said(
    flags: int,
    quantities: Mapping[str, int | str] | None,
    properties: Mapping[str, str] | None,
    parts: list[Part] | None,
    usage: str | None,
) -> str | None:
    """Return what an event says besides, as it is stored.

    Raises:
        ValueError: its parts are more than the whole, or it is no rolled-up event.
    """
    said = None
    if properties or parts:
        said = _properties(properties, parts, quantities or {})
    return rolled_up.stored(usage or "") if flags & ROLLED_UP else said


def _properties(
    properties: Mapping[str, str] | None,
    parts: list[Part] | None,
    totals: Mapping[str, int | str],
) -> str:
    """Return the properties of an event as they are stored.

    ``{"all": {"tenant": "eu-1"}, "parts": [["tokens", 512, {"model": "large"}]]}``:
    either is left out where it is empty, and names are in alphabetical order.

    Raises:
        ValueError: its parts are more than the whole.
    """
    found: dict[str, Mapping[str, str] | list[Part]] = {}
    if properties:
        found["all"] = properties
    if parts:
        sums: dict[str, Number] = {}
        for part in parts:
            before = sums.get(part.quantity, 0)
            sums[part.quantity] = plus(before, number_of(part.amount))
        for name, amount in sums.items():
            if amount > number_of(totals.get(name, -1)):
                raise ValueError(f"parts of {name} are more than its total")
        found["parts"] = parts
    return _to_sorted_json(found).decode()
