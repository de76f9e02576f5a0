"""What is odd about a configuration that can be read: probably not what was meant."""

from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from meterline_pricing import Catalogue, PricingError
from meterline_pricing.tools import findings
from meterline_sidecar.config.places import BUCKET
from meterline_sidecar.config.seller import SellerConfig
from meterline_sidecar.config.shape import Config
from meterline_sidecar.config.stripe import STRIPE_KEY_VARIABLE
from meterline_sidecar.config.variables import stray_variables
from meterline_sidecar.errors import installing

CERTIFICATES: Final = ("ca_file", "tls_certificate", "client_ca")
FOR_OTHERS: Final = 0o007


def advice(config: Config, *, environment: Mapping[str, str]) -> Iterator[str]:
    """Yield what a person should look at, in words; nothing of it is an error."""
    if not config.meters and not config.is_edge:
        yield "there is no [[meter]]: events are stored but not added up"
    if not config.customers and not config.is_edge:
        yield "there is no [[customer]]: nobody pays for anything"
    for customer in config.customers:
        if not customer.subjects:
            yield f"customer {customer.id} has no subjects, and so no usage"
        if customer.plan is None and config.catalogue.plans:
            yield f"customer {customer.id} has no plan, and so no invoice"
    if config.seller != SellerConfig() and not config.seller.name:
        yield "seller.name is missing: invoices do not say who sends them"
    yield from _secrets("sidecar", config.sidecar, ("database_password_file",))
    yield from _missing("centre", config.centre, CERTIFICATES)
    yield from _secrets("centre", config.centre, ("token_file", "tls_key"))
    yield from _secrets("alerts", config.alerts, ("secret_file",))
    yield from _extras(config)
    yield from _stripe(config, environment)
    yield from _prices(config.catalogue)
    yield from stray_variables(environment)


def _extras(config: Config) -> Iterator[str]:
    """Yield what the sidecar will need and nobody has installed here."""
    url = config.archive.url or ""
    of_edges = any(BUCKET in place for place in config.archive.edges or ())
    wanted = (
        ("archive.url is a bucket", "obstore", "archive", BUCKET in url),
        ("archive.edges names a bucket", "obstore", "archive", of_edges),
        ("sidecar.database is on a server", "asyncpg", "centre", config.server),
    )
    for said, package, extra, is_wanted in wanted:
        if is_wanted and find_spec(package) is None:
            yield f"{said}, which needs {package} where the sidecar runs: {installing(extra)}"


def _stripe(config: Config, environment: Mapping[str, str]) -> Iterator[str]:
    told = [m.meter.name for m in config.meters if m.bill_through == "meter"]
    stripe = config.stripe
    if told:
        for customer in config.customers:
            if customer.stripe_customer is None:
                yield (
                    f"customer {customer.id} has no stripe_customer: what they use of"
                    f" {', '.join(told)} waits in the outbox"
                )
    if stripe.mode != "send":
        return
    if not told and not any(
        rule.bill_through == "invoice" for rule in config.collect_rules
    ):
        yield (
            'stripe.mode is "send", but no meter has bill_through = "meter", and no'
            ' [[collect]] bill_through = "invoice": nothing is sent'
        )
    if stripe.api_key_file is None and STRIPE_KEY_VARIABLE not in environment:
        yield (
            'stripe.mode is "send", but there is no key here: name stripe.api_key_file,'
            f" or set {STRIPE_KEY_VARIABLE} where the sidecar runs"
        )
    yield from _secrets("stripe", stripe, ("api_key_file", "webhook_secret_file"))


def _missing(table: str, config: object, keys: Sequence[str]) -> Iterator[str]:
    for key in keys:
        file: Path | None = getattr(config, key)
        if file is not None and not file.exists():
            yield f"{table}.{key}: there is no file {file} here"


def _secrets(table: str, config: object, keys: Sequence[str]) -> Iterator[str]:
    yield from _missing(table, config, keys)
    for key in keys:
        file: Path | None = getattr(config, key)
        if file is not None and file.exists() and file.stat().st_mode & FOR_OTHERS:
            yield f"{table}.{key}: others can read {file}; chmod 600 it"


def _prices(catalogue: Catalogue) -> Iterator[str]:
    for plan in catalogue.plans:
        for card in plan.prices:
            try:
                found = findings(card.price, currency=plan.currency)
            except PricingError:
                continue  # needs more than a quantity, so it has no curve to look at
            for finding in found:
                yield (
                    f"plan {plan.name}, version {plan.version}, {card.name}:"
                    f" {finding.message}"
                )
