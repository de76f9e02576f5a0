"""What the API answers about customers: each as the configuration has it."""

import msgspec

from meterline_sidecar.config.shape import Customer


class CustomerPage(msgspec.Struct, frozen=True, kw_only=True):
    """Customers of the configuration, a page of them."""

    customers: list[Customer]
    next_after: str | None
