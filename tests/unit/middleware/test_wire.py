"""What crosses the socket."""

import msgspec
import pytest
from msgspec import Struct

from meterline.wire import (
    FRAME_BYTES_MAX,
    FRAME_HEADER,
    Batch,
    WireError,
    body_length,
    decode_from_app,
)


def test_a_frame_is_refused_by_its_length_before_any_of_it_is_read() -> None:
    assert body_length(FRAME_HEADER.pack(FRAME_BYTES_MAX)) == FRAME_BYTES_MAX

    for length in (FRAME_BYTES_MAX + 1, 2**32 - 1):
        with pytest.raises(WireError) as refused:
            body_length(FRAME_HEADER.pack(length))
        assert refused.value.code == "frame_too_long"


class OldBatch(Struct, frozen=True, array_like=True, tag="batch"):
    """A batch as sidecars knew it before requests that are left out were told."""

    first_seq: int
    recorded_seq: int
    records: bytes


def test_what_was_left_out_is_read_over_by_who_does_not_know_it() -> None:
    told = msgspec.msgpack.encode(Batch(1, 2, b"x", 7))
    before = msgspec.msgpack.encode(OldBatch(1, 2, b"x"))

    assert msgspec.msgpack.decode(told, type=OldBatch) == OldBatch(1, 2, b"x")
    assert decode_from_app(before) == Batch(1, 2, b"x", 0)
