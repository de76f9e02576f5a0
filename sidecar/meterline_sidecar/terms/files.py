"""What the files of the configuration want to be agreed."""

from meterline_sidecar.config.shape import Config, Customer
from meterline_sidecar.terms.diff import Wanted, WantedCustomer


def wanted_of(config: Config) -> Wanted:
    """Return everything in ``meterline.toml`` and the price list that has dates."""
    return Wanted(
        customers=[_wanted(config, customer) for customer in config.customers],
        plans=config.catalogue.plans,
        meters=[(meter.meter, None) for meter in config.meters],
    )


def _wanted(config: Config, customer: Customer) -> WantedCustomer:
    return WantedCustomer(
        id=customer.id,
        fields={
            "name": customer.name,
            "plan": customer.plan,
            "overrides": tuple(
                override
                for override in config.catalogue.overrides
                if override.customer == customer.id
            ),
            "subjects": customer.subjects,
            "time_zone": customer.time_zone,
            "starts": customer.starts,
            "stripe_customer": customer.stripe_customer,
        },
    )
