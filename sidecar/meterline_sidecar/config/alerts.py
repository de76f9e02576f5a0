"""When somebody is told of a customer's usage or cost, and where that is sent."""

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from meterline_sidecar.config.kinds import NAME, URL

AlertKind = Literal["limit", "jump", "silence"]


class AlertRule(msgspec.Struct, frozen=True, kw_only=True):
    """When to send an alert about a customer's usage or cost."""

    name: Annotated[
        str,
        Meta(
            description="The unique name of the alert.",
            extra={"kind": NAME},
        ),
    ]
    kind: Annotated[
        AlertKind,
        Meta(
            description="`limit`: usage or cost reaches a percentage of an amount. "
            "`jump`: today's usage is `factor` times the usual. `silence`: no usage "
            "for `after_hours`, after usage on each of the 7 days before."
        ),
    ] = "limit"
    customer: Annotated[
        str | None, Meta(description="Only this customer; all customers by default.")
    ] = None
    plan: Annotated[str | None, Meta(description="Only customers on this plan.")] = None
    meter: Annotated[
        str | None,
        Meta(
            description="The meter to watch; a `limit` without one watches the cost.",
            extra={"kind": NAME},
        ),
    ] = None
    amount: Annotated[
        Decimal | None,
        Meta(
            description="The amount of a `limit`: money as a quoted decimal, or units of the meter."
        ),
    ] = None
    included: Annotated[
        bool,
        Meta(
            description="Use what each customer's plan includes of the meter instead "
            "of an amount: its free units, or its first tiers that cost nothing."
        ),
    ] = False
    at: Annotated[
        tuple[Annotated[int, Meta(ge=1, le=1_000)], ...],
        Meta(description="The percentages of the amount at which to alert."),
    ] = (80, 100)
    factor: Annotated[
        int,
        Meta(
            ge=2,
            le=1_000,
            description="How many times the usual usage counts as a `jump`.",
        ),
    ] = 3
    after_hours: Annotated[
        int,
        Meta(
            ge=1,
            le=24 * 7,
            description="How many hours without usage count as `silence`.",
        ),
    ] = 24


class AlertsConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Where alerts are sent, as signed webhooks (standardwebhooks.com)."""

    webhook_url: Annotated[
        str | None,
        Meta(
            description="The URL to notify; without one, alerts appear only in the "
            "dashboard.",
            extra={"kind": URL},
        ),
    ] = None
    secret_file: Annotated[
        Path | None,
        Meta(
            description="A file that holds the signing secret, `whsec_` and base64."
            " Environment, instead of a file: METERLINE_ALERTS_SECRET."
        ),
    ] = None
