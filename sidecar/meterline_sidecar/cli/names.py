"""What people call the meters and customers of the sidecar that a command asks."""

from urllib.parse import quote

from meterline_sidecar.cli.client import Client
from meterline_sidecar.config.names import Name, Names
from meterline_sidecar.web.answers.customers import ShownCustomer
from meterline_sidecar.web.answers.meters import Meters


def names_of(client: Client, *, at_stripe: bool = False) -> Names:
    """Return how meters are shown, by their names, or by those that Stripe knows."""
    return named(client.get("/v1/meters", Meters), at_stripe=at_stripe)


def check_customer(client: Client, customer: str | None) -> None:
    """Check that somebody is called what a filter says, where it found nothing.

    Raises:
        NotFound: nobody is: nothing was looked for but a slip of the pen.
    """
    if customer is not None:
        client.get(f"/v1/customers/{quote(customer, safe='')}", ShownCustomer)


def named(found: Meters, *, at_stripe: bool = False) -> Names:
    """Return how these meters are shown, likewise."""
    names: dict[str, Name] = {}
    for one in found.meters:
        key = one.event_name if at_stripe else one.meter
        if key is not None:
            names[key] = Name(title=one.title, unit=one.unit)
    return Names(names)
