"""What an edge says of a connection that failed."""

import ssl

from meterline_sidecar.fleet.line import in_words

ONE = "[Errno 111] Connect call failed ('10.0.0.1', 8271)"
TWO = "[Errno 113] Connect call failed ('10.0.0.2', 8271)"
SIX = "[Errno 111] Connect call failed ('fd00::1', 8271, 0, 0)"


def test_each_address_is_told_the_same_in_whichever_order_they_were_tried() -> None:
    told = {
        in_words(OSError(f"Multiple exceptions: {', '.join(calls)}"))
        for calls in ((ONE, TWO), (TWO, ONE), (TWO, ONE, TWO))
    }

    assert told == {"connection refused at 10.0.0.1, no route to host at 10.0.0.2"}


def test_a_single_address_is_told_in_the_same_words() -> None:
    assert in_words(OSError(SIX)) == "connection refused at fd00::1"


def test_what_is_no_call_is_told_as_it_is() -> None:
    wrong = ssl.SSLCertVerificationError("certificate verify failed")

    assert "certificate verify failed" in in_words(wrong)
    assert in_words(TimeoutError()) == "the connection was cut"
