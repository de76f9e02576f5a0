"""What the files of the configuration want to be agreed, and what of it holds."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec.structs import replace

from meterline_pricing import Catalogue, Override
from meterline_sidecar.config.shape import Config, Customer, MeterConfig
from meterline_sidecar.meters import AGGREGATIONS
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.terms.diff import Wanted
from meterline_sidecar.terms.owners import WantedCustomer


def wanted_of(config: Config) -> Wanted:
    """Return everything in ``meterline.toml`` and the price list that has dates."""
    overrides: defaultdict[str, list[Override]] = defaultdict(list)
    for override in config.catalogue.overrides:
        overrides[override.customer].append(override)
    return Wanted(
        customers=_WantedCustomers(config.customers, overrides),
        plans=config.catalogue.plans,
        meters=[(meter.meter, meter.from_day) for meter in config.meters],
        rules={rule.match: rule.plan for rule in config.customer_rules},
    )


class _WantedCustomers:
    """What is wanted of each customer, made as it is asked for: there may be many."""

    def __init__(
        self, customers: Iterable[Customer], overrides: Mapping[str, list[Override]]
    ) -> None:
        self._customers = customers
        self._overrides = overrides

    def __iter__(self) -> Iterator[WantedCustomer]:
        for customer in self._customers:
            yield _wanted(customer, self._overrides.get(customer.id, ()))


def as_agreed(config: Config, terms: Terms, at_ms: int) -> Config:
    """Return a configuration with the plans, prices and meters that hold at a moment.

    What is written into files, and refused or yet to come, is not in it. Where nothing
    was ever agreed the files hold: so they do from the first start on.
    """
    if terms.is_empty:
        return config
    plans = [
        plan
        for name in terms.names("plan")
        for plan in terms.plan_versions(name, at_ms).values()
    ]
    names = {plan.name for plan in plans}
    agreed = (terms.customer(name, at_ms) for name in terms.names("customer"))
    overrides = [
        override
        for customer in agreed
        if customer is not None and not customer.is_removed
        for override in customer.overrides
        if override.plan in names
    ]
    meters = (_as_counted(meter, terms, at_ms) for meter in config.meters)
    return replace(
        config,
        catalogue=Catalogue(tuple(plans), tuple(overrides)),
        meters=tuple(meter for meter in meters if meter is not None),
    )


def _as_counted(meter: MeterConfig, terms: Terms, at_ms: int) -> MeterConfig | None:
    """Return a meter as it counts at a moment; ``None``: it counts nothing yet."""
    counted = terms.meter(meter.meter.name, at_ms)
    if counted is None:
        return None
    is_hourly = AGGREGATIONS[counted.aggregation].hourly is not None
    # Its aggregation may be one that Stripe has none for, until it is another.
    bill_through = meter.bill_through if is_hourly else "none"
    return replace(meter, meter=counted, bill_through=bill_through)


def _wanted(customer: Customer, overrides: Sequence[Override]) -> WantedCustomer:
    return WantedCustomer(
        id=customer.id,
        fields={
            "name": customer.name,
            "address": customer.address,
            "tax_id": customer.tax_id,
            "email": customer.email,
            "locale": customer.locale,
            "plan": customer.plan,
            "plans": customer.plans,
            "overrides": tuple(overrides),
            "subjects": customer.subjects,
            "time_zone": customer.time_zone,
            "anchor": customer.anchor,
            "starts": customer.starts,
            "ends": customer.ends,
            "stripe_customer": customer.stripe_customer,
        },
        from_day=customer.from_day,
    )
