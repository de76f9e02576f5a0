"""When somebody is told of a customer's usage or cost, and where that is sent."""

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from meterline_sidecar.config.kinds import NAME, URL

AlertKind = Literal["limit", "jump", "silence"]


class AlertRule(msgspec.Struct, frozen=True, kw_only=True):
    """When somebody is told of a customer's usage or cost."""

    name: Annotated[
        str,
        Meta(
            description="Of its own; what the alert is called.",
            extra={"kind": NAME},
        ),
    ]
    kind: Annotated[
        AlertKind,
        Meta(
            description="`limit`: usage or cost reaches parts of an amount. `jump`:"
            " today's usage is `factor` times the usual. `silence`: nothing for"
            " `after_hours` where there was something on each of the 7 days before."
        ),
    ] = "limit"
    customer: Annotated[
        str | None, Meta(description="Only this customer; everybody by default.")
    ] = None
    plan: Annotated[str | None, Meta(description="Only customers of this plan.")] = None
    meter: Annotated[
        str | None,
        Meta(
            description="Usage of this meter; a `limit` without one is on the cost.",
            extra={"kind": NAME},
        ),
    ] = None
    amount: Annotated[
        Decimal | None,
        Meta(description="What a `limit` is: money as a text, or units of the meter."),
    ] = None
    included: Annotated[
        bool,
        Meta(
            description="A `limit` is what each customer's plan includes of the meter,"
            " in place of an amount: its free units, or its first tiers that cost"
            " nothing."
        ),
    ] = False
    at: Annotated[
        tuple[Annotated[int, Meta(ge=1, le=1_000)], ...],
        Meta(description="At which percentages of the amount."),
    ] = (80, 100)
    factor: Annotated[
        int,
        Meta(ge=2, le=1_000, description="How many times the usual a `jump` is."),
    ] = 3
    after_hours: Annotated[
        int, Meta(ge=1, le=24 * 7, description="How long a `silence` is, in hours.")
    ] = 24


class AlertsConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Where alerts are sent: signed webhooks, as standardwebhooks.com has them."""

    webhook_url: Annotated[
        str | None,
        Meta(
            description="Who is told; without one, alerts stand in the dashboard.",
            extra={"kind": URL},
        ),
    ] = None
    secret_file: Annotated[
        Path | None,
        Meta(
            description="A file with the signing secret, `whsec_` and base64."
            " Environment, instead of a file: METERLINE_ALERTS_SECRET."
        ),
    ] = None
