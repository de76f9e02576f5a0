"""Checks the tables of ``meterline.toml`` against each other, by their names."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

from meterline_pricing import Catalogue, Plan
from meterline_pricing.errors import nearest, unknown
from meterline_pricing.toml.lines import KeyPath
from meterline_pricing.toml.source import Source
from meterline_sidecar.config.alerts import AlertRule
from meterline_sidecar.config.archive import ArchiveConfig, RetentionConfig
from meterline_sidecar.config.billing import GraceRule
from meterline_sidecar.config.centre import Role
from meterline_sidecar.config.collect import CollectRule, Payer, rule_for
from meterline_sidecar.config.held_plans import clashes
from meterline_sidecar.config.shape import Customer, CustomerRule, MeterConfig

NEAREST_MAX: Final = 20  # a second, where very many are known


class WrittenNames:
    """What a file names, mistakes or not."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = dict.fromkeys(names)
        self._n_told = 0

    def __contains__(self, name: str) -> bool:
        """Return whether the file names it."""
        return name in self._names

    def unknown(self, what: str, name: str) -> str:
        """Return the message for a name that the file does not have.

        The first ones come with what is near: to look for that takes long.
        """
        self._n_told += 1
        if self._n_told > NEAREST_MAX:
            return f"unknown {what} `{name}`"
        return unknown(what, name, self._names)


class Known(NamedTuple):
    """What may be named elsewhere; ``None`` where that cannot be known, and so nothing
    can be said to be missing."""

    meters: WrittenNames | None
    customers: WrittenNames | None
    plans: WrittenNames | None


def names_in(source: Source, key: str, name: str) -> WrittenNames | None:
    """Return what the tables of the array ``key`` are called; ``name`` has it."""
    data = source.root.data
    tables = [table for _, table in tables_of(data, key)]
    names = [table.get(name) for table in tables]
    misspelt = key not in data and any(nearest(other, [key]) for other in data)
    is_array = key not in data or len(tables) == len(data[key])
    if not source.is_toml or misspelt or not is_array:
        return None
    if not all(isinstance(text, str) for text in names):
        return None  # any name may be that of the table without one
    return WrittenNames(map(str, names))


def tables_of(
    data: Mapping[str, Any], key: str
) -> Iterator[tuple[KeyPath, Mapping[str, Any]]]:
    """Yield the tables of an array, and where they are; nothing where it is none."""
    value: object = data.get(key)
    found = cast("list[object]", value) if isinstance(value, list) else []
    for i, item in enumerate(found):
        if isinstance(item, dict):
            yield (key, i), cast("dict[str, Any]", item)


def check_meters(source: Source, meters: Sequence[MeterConfig]) -> None:
    """Note meters that share a name, here or at Stripe."""
    names: set[str] = set()
    told: set[str] = set()
    titles: set[str] = set()
    for path, config in zip(_paths(source, "meter"), meters, strict=True):
        name, at_stripe = config.meter.name, config.stripe_event_name
        if name in names:
            source.report((*path, "name"), f"a second meter is called `{name}`")
        title = config.title or name
        if title in titles and name not in names:
            key = "title" if config.title else "name"
            source.report((*path, key), f"a second meter is shown as `{title}`")
        if config.bill_through == "meter" and at_stripe in told:
            source.report(
                (*path, "stripe_event_name"),
                f"a second meter is `{at_stripe}` at Stripe, which would add them up as"
                " one",
            )
        names |= {name} - {""}
        titles |= {title} - {""}
        told |= {at_stripe} if config.bill_through == "meter" else set()


def check_customers(
    source: Source, customers: Sequence[Customer], known: Known
) -> None:
    """Note what two customers have, and plans that nobody wrote."""
    taken: dict[tuple[str, str], str] = {}
    for path, customer in zip(_paths(source, "customer"), customers, strict=True):
        unique = [("id", customer.id), ("stripe_customer", customer.stripe_customer)]
        unique += [("subjects", subject) for subject in customer.subjects]
        for key, text in unique:
            if text and (key, text) in taken:
                owner = taken[key, text]
                source.report(
                    (*path, key), f"`{text}` is of customer `{owner}` already"
                )
            elif text:
                taken[key, text] = customer.id
        _check_known(source, (*path, "plan"), customer.plan, known.plans)
        for i, held in enumerate(customer.plans):
            _check_known(source, (*path, "plans", i), held.plan, known.plans)


def check_together(
    source: Source, customers: Sequence[Customer], catalogue: Catalogue
) -> None:
    """Note customers with plans that cannot be had at one time."""
    if not any(customer.plans for customer in customers):
        return
    for path, customer in zip(_paths(source, "customer"), customers, strict=True):

        def newest(name: str, who: str = customer.id) -> Plan | None:
            if name not in catalogue.names:
                return None  # told elsewhere
            return catalogue.plan(name, customer=who)

        for why in clashes(customer.plan, customer.plans, newest):
            source.report((*path, "plans"), why.removeprefix("plans: "))


def check_rules(source: Source, rules: Sequence[CustomerRule], known: Known) -> None:
    """Note patterns that stand in two rules, and plans that nobody wrote."""
    taken: set[str] = set()
    for path, rule in zip(_paths(source, "customer_rule"), rules, strict=True):
        if rule.match in taken:
            message = f"a second rule is for `{rule.match}`"
            source.report((*path, "match"), message)
        _check_known(source, (*path, "plan"), rule.plan, known.plans)
        taken |= {rule.match} - {""}


def check_alerts(source: Source, rules: Sequence[AlertRule], known: Known) -> None:
    """Note alerts that share a name, and what they name that is not there."""
    names: set[str] = set()
    for path, rule in zip(_paths(source, "alert"), rules, strict=True):
        _check_known(source, (*path, "meter"), rule.meter, known.meters)
        # Not their customers: the API may look after them. `check` asks the ledger.
        _check_known(source, (*path, "plan"), rule.plan, known.plans)
        if rule.name in names:
            source.report((*path, "name"), f"a second alert is called `{rule.name}`")
        names |= {rule.name} - {""}


def check_grace_rules(source: Source, rules: Sequence[GraceRule], known: Known) -> None:
    """Note plans that nobody wrote, and rules for whom there is one already."""
    taken: set[tuple[str, str]] = set()
    for path, rule in zip(_paths(source, "grace"), rules, strict=True):
        _check_known(source, (*path, "plan"), rule.plan, known.plans)
        for key, name in (("plan", rule.plan), ("customer", rule.customer)):
            if name and (key, name) in taken:
                message = f"a second grace is for {key} `{name}`"
                source.report((*path, key), message)
            elif name:
                taken.add((key, name))


def check_collect_rules(
    source: Source,
    rules: Sequence[CollectRule],
    known: Known,
) -> None:
    """Note plans that nobody wrote, and second rules."""
    taken: set[tuple[str | None, str | None]] = set()
    for path, rule in zip(_paths(source, "collect"), rules, strict=True):
        _check_known(source, (*path, "plan"), rule.plan, known.plans)
        if (rule.plan, rule.customer) in taken:
            message = "a second rule is for the same invoices"
            source.report((*path, "bill_through"), message)
        taken.add((rule.plan, rule.customer))


def check_ways(
    source: Source,
    customers: Sequence[Customer],
    rules: Sequence[CollectRule],
    meters: Sequence[MeterConfig],
) -> None:
    """Note customers whom Stripe would bill twice: for usage, and for our invoices."""
    told = [one.meter.name for one in meters if one.bill_through == "meter"]
    for path, customer in zip(_paths(source, "customer"), customers, strict=True):
        if twice := billed_twice(customer, rules, told):
            source.report((*path, "id"), twice)


def billed_twice(
    customer: Payer, rules: Sequence[CollectRule], told: Sequence[str]
) -> str | None:
    """Return why Stripe would bill a customer twice, in words; ``None``: it does not.

    Args:
        told: the meters of which Stripe is told.
    """
    rule = rule_for(rules, customer.id, customer.plan)
    is_both = told and rule and rule.bill_through == "invoice" and rule.is_for_all
    if not is_both or customer.stripe_customer is None:
        return None
    return (
        f"Stripe would bill customer {customer.id} twice: what they use of `{told[0]}` is"
        ' reported to it with bill_through = "meter", and their invoices are collected'
        " by the [[collect]] of all. Say which, by a [[collect]] for them or their plan:"
        ' bill_through = "invoice", and nothing of theirs is reported; or "none"'
    )


def check_archive(
    source: Source, role: Role, retention: RetentionConfig, archive: ArchiveConfig
) -> None:
    """Note that events are to leave, and nobody says where to; and who has no edges."""
    if retention.events is not None and archive.url is None:
        message = "events that leave the ledger need a place: set archive.url"
        source.report(("retention", "events"), message)
    if archive.edges is not None and role != "centre":
        message = f'is a centre\'s; this sidecar has role = "{role}"'
        source.report(("archive", "edges"), message)


def _check_known(
    source: Source, path: KeyPath, name: str | None, known: WrittenNames | None
) -> None:
    if name and known is not None and name not in known:
        source.report(path, known.unknown(_what(path), name))


def _what(path: KeyPath) -> str:
    return "plan" if isinstance(path[-1], int) else str(path[-1])


def _paths(source: Source, key: str) -> list[KeyPath]:
    return [path for path, _ in tables_of(source.root.data, key)]
