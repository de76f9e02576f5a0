"""What crosses the socket."""

import pytest

from meterline.wire import FRAME_BYTES_MAX, FRAME_HEADER, WireError, body_length


def test_a_frame_is_refused_by_its_length_before_any_of_it_is_read() -> None:
    assert body_length(FRAME_HEADER.pack(FRAME_BYTES_MAX)) == FRAME_BYTES_MAX

    for length in (FRAME_BYTES_MAX + 1, 2**32 - 1):
        with pytest.raises(WireError) as refused:
            body_length(FRAME_HEADER.pack(length))
        assert refused.value.code == "frame_too_long"
