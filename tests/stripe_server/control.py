"""What a test in another process says to the server, under ``/_control``."""

import json
from typing import TYPE_CHECKING, Any

from tests.stripe_server.errors import StripeRefusal, answer
from tests.stripe_server.faults import Fault
from tests.stripe_server.http import Request, Response

if TYPE_CHECKING:
    from tests.stripe_server.server import StripeServer


def handle(server: "StripeServer", request: Request) -> Response:
    """Answer one order; all are JSON.

    ``GET totals``: event name to customer to total. ``GET state``: counters.
    ``POST meters`` {event_name, formula, window}; ``POST faults`` {queued, every,
    rate, seed}; ``POST keys`` [..]; ``POST clock`` {offset_s}; ``POST speed``
    {latency_s, rate_max}.
    """
    name = request.path.removeprefix("/_control/")
    content: Any = json.loads(request.body or b"{}")
    match request.method, name:
        case "GET", "totals":
            return answer(200, server.account.totals())
        case "GET", "state":
            return answer(
                200,
                {
                    "seen": dict(server.seen),
                    "events": len(server.account.events),
                    "most_at_once": server.most_at_once,
                },
            )
        case "POST", "meters":
            meter = server.account.add_meter(**content)
            return answer(200, meter.content())
        case "POST", "faults":
            server.faults.queued.clear()
            server.faults.queued.extend(Fault(f) for f in content.get("queued", []))
            every = content.get("every")
            server.faults.every = None if every is None else Fault(every)
            server.faults.rate = content.get("rate", 0.0)
            server.faults.dice.seed(content.get("seed", 0))
        case "POST", "keys":
            server.keys = set(content)
        case "POST", "clock":
            server.offset_s = content["offset_s"]
        case "POST", "speed":
            server.latency_s = content.get("latency_s", 0.0)
            server.rate_max = content.get("rate_max")
        case _:
            raise StripeRefusal(404, f"no such order: {request.method} {name}")
    return answer(200, {})
