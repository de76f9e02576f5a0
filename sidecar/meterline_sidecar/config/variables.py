"""The environment variables that Meterline reads, and those that somebody mistyped."""

from collections.abc import Iterator, Mapping
from typing import Final

from meterline_pricing.errors import nearest
from meterline_sidecar.config.archive import ArchiveConfig
from meterline_sidecar.config.billing import BillingConfig
from meterline_sidecar.config.centre import CentreConfig
from meterline_sidecar.config.sidecar import SidecarConfig
from meterline_sidecar.config.stripe import StripeConfig

PREFIX: Final = "METERLINE_"
READ: Final = frozenset(
    (
        *("ALERTS_SECRET", "APP", "CLOCK", "CONFIG", "DATABASE", "DISABLED"),
        *("EDGE_NAME", "EXCLUDE", "HTTP", "IDEMPOTENCY_HEADER", "PRICING", "PURE"),
        *("SOCKET", "SPOOL_BYTES_MAX", "SPOOL_DIR", "STATE_DIR"),
        *("STRIPE_API_KEY", "STRIPE_WEBHOOK_SECRET", "SUBJECT_KEY"),
        *("SYNC_INTERVAL_S", "TOKEN", "URL"),
    )
)
"""What stands behind the prefix; a test finds each in the code, and no other."""
TABLES: Final = {
    "sidecar": SidecarConfig,
    "centre": CentreConfig,
    "billing": BillingConfig,
    "stripe": StripeConfig,
    "archive": ArchiveConfig,
}


def stray_variables(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield which variables nothing reads, though somebody meant one, and what to do.

    Only those that are like one, or are called as a key: Kubernetes makes variables of
    the names of services (``METERLINE_PORT_8270_TCP``).
    """
    for name in sorted(environment):
        said = name.upper().removeprefix(PREFIX)
        if said == name.upper() or name.removeprefix(PREFIX) in READ:
            continue
        table, key = _key(said.lower())
        if near := nearest(said, READ):
            yield f"{name} is set, and nothing reads it; did you mean {PREFIX}{near}?"
        elif table is not None:
            yield (
                f"{name} is set, and nothing reads it: write `{key}` under [{table}] in"
                " the file"
            )


def _key(said: str) -> tuple[str | None, str]:
    """Return the table that has a key of this name, alone or behind the table's."""
    for table, kind in TABLES.items():
        for key in kind.__struct_fields__:
            if said in (key, f"{table}_{key}"):
                return table, key
    return None, ""
