"""What the files of the configuration want to be agreed."""

from collections import defaultdict
from collections.abc import Sequence

from meterline_pricing import Override
from meterline_sidecar.config.shape import Config, Customer
from meterline_sidecar.terms.diff import Wanted
from meterline_sidecar.terms.owners import WantedCustomer


def wanted_of(config: Config) -> Wanted:
    """Return everything in ``meterline.toml`` and the price list that has dates."""
    overrides: defaultdict[str, list[Override]] = defaultdict(list)
    for override in config.catalogue.overrides:
        overrides[override.customer].append(override)
    return Wanted(
        customers=[
            _wanted(customer, overrides.get(customer.id, ()))
            for customer in config.customers
        ],
        plans=config.catalogue.plans,
        meters=[(meter.meter, meter.from_day) for meter in config.meters],
        rules={rule.match: rule.plan for rule in config.customer_rules},
    )


def _wanted(customer: Customer, overrides: Sequence[Override]) -> WantedCustomer:
    return WantedCustomer(
        id=customer.id,
        fields={
            "name": customer.name,
            "address": customer.address,
            "plan": customer.plan,
            "overrides": tuple(overrides),
            "subjects": customer.subjects,
            "time_zone": customer.time_zone,
            "starts": customer.starts,
            "ends": customer.ends,
            "stripe_customer": customer.stripe_customer,
        },
        from_day=customer.from_day,
    )
