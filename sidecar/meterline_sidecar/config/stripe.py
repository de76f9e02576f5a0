"""``[stripe]``: how Stripe is reached, and how it is told of usage."""

from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from meterline_sidecar.config.kinds import URL
from meterline_sidecar.config.sidecar import EveryS, PerS

STRIPE_KEY_VARIABLE: Final = "METERLINE_STRIPE_API_KEY"

SendMode = Literal["dry_run", "send"]
Url = Annotated[str, Meta(extra={"kind": URL})]


class StripeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How Stripe is reached."""

    mode: Annotated[
        SendMode,
        Meta(
            description="`dry_run` shows what would be sent and sends nothing; `send`"
            " sends."
        ),
    ] = "dry_run"
    api_key_file: Annotated[
        Path | None,
        Meta(
            description="A file that holds the secret or restricted key."
            " Environment, instead of a file: METERLINE_STRIPE_API_KEY. Or the systemd"
            " credential stripe_api_key."
        ),
    ] = None
    webhook_secret_file: Annotated[
        Path | None,
        Meta(
            description="A file that holds the signing secret (whsec_...) of the"
            " webhook, or of several event destinations, one a line. Environment:"
            " METERLINE_STRIPE_WEBHOOK_SECRET. Or the systemd credential"
            " stripe_webhook_secret."
        ),
    ] = None
    api_base: Annotated[Url, Meta(description="The address of Stripe's API.")] = (
        "https://api.stripe.com"
    )
    meter_events_base: Annotated[
        Url, Meta(description="The address of Stripe's stream of meter events.")
    ] = "https://meter-events.stripe.com"
    rate_per_s: Annotated[
        PerS | None,
        Meta(
            description="The highest number of meter events per second; by default 25 "
            "with a sandbox key and 500 with a live one. Halved when Stripe refuses."
        ),
    ] = None
    stream_above_per_s: Annotated[
        PerS | None,
        Meta(
            description="Use Stripe's event stream (100 events per request, live mode"
            " only) while more events are due than this rate could send in a minute."
        ),
    ] = None
    settle_s: Annotated[
        int,
        Meta(
            ge=0,
            le=86_400,
            description="How long after its end an hour is reported, in seconds. Later "
            "events are reported as a correction.",
        ),
    ] = 60
    report_every_s: Annotated[
        EveryS, Meta(description="How often the outbox is processed, in seconds.")
    ] = 5
    reconcile_every_s: Annotated[
        int,
        Meta(
            ge=0,
            le=604_800,
            description="How often the ledger is compared with Stripe's totals, in "
            "seconds, with one read per customer and meter. 0: only on request.",
        ),
    ] = 86_400
