import asyncio
import logging
import struct

import msgspec
import pytest

from meterline.events import (
    PARTS_MAX,
    PROPERTIES_MAX,
    PROPERTY_CHARS_MAX,
    PROPERTY_NAME_CHARS_MAX,
)
from meterline.wire import (
    FRAME_BYTES_MAX,
    RECORDS_MAX,
    VERSIONS_READ,
    Ack,
    Batch,
    Bye,
    Lost,
    Refusal,
)
from meterline_sidecar.errors import DiskFull
from tests.integration.conftest import Sidecar
from tests.producer import (
    NOON_MS,
    PRODUCER,
    WITH_PROPERTIES,
    Connection,
    batch,
    event,
    records,
)


async def counts(sidecar: Sidecar) -> tuple[int, ...]:
    async with sidecar.database.reading() as tx:
        row = await tx.fetch_one(
            "SELECT recorded_seq, last_seq, ingested, refused, lost, duplicates,"
            " (SELECT count(*) FROM events) FROM producers"
        )
    assert row is not None
    return row


async def test_a_batch_is_on_disk_when_it_is_acked(sidecar: Sidecar) -> None:
    async with Connection(sidecar.socket) as app:
        assert await app.hello() == 0

        acked = await app.ship(batch(event(), event()))

        assert acked == 2
        assert await counts(sidecar) == (2, 2, 2, 0, 0, 0, 2)


async def test_a_batch_sent_twice_is_counted_once(sidecar: Sidecar) -> None:
    async with Connection(sidecar.socket) as app:
        await app.hello()
        await app.ship(batch(event(), event()))

        acked = await app.ship(batch(event(), event(), event()))

        assert acked == 3
        assert await counts(sidecar) == (3, 3, 3, 0, 0, 2, 3)


async def test_a_producer_that_comes_back_is_told_where_to_go_on(
    sidecar: Sidecar,
) -> None:
    async with Connection(sidecar.socket) as app:
        await app.hello()
        await app.ship(batch(event(), event()))

    async with Connection(sidecar.socket) as app:
        assert await app.hello() == 2


async def test_a_gap_is_refused_and_the_resume_number_is_given(
    sidecar: Sidecar,
) -> None:
    async with Connection(sidecar.socket) as app:
        await app.hello()
        await app.ship(batch(event()))

        await app.send(batch(event(), first_seq=3))

        refusal = await app.receive()
        assert isinstance(refusal, Refusal)
        assert (refusal.code, refusal.resume_seq) == ("gap", 2)
        assert await app.receive() is None
    assert await counts(sidecar) == (1, 1, 1, 0, 0, 0, 1)
    assert sidecar.receiver.refusals == {"gap": 1}


async def test_lost_numbers_are_counted_and_the_sequence_goes_on(
    sidecar: Sidecar,
) -> None:
    async with Connection(sidecar.socket) as app:
        await app.hello()
        await app.ship(Lost(1, 7, "spool full"))
        await app.ship(batch(event(), first_seq=8))
        assert await app.ship(Bye(8)) == 8

    assert await counts(sidecar) == (8, 8, 1, 0, 7, 0, 1)


def bad_payloads() -> dict[str, object]:
    plain: list[object] = [1, 0, "s", "GET", "/x", 200, 1, 2, 3, 0]
    surrogate = b"\x9a\x01\x00\xa3\xed\xa0\x80\xa3GET\xa2/x\xcc\xc8\x01\x02\x03\x00"
    whole = [*plain, {"tokens": 5}]
    many = {f"p{i}": "x" for i in range(PROPERTIES_MAX + 1)}
    return {
        "a property that is no text": [*whole, {"model": 5}],
        "an empty property": [*whole, {"model": ""}],
        "a long property": [*whole, {"model": "x" * (PROPERTY_CHARS_MAX + 1)}],
        "a name that is none": [*whole, {"Model": "x"}],
        "a name with a line's end": [*whole, {"model\n": "x"}],
        "a name without a letter": [*whole, {"": "x"}],
        "a long name": [*whole, {"m" * (PROPERTY_NAME_CHARS_MAX + 1): "x"}],
        "too many properties": [*whole, many],
        "too many parts": [*whole, None, [["tokens", 0, {}]] * (PARTS_MAX + 1)],
        "a part that is none": [*whole, None, [["tokens", -1, {"model": "x"}]]],
        "a part of nothing": [*plain, None, None, [["tokens", 5, {"model": "x"}]]],
        "a part of something else": [*whole, None, [["words", 0, {"model": "x"}]]],
        "a part above its total": [*whole, None, [["tokens", 6, {"model": "x"}]]],
        "parts above their total": [*whole, None, [["tokens", 3, {"model": "x"}]] * 2],
        "NaN": [*plain, {"tokens": float("nan")}],
        "negative": [*plain, {"tokens": -1}],
        "over 2^63-1": [*plain, {"tokens": 2**63}],
        "a bool": [*plain, {"tokens": True}],
        "a text": [*plain, {"tokens": "12"}],
        "a float": [*plain, {"tokens": 1.5}],
        "a lone surrogate": surrogate,
        "a long subject": [1, 0, "s" * 10_000, "GET", "/x", 200, 1, 2, 3, 0],
        "not an event": {"hello": "world"},
        "not msgpack": b"\xc1\xc1",
        "nested for ever": b"\x91" * 10_000,
    }


@pytest.mark.parametrize("name", sorted(bad_payloads()))
async def test_a_bad_event_is_refused_alone(sidecar: Sidecar, name: str) -> None:
    async with Connection(sidecar.socket) as app:
        await app.hello()

        acked = await app.ship(batch(event(), bad_payloads()[name], event()))

        assert acked == 3
    assert await counts(sidecar) == (3, 3, 2, 1, 0, 0, 2)
    async with sidecar.database.reading() as tx:
        row = await tx.fetch_one("SELECT first_seq, reason, payload FROM losses")
    assert row is not None
    assert row[0] == 2
    assert row[1].startswith("refused: ")
    assert row[2]


async def test_a_flipped_bit_in_a_record_is_refused_alone(sidecar: Sidecar) -> None:
    damaged = bytearray(records(event(), event()))
    damaged[len(damaged) // 2 + 20] ^= 1
    async with Connection(sidecar.socket) as app:
        await app.hello()
        await app.ship(Batch(1, 2, bytes(damaged)))

    assert await counts(sidecar) == (2, 2, 1, 1, 0, 0, 1)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (struct.pack(">I", FRAME_BYTES_MAX + 1), "frame_too_long"),
        (struct.pack(">I", 2**32 - 1), "frame_too_long"),
        (struct.pack(">I", 3) + b"\xc1\xc1\xc1", "malformed"),
        (struct.pack(">I", 0), "malformed"),
        (struct.pack(">I", 5000) + b"\x91" * 5000, "malformed"),
    ],
)
async def test_bytes_that_are_no_frame_are_refused_with_a_reason(
    sidecar: Sidecar, raw: bytes, code: str
) -> None:
    async with Connection(sidecar.socket) as app:
        await app.hello()
        await app.ship(batch(event()))

        await app.send_bytes(raw)

        refusal = await app.receive()
        assert isinstance(refusal, Refusal)
        assert refusal.code == code
        assert refusal.message
        assert await app.receive() is None
    assert await counts(sidecar) == (1, 1, 1, 0, 0, 0, 1)
    assert sidecar.receiver.refusals == {code: 1}


async def test_records_that_cannot_be_told_apart_change_nothing(
    sidecar: Sidecar,
) -> None:
    good = batch(event(), event())
    async with Connection(sidecar.socket) as app:
        await app.hello()
        await app.send(Batch(1, 2, good.records[:-3]))

        refusal = await app.receive()

    assert isinstance(refusal, Refusal)
    assert refusal.code == "malformed"
    assert await counts(sidecar) == (0, 0, 0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    "hello",
    [
        ["hello", 1, "a" * 32, "app", "host", 2**64 - 1, 1, 0, "file"],
        ["hello", 1, "a" * 32, "app", "host", 1, 2**63, 0, "file"],
        ["hello", 1, "a" * 32, "app", "host", 1, 1, 2**53 + 1, "file"],
        b"\x99\xa5hello\x01\xd9\x20" + b"\xff" * 32 + b"\xa1a\xa1h\x01\x01\x00\xa4file",
    ],
    ids=["pid", "start", "count", "no UTF-8"],
)
async def test_a_hello_that_nobody_could_mean_is_refused(
    sidecar: Sidecar, hello: object
) -> None:
    body = hello if isinstance(hello, bytes) else msgspec.msgpack.encode(hello)
    async with Connection(sidecar.socket) as app:
        await app.send_bytes(struct.pack(">I", len(body)) + body)

        refusal = await app.receive()

    assert isinstance(refusal, Refusal)
    assert refusal.code == "malformed"


async def test_a_frame_of_more_records_than_an_app_sends_is_refused(
    sidecar: Sidecar,
) -> None:
    """Each of them is a loss with its reason: 80,000 from one frame."""
    tiny = [b"\x01"] * (RECORDS_MAX + 1)
    async with Connection(sidecar.socket) as app:
        await app.hello()
        assert await app.ship(batch(*tiny[1:])) == RECORDS_MAX
        await app.send(batch(*tiny, first_seq=RECORDS_MAX + 1))

        refusal = await app.receive()

    assert isinstance(refusal, Refusal)
    assert f"more than {RECORDS_MAX} records" in refusal.message
    assert (await counts(sidecar))[1:4] == (RECORDS_MAX, 0, RECORDS_MAX)


@pytest.mark.parametrize("version", sorted(VERSIONS_READ))
async def test_what_an_older_app_speaks_is_understood(
    sidecar: Sidecar, version: int
) -> None:
    async with Connection(sidecar.socket) as app:
        assert await app.hello(version=version) == 0

        assert await app.ship(batch(event())) == 1


async def test_properties_are_stored_in_one_form(sidecar: Sidecar) -> None:
    fields = [NOON_MS, 0, None, "GET", None, 200, 1, 2, 3, 0, {"tokens": 600, "n": 1}]
    backwards = {"tenant": "eu-1", "city": "K\u00f6ln"}
    parts: list[object] = [
        ["tokens", 512, {"region": "eu", "model": "large"}],
        ["n", 1, {"a": "b"}],
    ]
    async with Connection(sidecar.socket) as app:
        await app.hello()

        await app.ship(
            batch(
                fields,
                [*fields, None, None],
                [*fields, {}, list[object]()],
                [*fields, backwards],
                [*fields, None, parts],
                event(**WITH_PROPERTIES),
            )
        )

    async with sidecar.database.reading() as tx:
        found = await tx.fetch_all("SELECT properties FROM events ORDER BY id")
    assert [row[0] for row in found] == [
        None,
        None,
        None,
        '{"all":{"city":"K\u00f6ln","tenant":"eu-1"}}',
        '{"parts":[["tokens",512,{"model":"large","region":"eu"}],["n",1,{"a":"b"}]]}',
        '{"all":{"tenant":"eu-1"},'
        '"parts":[["tokens",512,{"model":"large","region":"eu"}]]}',
    ]


async def test_another_wire_version_is_refused(sidecar: Sidecar) -> None:
    async with Connection(sidecar.socket) as app:
        with pytest.raises(AssertionError, match="version"):
            await app.hello(version=99)


async def test_a_cut_frame_leaves_what_was_acked(sidecar: Sidecar) -> None:
    async with Connection(sidecar.socket) as app:
        await app.hello()
        await app.ship(batch(event()))
        await app.send_bytes(struct.pack(">I", 500) + b"half")

    async with Connection(sidecar.socket) as app:
        assert await app.hello() == 1


async def test_what_was_accepted_before_an_error_is_still_acked(
    sidecar: Sidecar,
) -> None:
    async with Connection(sidecar.socket) as app:
        await app.hello()
        await app.send(batch(event()))
        await app.send(batch(event(), first_seq=9))

        assert await app.receive() == Ack(1)
        refusal = await app.receive()

    assert isinstance(refusal, Refusal)


async def test_a_second_connection_of_a_producer_takes_over(sidecar: Sidecar) -> None:
    async with (
        Connection(sidecar.socket) as stale,
        Connection(sidecar.socket) as fresh,
    ):
        await stale.hello(PRODUCER)
        await stale.ship(batch(event()))

        assert await fresh.hello(PRODUCER) == 1
        assert await fresh.ship(batch(event(), first_seq=2)) == 2
        assert sidecar.receiver.connections == 1


@pytest.mark.parametrize("sidecar", [0.3], indirect=True)
async def test_who_takes_over_waits_for_what_is_accepted_and_not_committed(
    sidecar: Sidecar,
) -> None:
    async with (
        Connection(sidecar.socket) as stale,
        Connection(sidecar.socket) as fresh,
    ):
        await stale.hello(PRODUCER)
        await stale.ship(batch(event()))
        await stale.send(batch(event(), first_seq=2))
        while not sidecar.ingest.pending_rows:
            await asyncio.sleep(0)

        last_seq = await fresh.hello(PRODUCER)
        assert await fresh.ship(batch(event(), first_seq=last_seq + 1)) == 3

    assert last_seq == 2
    async with sidecar.database.reading() as tx:
        assert await tx.fetch_all("SELECT seq FROM events ORDER BY id") == [
            (1,),
            (2,),
            (3,),
        ]


async def test_a_full_disk_is_told_when_it_begins_and_when_it_ends(
    sidecar: Sidecar,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="meterline_sidecar.ingest.storing")

    async def refuse(*_arguments: object, **_more: object) -> None:
        raise DiskFull("no room")

    with monkeypatch.context() as full:
        full.setattr("meterline_sidecar.store.edge.events.add_batch", refuse)
        for _ in range(3):
            async with Connection(sidecar.socket) as app:
                await app.hello(recorded_seq=1)
                await app.send(batch(event()))
                assert isinstance(await app.receive(), Refusal)
            # A row of a producer may fit where their events do not.
            assert sidecar.ingest.storing.trouble == "no room"
    async with Connection(sidecar.socket) as app:
        await app.hello(recorded_seq=1)
        assert await app.ship(batch(event())) == 1
        assert sidecar.ingest.storing.trouble is None

    assert [record.getMessage() for record in caplog.records] == [
        "cannot commit, the apps keep their events: no room",
        "events are stored again",
    ]
