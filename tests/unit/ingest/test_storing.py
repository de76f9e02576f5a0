"""Whether events can be stored, and whether some may come to see."""

from meterline_sidecar.errors import DatabaseGone
from meterline_sidecar.ingest.storing import TRY_AGAIN_S, Storing


def test_some_may_come_to_see_once_the_last_failure_is_old() -> None:
    now_s = 0.0
    storing = Storing(lambda: now_s)

    found = [storing.is_worth_a_try]
    storing.failed(DatabaseGone("it is away"))
    found.append(storing.is_worth_a_try)
    now_s = TRY_AGAIN_S
    found.append(storing.is_worth_a_try)
    storing.failed(DatabaseGone("it is a standby"))
    found.append(storing.is_worth_a_try)

    # Or a load balancer that asks would never send anybody again.
    assert found == [True, False, True, False]
    assert storing.trouble == "it is a standby"


def test_what_was_stored_ends_the_trouble() -> None:
    storing = Storing(lambda: 0.0)
    storing.failed(DatabaseGone("it is away"))

    storing.succeeded()

    assert storing.is_worth_a_try
    assert storing.trouble is None
