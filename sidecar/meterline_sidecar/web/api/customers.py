"""The customers of the configuration."""

import msgspec

from meterline_sidecar.config.shape import Customer
from meterline_sidecar.web.answers.customers import CustomerPage
from meterline_sidecar.web.operations import Operation
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.query import (
    PAGE,
    AfterCustomer,
    CustomerId,
    Limit,
    find_customer,
)


class CustomersQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which customers."""

    after: AfterCustomer = ""
    limit: Limit = PAGE


class CustomerQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which customer."""

    customer: CustomerId


async def list_customers(parts: Parts, query: CustomersQuery) -> CustomerPage:
    """List the customers of the configuration, in order of their ids."""
    customers, next_after = parts.customers.page(query.after, query.limit)
    return CustomerPage(customers=customers, next_after=next_after)


async def get_customer(parts: Parts, query: CustomerQuery) -> Customer:
    """Return one customer of the configuration."""
    return find_customer(parts, query.customer)


OPERATIONS = (
    Operation("/v1/customers", list_customers),
    Operation("/v1/customers/{customer}", get_customer),
)
