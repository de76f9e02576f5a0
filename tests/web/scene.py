"""A sidecar with a month of life in it: for browser tests and for pictures."""

import random
from datetime import UTC, datetime
from pathlib import Path

from meterline.usage_event import UsageEvent
from tests.producer import event
from tests.web.live import LiveSidecar

METERLINE = """
[[meter]]
name = "api_calls"
aggregation = "count"
where = { status = "200-499" }
group_by = ["route", "status"]
bill_through = "meter"

[[meter]]
name = "tokens"
aggregation = "sum"
value = "quantities.tokens"

[[meter]]
name = "seats"
aggregation = "max"
value = "quantities.seats"

[[customer]]
id = "acme"
name = "Acme Corporation"
subjects = ["acme_*"]
plan = "starter"
stripe_customer = "cus_QX81acme"

[[customer]]
id = "globex"
stripe_customer = "cus_QX81globex"
name = "Globex"
subjects = ["globex_*"]
plan = "scale"
time_zone = "Europe/Berlin"

[[customer]]
id = "initech"
stripe_customer = "cus_QX81initech"
name = "Initech"
subjects = ["initech_*"]
plan = "scale"

[[customer]]
id = "umbrella"
stripe_customer = "cus_QX81umbrella"
name = "Umbrella Health"
subjects = ["umbrella_*"]
plan = "starter"
time_zone = "Asia/Kathmandu"

[[customer]]
id = "hooli"
stripe_customer = "cus_QX81hooli"
name = "Hooli"
subjects = ["hooli_*"]

[[alert]]
name = "budget"
amount = 100
at = [50, 80, 100]

[[alert]]
name = "starter-quota"
plan = "starter"
meter = "api_calls"
amount = 1_500
at = [80, 100]

[[alert]]
name = "gone-quiet"
kind = "silence"
meter = "api_calls"
"""
PRICING = """
[[plan]]
name = "starter"
version = 1
effective = 2020-01-01
currency = "usd"

[[plan.price]]
name = "API calls"
meter = "api_calls"
model = "graduated"
tiers = [
  { up_to = 500, unit_amount = "0" },
  { up_to = 1_500, unit_amount = "0.02" },
  { unit_amount = "0.01" },
]

[[plan.price]]
name = "Tokens"
meter = "tokens"
model = "package"
size = 1_000
amount = "0.05"
free_units = 100_000

[[plan]]
name = "scale"
version = 1
effective = 2020-01-01
currency = "usd"

[[plan.price]]
name = "Platform fee"
model = "flat"
amount = 49

[[plan.price]]
name = "API calls"
meter = "api_calls"
model = "per_unit"
unit_amount = "0.008"

[[plan.price]]
name = "Tokens"
meter = "tokens"
model = "volume"
tiers = [
  { up_to = 100_000, unit_amount = "0.0001" },
  { up_to = 1_000_000, unit_amount = "0.00008" },
  { unit_amount = "0.00005" },
]
"""
ROUTES = {
    "/v1/completions": 9,
    "/v1/embeddings": 5,
    "/v1/files": 3,
    "/v1/files/{file}": 3,
    "/v1/models": 2,
    "/v1/search": 4,
}
SUBJECTS = {
    "acme_key_1": 8,
    "acme_key_2": 3,
    "globex_prod": 9,
    "initech_ci": 4,
    "umbrella_app": 2,
    "hooli_beta": 1,
    "unknown_key": 1,
}
HOUR_MS = 3_600_000


def scene(folder: Path) -> LiveSidecar:
    """Return the sidecar, not started yet."""
    fast = "http_requests_per_s = 100000\n"
    return LiveSidecar(folder, meterline=METERLINE, pricing=PRICING, sidecar=fast)


def month(n_events: int, *, days: int = 30, seed: int = 1) -> list[UsageEvent]:
    """Return events of the last days: more by day than by night, growing slowly."""
    dice = random.Random(seed)
    now_ms = int(datetime.now(UTC).timestamp() * 1000)
    hours = [now_ms - i * HOUR_MS for i in range(days * 24, 0, -1)]
    weights = [
        (1 + 2 * max(0, 8 - abs(14 - at // HOUR_MS % 24))) * (i + 200)
        for i, at in enumerate(hours)
    ]
    times = sorted(
        at + dice.randrange(HOUR_MS) for at in dice.choices(hours, weights, k=n_events)
    )
    return [_event(dice, min(at, now_ms)) for at in times]


def _event(dice: random.Random, time_ms: int) -> UsageEvent:
    route = dice.choices(list(ROUTES), list(ROUTES.values()))[0]
    status = dice.choices([200, 201, 304, 404, 429, 500], [80, 8, 4, 4, 2, 2])[0]
    has_tokens = route in ("/v1/completions", "/v1/embeddings")
    return event(
        time_ms=time_ms,
        subject=dice.choices(list(SUBJECTS), list(SUBJECTS.values()))[0],
        route=None if dice.random() < 0.02 else route,
        method="POST" if has_tokens else "GET",
        status=status,
        duration_us=int(dice.lognormvariate(9.2, 0.7)),
        bytes_out=dice.randrange(80, 9_000),
        quantities={"tokens": dice.randrange(20, 900)}
        if has_tokens
        else {"seats": dice.randrange(3, 40)}
        if route == "/v1/models"
        else None,
    )
