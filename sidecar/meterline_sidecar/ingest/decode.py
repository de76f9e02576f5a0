"""Reads a batch from the wire into rows: what is stored of an event is decided here."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, NamedTuple
from zlib import crc32

import msgspec
from msgspec import Meta
from msgspec.structs import astuple, fields, replace

from meterline.events import (
    LEFT_OUT,
    QUANTITIES_MAX,
    TIME_MS_MAX,
    Amount,
    Flag,
    Part,
    QuantityName,
    UsageEvent,
)
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
ID, SOURCE = map(UsageEvent.__struct_fields__.index, ("external_id", "source"))

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
_to_json = msgspec.json.Encoder().encode
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
    ids: list[tuple[int, str | None, str]]
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
    events: list[EventRow] = []
    losses: list[LossRow] = []
    ids: list[tuple[int, str | None, str]] = []
    # None has a possible time while ours is not known.
    possible = possible_ms(now_ms) if is_clock_right else NEVER
    split = list(split_records(records))
    n_records = len(split)
    split = split[skip:]
    seq = first_seq + skip - 1
    for (crc, hint, payload), event in zip(split, _decoded(split), strict=True):
        seq += 1
        if event is None and crc != record_crc(hint, payload):
            losses.append(LossRow(seq, seq, "damaged: wrong CRC", payload))
            continue
        try:
            arrived = astuple(_decode(payload) if event is None else event)
            events.append(_row(seq, arrived, possible, flags_kept))
            if arrived[ID] is not None:
                ids.append((len(events) - 1, arrived[SOURCE], arrived[ID]))
        except _NOT_AN_EVENT as error:
            reason = f"refused: {error}"[:REASON_CHARS_MAX]
            losses.append(LossRow(seq, seq, reason, payload))
    unattributed = [row.subject for row in events].count(None)
    flagged = [row.flags for row in events if row.flags]  # few, if any
    held = sum(flags & HELD != 0 for flags in flagged)
    bad = sum(flags & LEFT_OUT != 0 for flags in flagged)
    return Intake(events, losses, unattributed, held, bad, ids), n_records


def _decoded(split: list[tuple[int, int, bytes]]) -> Sequence[Any]:
    """Return what each record is, by one call for all, which takes half the time.

    If that one cannot, all are ``None``: then each is looked at by itself.
    """
    if split:
        crcs, hints, payloads = zip(*split, strict=True)
        if tuple(map(crc32, payloads, hints)) == crcs:
            try:
                array = _ARRAY + len(split).to_bytes(4)
                return _decode_all(b"".join((array, *payloads)))
            except _NOT_AN_EVENT:
                pass
    return [None] * len(split)


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
    return _row(seq, (*astuple(event), None), possible)


def _row(
    seq: int,
    event: tuple[Any, ...],
    possible: tuple[int, int],
    flags_kept: int = APPS_FLAGS,
) -> EventRow:
    """Return what is stored of an event, from its fields."""
    # fmt: off
    (
        time_ms, kind, subject, method, route, status, took_us, n_in, n_out, flags,
        quantities, properties, parts, _, _, usage,
    ) = event
    # fmt: on
    flags &= flags_kept
    if not possible[0] <= time_ms <= possible[1] and not flags & REPEATS:
        flags |= HELD
    # A server strips the body of these whatever the app sent.
    if method == "HEAD" or status in BODILESS_STATUSES:
        n_out = 0
    if quantities and not names_known.issuperset(quantities):
        _check_names(quantities)
    said = None
    if properties or parts:
        said = _properties(properties, parts, quantities or {})
    if flags & ROLLED_UP:
        said = rolled_up.stored(usage or "")
    # fmt: off
    # As the class itself would make it, in half the time.
    return tuple.__new__(EventRow, (  # pyright: ignore[reportUnknownMemberType] - typeshed
        seq, time_ms, kind, subject, method or "", route or "", status, took_us, n_in,
        n_out, flags, _to_json(quantities).decode() if quantities else None, said,
    ))
    # fmt: on


def _check_names(quantities: dict[str, int | str]) -> None:
    """Check the names of quantities, and know them from now on.

    Raises:
        ValueError: one cannot be the name of a quantity.
    """
    msgspec.convert(quantities, dict[QuantityName, Amount])
    if len(names_known) >= NAMES_KNOWN_MAX:
        names_known.clear()
    names_known.update(quantities)


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
