"""What passes between two sidecars: the only definition.

Over TLS the frames of ``wire`` pass for many producers in turn:

    edge                                 centre
    EdgeHello(version, edge, ...)   ->
                                    <-   EdgeWelcome(batch, ahead, ...)
    Resume(mark, ...)               ->
                                    <-   Ack(batch)
    Ahead(batch, mark)              ->
                                    <-   Ack(batch)       after COMMIT
    Hello(version, producer, ...)   ->
                                    <-   Welcome(last_seq)
    Batch, Lost, Bye                ->   of the producer that said hello last
                                    <-   Ack(seq)         after COMMIT
    Heartbeat(batch, low_ms, ...)   ->
                                    <-   Ack(batch)

An edge that forwards usage sends batches of a producer of its own, into which it rolls
up what came. By which meters, its centre says behind the first ack, and whenever that
changes, unasked:

                                    <-   Meters(generations)
    Epochs(producers)               ->   once, before it rolls up anything
                                    <-   Covered(producers, ...)
    Workers(producers)              ->   before it rolls up the first event of each
                                    <-   Covered(producers, ...)

Answers come in the order of what they answer. An edge numbers the batches of its own
ledger 1, 2, 3 ... without a hole, whoever recorded them. ``batch`` is up to which of
them all is on the centre's disk. Before it sends anything of later ones it says how far
it goes, with the mac of that batch: a ledger that comes back without it is another one.

Where an edge writes what it holds as files, it says so of each, in the order in which it
wrote them, behind the last one that the welcome names:

    EdgeFile(file, digest, ...)     ->
                                    <-   Ack(last_batch)  after COMMIT

Of an edge that says in its hello that it tells events, the centre may ask, unasked and
at any time behind its first heartbeat, for some of those that are in no file yet:

                                    <-   AskEvents(number, ...)
    EventsTold(number, ...)         ->
                                    <-   Ack(number)
"""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from meterline.events import Kind
from meterline.usage_event import Status
from meterline.wire import (
    FromApp,
    FromSidecar,
    ProducerId,
    Seq,
    ShortText,
    decoded,
)

EDGE_VERSION: Final = 1
EDGE_FRAMES_IN_FLIGHT_MAX: Final = 256  # sent and not yet answered
MISSING_TOLD_MAX: Final = 5  # reasons of one heartbeat
GENERATIONS_MAX: Final = 2  # countings at once: the one that is read, and one beside it
EPOCHS_MAX: Final = 1_000  # of one ledger; each is a decision of a person
EVENTS_TOLD_MAX: Final = 1_000  # in one answer
EVENTS_TOLD_BYTES: Final = 256 << 10
"""An answer is full from here on: with one more event of the largest size it is a frame."""
WORKERS_MAX: Final = 1_000  # in one question
SUBJECTS_MAX: Final = 500  # ranges of names in one question: 256 KiB at most

Mac = Annotated[bytes, Meta(max_length=64)]


class EdgeHello(Struct, frozen=True, array_like=True, tag="edge_hello"):
    """Opens a connection between two sidecars: which edge speaks."""

    version: int
    """``EDGE_VERSION`` of the edge. Read before anything else."""
    edge: ProducerId
    """One ledger: 128 random bits."""
    life: ProducerId
    """One life of the edge's process: two that live at once are two hosts."""
    name: ShortText
    """What people call the edge."""
    program: ShortText
    """The version of Meterline there."""
    at_ms: Seq
    """The edge's clock."""
    token: ShortText = ""
    """Of the scope ``edge``; empty where a certificate says who this is."""
    forward: Literal["events", "usage"] = "events"
    """What it sends: each event, or what they come to."""
    tells: bool | None = None
    """Whether it tells events that it is asked for. ``None``: it is too old to."""


class EdgeWelcome(Struct, frozen=True, array_like=True, tag="edge_welcome"):
    """Answers ``EdgeHello``: the edge's batches up to ``batch`` are on disk here."""

    batch: Seq
    ahead: Seq
    """Something of the batches up to here may be, too."""
    at_ms: Seq
    """The centre's clock."""
    version: int = EDGE_VERSION
    frames_in_flight_max: int = EDGE_FRAMES_IN_FLIGHT_MAX
    file: ShortText | None = None
    """The last file of the edge that is noted here; empty: none. ``None``: this centre
    notes none, as it is older."""


class Resume(Struct, frozen=True, array_like=True, tag="resume"):
    """What the edge's ledger has at the last batch that the centre knows of."""

    mark: bytes
    """The mac of batch ``ahead``; empty where the edge has no such batch, or for 0."""
    last_batch: Seq
    """The edge's newest."""


class Ahead(Struct, frozen=True, array_like=True, tag="ahead"):
    """What follows is of the edge's batches up to this one."""

    batch: Seq
    mark: bytes
    """The mac of that batch."""


class Heartbeat(Struct, frozen=True, array_like=True, tag="heartbeat"):
    """How an edge stands; every few seconds, and whenever it has got on."""

    batch: Seq
    """Up to here all was acked."""
    low_ms: Seq
    """Everything of the edge from before is at the centre, as far as the edge knows."""
    at_ms: Seq
    """The edge's clock."""
    behind: Seq = 0
    """How many batches were not acked yet."""
    missing: Annotated[tuple[ShortText, ...], Meta(max_length=MISSING_TOLD_MAX)] = ()
    """In words: what the edge itself is waiting for."""
    generations: Annotated[tuple[ShortText, ...], Meta(max_length=GENERATIONS_MAX)] = ()
    """By which countings of the centre all was rolled up that there was."""
    lost: Seq = 0
    """How many events of its workers were lost or refused, ever."""
    held: Seq = 0
    """How many events wait there until somebody decides whether their time is right."""
    head: bytes = b""
    """The mac of its newest batch."""


class Meters(Struct, frozen=True, array_like=True, tag="meters"):
    """By which meters an edge rolls up: the one counting that is read, or two."""

    generations: Annotated[
        tuple[tuple[ShortText, str], ...], Meta(max_length=GENERATIONS_MAX)
    ]
    """What each is called, and what its meters measure, as the centre keeps it."""


class Epochs(Struct, frozen=True, array_like=True, tag="epochs"):
    """As which producers an edge's ledger has rolled up, and how far it knows them."""

    producers: Annotated[dict[ProducerId, Seq], Meta(max_length=EPOCHS_MAX)]


class Covered(Struct, frozen=True, array_like=True, tag="covered"):
    """What is at the centre, and the ledger does not know.

    Of its own epochs; or of workers that it asks about, by other edges.
    """

    is_over: bool
    """Whether the edge must begin another epoch."""
    epochs: Annotated[dict[ProducerId, Seq], Meta(max_length=EPOCHS_MAX)] = {}
    """Up to which number these are here."""
    producers: dict[ProducerId, Seq] = {}
    """Up to which number of each worker all is rolled up in that."""
    parts: dict[ProducerId, tuple[tuple[Seq, Seq], ...]] = {}
    """Between which other numbers, both included, that is so: an edge had the worker
    meanwhile, and others had it before."""


class Workers(Struct, frozen=True, array_like=True, tag="workers"):
    """Workers whose events an edge is about to roll up: from now on they are its own.

    Whose they were before may have rolled up some of them, and be gone; or have sent them.
    """

    producers: Annotated[tuple[ProducerId, ...], Meta(max_length=WORKERS_MAX)]
    begins: dict[ProducerId, Seq] | None = None
    """From which number on the ledger has those of whom it is not the first one: what was
    before is forgotten there. ``None``: the edge is too old to say so."""


class EdgeFile(Struct, frozen=True, array_like=True, tag="edge_file"):
    """A file that the edge wrote of some of its batches, which follow on each other."""

    file: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,254}$")]
    """Its name; where it lies, both sides are told by their configuration."""
    file_bytes: Seq
    digest: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    """SHA-256 of it."""
    first_batch_id: Seq
    last_batch_id: Seq
    first_event_id: Seq
    events: Seq
    first_loss_id: Seq
    losses: Seq
    previous_mac: Mac
    """Of the batch before the first one."""
    mac: Mac
    """Of the last one."""
    first_ms: Seq
    beyond_ms: Seq
    """The span of its events that meters counted; 0 and 0 without any."""
    learned_ms: Seq
    """When the last batch was stored there."""
    written_ms: Seq


class AskEvents(Struct, frozen=True, array_like=True, tag="ask_events"):
    """Asks an edge for events of ``[start_ms, end_ms)`` that are in none of its files."""

    number: Seq
    """Of the question, within the connection."""
    start_ms: Seq
    end_ms: Seq
    file: ShortText
    """Those behind this file; empty, or one that the edge does not know: behind its
    last one."""
    after: Seq
    """Those behind this event. 0: as the file says."""
    limit: Annotated[int, Meta(ge=1, le=EVENTS_TOLD_MAX)]
    subjects: (
        Annotated[
            tuple[tuple[ShortText, ShortText], ...], Meta(max_length=SUBJECTS_MAX)
        ]
        | None
    ) = None
    """Between which names subjects are, both included; ``None``: whichever."""
    route: str | None = None
    method: str | None = None
    kind: int | None = None


class EventTold(Struct, frozen=True, array_like=True):
    """One event as the edge has it, under its number there."""

    id: Seq
    producer: ProducerId
    seq: Seq
    time_ms: Seq
    kind: Annotated[int, Meta(ge=0, le=int(max(Kind)))]
    subject: str | None
    method: str
    route: str
    status: Status
    duration_us: Seq
    bytes_in: Seq
    bytes_out: Seq
    flags: Seq
    quantities: str | None
    properties: str | None


class EventsTold(Struct, frozen=True, array_like=True, tag="events_told"):
    """Some events that a question was about. It may be none, and not the last."""

    number: Seq
    events: Annotated[tuple[EventTold, ...], Meta(max_length=EVENTS_TOLD_MAX)] = ()
    next_after: Seq | None = None
    """Behind which event to go on; ``None``: that was all."""
    trouble: ShortText = ""
    """Why nothing is told, in words."""


FromEdge = (
    EdgeHello
    | Resume
    | Ahead
    | Heartbeat
    | Epochs
    | Workers
    | EdgeFile
    | EventsTold
    | FromApp
)
FromCentre = EdgeWelcome | Meters | Covered | AskEvents | FromSidecar

_from_edge: msgspec.msgpack.Decoder[FromEdge] = msgspec.msgpack.Decoder(FromEdge)
_from_centre: msgspec.msgpack.Decoder[FromCentre] = msgspec.msgpack.Decoder(FromCentre)


def decode_from_edge(body: bytes) -> FromEdge:
    """Return what an edge sent.

    Raises:
        WireError: ``malformed`` when it is none of the frames above.
    """
    return decoded(_from_edge, body)


def decode_from_centre(body: bytes) -> FromCentre:
    """Return what a centre sent.

    Raises:
        WireError: ``malformed`` when it is none of the frames above.
    """
    return decoded(_from_centre, body)
