"""Raw events as people read them."""

from msgspec.structs import replace

from meterline_sidecar.cli.commands.events import event_line
from meterline_sidecar.web.answers.events import ShownEvent, ShownPart

EVENT = ShownEvent(
    id=6,
    event="f-1",
    time="2026-11-06T12:00:00Z",
    kind="use",
    subject="acct_1",
    customer="acme",
    method=None,
    route=None,
    status=None,
    duration_us=0,
    bytes_in=0,
    bytes_out=0,
    flags=[],
    quantities={"tokens": 600},
    source=None,
    external_id=None,
    properties={"tenant": "eu-1"},
    parts=[
        ShownPart(
            quantity="tokens", amount=512, properties={"model": "large", "region": "eu"}
        )
    ],
)


def test_properties_stand_behind_the_quantities() -> None:
    line = event_line(EVENT)

    assert line.endswith("tokens=600  tenant=eu-1, tokens 512 (model=large, region=eu)")


def test_a_line_says_that_an_event_is_not_counted() -> None:
    again = replace(EVENT, flags=["named", "duplicate"])
    repeated = replace(EVENT, flags=["repeated"])

    assert "(not counted: duplicate)" in event_line(again)
    assert "(repeated)" in event_line(repeated)
    assert "not counted" not in event_line(EVENT) + event_line(repeated)
