"""A request that is being served, as an object."""

from meterline.asgi_types import Message
from meterline.exchange import Exchange, WebSocket
from meterline.meter import Meter
from meterline.metering import Metering, Request

SECRET = "sk_live_1"


async def _receive() -> Message:
    return {}


async def _send(message: Message) -> None:
    pass


def test_the_text_of_a_request_says_nothing_that_its_client_has_sent() -> None:
    metering = Metering(
        subject=lambda _: SECRET,
        exclude=None,
        idempotency_header=None,
        options={"disabled": True},
        template_of=lambda _: SECRET,
    )

    for kind in (Exchange, WebSocket):
        meter: Meter = metering.meter
        scope = {"headers": [(b"authorization", SECRET.encode())]}
        request: Request = kind(meter, 1, 2, metering, scope, _receive, _send)
        request.subject = SECRET

        assert SECRET not in f"{request!r} {request}"
