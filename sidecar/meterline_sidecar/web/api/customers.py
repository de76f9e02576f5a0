"""Customers: who there is, and adding and changing those whom the API looks after."""

from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import UNSET, Meta

from meterline_pricing import Calendar, Override
from meterline_pricing.errors import unknown
from meterline_pricing.toml.load import read_overrides
from meterline_pricing.toml.source import Kind, Unfit
from meterline_sidecar.billing.consequences import of_terms
from meterline_sidecar.config.held_plans import with_first
from meterline_sidecar.config.kinds import (
    CUSTOMER,
    DAY,
    EMAIL,
    LINE,
    LOCALE,
    SUBJECT,
    ZONE,
)
from meterline_sidecar.config.prices import unmet
from meterline_sidecar.terms.book import AgreedCustomer
from meterline_sidecar.terms.calendar import CustomerCalendar
from meterline_sidecar.terms.owners import WantedCustomer
from meterline_sidecar.web.answers.customers import (
    CustomerChanged,
    CustomerFields,
    CustomerPage,
    Day,
    NewCustomer,
    Owner,
    ShownCustomer,
)
from meterline_sidecar.web.answers.money import MoneyChange
from meterline_sidecar.web.money import shown_money
from meterline_sidecar.web.operations import Operation
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.problems import BadRequest, Conflict
from meterline_sidecar.web.query import (
    PAGE,
    AfterCustomer,
    CustomerId,
    Limit,
    Nothing,
    find_customer,
)

T = TypeVar("T")


class CustomersQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which customers."""

    after: AfterCustomer = ""
    limit: Limit = PAGE


class CustomerQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which customer."""

    customer: CustomerId


class EndQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which customer, and their last day."""

    customer: CustomerId
    day: Annotated[
        Day | None, Meta(description="The last day to bill; today by default.")
    ] = None


class AdoptQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which customer, and who looks after them from now on."""

    customer: CustomerId
    owner: Annotated[
        Owner, Meta(description="`file`, which has to name them, or `api`.")
    ]


async def list_customers(parts: Parts, query: CustomersQuery) -> CustomerPage:
    """List all customers, in order of their ids."""
    customers, next_after = parts.customers.page(query.after, query.limit)
    shown = [_shown(parts, customer.id) for customer in customers]
    return CustomerPage(customers=shown, next_after=next_after)


async def get_customer(parts: Parts, query: CustomerQuery) -> ShownCustomer:
    """Return one customer, as agreed now."""
    return _shown(parts, find_customer(parts, query.customer).id)


async def add_customer(
    parts: Parts, query: Nothing, *, body: NewCustomer, author: str
) -> CustomerChanged:
    """Add a customer who is not there yet."""
    wanted = _wanted(parts, body.id, body)
    diff = await parts.terms.change_customer(wanted, author=author, must_be_new=True)
    return CustomerChanged(customer=_shown(parts, body.id), changes=diff.told)


async def put_customer(
    parts: Parts, query: CustomerQuery, *, body: CustomerFields, author: str
) -> CustomerChanged:
    """Change a customer, or add one; what is left out stays as it is."""
    wanted = _wanted(parts, query.customer, body)
    money: MoneyChange | None = None
    if _agreed(parts, query.customer) is not None:
        expected = await parts.terms.preview_customer(wanted)
        found = await of_terms(parts.database, parts.terms.terms, expected)
        money = shown_money(found)
    diff = await parts.terms.change_customer(wanted, author=author)
    shown = _shown(parts, query.customer)
    return CustomerChanged(customer=shown, changes=diff.told, money=money)


async def end_customer(
    parts: Parts, query: EndQuery, *, author: str
) -> CustomerChanged:
    """Set a customer's last day; what they used until then can still be invoiced."""
    known = find_customer(parts, query.customer)
    day = query.day
    if day is None:
        calendar = CustomerCalendar.of(parts.terms.terms, known.id)
        day = calendar.day(parts.clock.now_ms())
    wanted = _wanted(parts, known.id, CustomerFields(ends=day))
    diff = await parts.terms.change_customer(wanted, author=author)
    return CustomerChanged(customer=_shown(parts, known.id), changes=diff.told)


async def adopt_customer(
    parts: Parts, query: AdoptQuery, *, author: str
) -> CustomerChanged:
    """Give a customer over to the files, or to the API."""
    known = _shown(parts, find_customer(parts, query.customer).id)
    changes: tuple[str, ...] = ()
    if query.owner == known.owner:
        raise Conflict(f"customer {known.id} is looked after so already")
    if query.owner == "file":
        changes = await parts.files.adopt(known.id, author=author)
    else:
        await parts.terms.adopt(known.id, "api", author=author)
    return CustomerChanged(customer=_shown(parts, known.id), changes=changes)


def _agreed(parts: Parts, customer_id: str) -> AgreedCustomer | None:
    return parts.terms.terms.customer(customer_id, parts.clock.now_ms())


def _shown(parts: Parts, customer_id: str) -> ShownCustomer:
    agreed = _agreed(parts, customer_id)
    assert agreed is not None, "asked for a customer that there is"
    return ShownCustomer(
        id=agreed.id,
        name=agreed.name or agreed.id,
        owner=agreed.source,
        is_taken_out=agreed.is_removed,
        plan=agreed.plan,
        plans=agreed.plans,
        own_prices=tuple(override.plan for override in agreed.overrides),
        subjects=agreed.subjects,
        address=agreed.address,
        tax_id=agreed.tax_id,
        email=agreed.email,
        locale=agreed.locale,
        time_zone=agreed.time_zone,
        anchor=agreed.anchor,
        starts=agreed.starts,
        ends=agreed.ends,
        stripe_customer=agreed.stripe_customer,
    )


def _wanted(parts: Parts, customer_id: str, said: CustomerFields) -> WantedCustomer:
    """Return what was asked for, if it can be.

    Raises:
        BadRequest: a value cannot be what it is for.
        PricingError: there is no such time zone.
    """
    known = _agreed(parts, customer_id)
    names = CustomerFields.__struct_fields__
    fields = {
        name: value
        for name in names
        if name != "from_day" and (value := getattr(said, name)) is not UNSET
    }
    if known is None:
        fields.setdefault("name", customer_id)
        _check(CUSTOMER, "id", customer_id)
    for subject in fields.get("subjects", ()):
        _check(SUBJECT, "subjects", subject)
    for name, kind in _KINDS.items():
        if (value := fields.get(name)) is not None:
            _check(kind, name, value)
    if (zone := fields.get("time_zone")) is not None:
        Calendar(time_zone=zone)
    starts, ends = (
        fields.get(name, getattr(known, name, None)) for name in ("starts", "ends")
    )
    if starts and ends and ends < starts:
        raise BadRequest(f"ends: {ends} is before the first day, {starts}")
    if known is None:
        plan, plans = with_first(fields.get("plan"), fields.get("plans", ()))
        fields |= {"plan": plan, "plans": plans} if plans or plan else {}
    plan = fields.get("plan")
    terms, now_ms = parts.terms.terms, parts.clock.now_ms()
    beside = [held.plan for held in fields.get("plans", ())]
    for name in beside if plan is None else (plan, *beside):
        if not terms.plan_versions(name, now_ms):
            raise BadRequest(unknown("plan", name, terms.names("plan")))
    if said.overrides is not UNSET:
        fields["overrides"] = _overrides(parts, customer_id, said.overrides)
    return WantedCustomer(id=customer_id, fields=fields, from_day=said.from_day)


def _overrides(
    parts: Parts, customer_id: str, tables: tuple[dict[str, Any], ...]
) -> tuple[Override, ...]:
    """Return prices of a customer's own, if all of them can be charged.

    Raises:
        BadRequest: one cannot; the text says why.
        PricingError: with every problem in them.
    """
    terms, now_ms = parts.terms.terms, parts.clock.now_ms()
    found = read_overrides(tables, customer=customer_id)
    for i, override in enumerate(found):
        versions = terms.plan_versions(override.plan, now_ms)
        if not versions:
            known = unknown("plan", override.plan, terms.names("plan"))
            raise BadRequest(f"overrides[{i}].plan: {known}")
        if override.plan in [other.plan for other in found[:i]]:
            raise BadRequest(
                f"overrides[{i}].plan: a second table is for `{override.plan}`"
            )
        for plan in versions.values():
            override.applied_to(plan)
        for j, card in enumerate(override.prices):
            meter = None if card.meter is None else terms.meter(card.meter, now_ms)
            where = f"overrides[{i}].price[{j}]"
            if card.meter is not None and meter is None:
                known = unknown("meter", card.meter, terms.names("meter"))
                raise BadRequest(f"{where}.meter: {known}")
            for message in () if meter is None else unmet(card.price, meter):
                raise BadRequest(f"{where}: {message}")
    return found


_KINDS: Final[dict[str, Kind[Any]]] = {
    **{"tax_id": LINE, "email": EMAIL, "locale": LOCALE, "time_zone": ZONE},
    **{"anchor": DAY, "starts": DAY, "ends": DAY},
}
"""What must hold of fields that their types do not say."""


def _check(kind: Kind[T], key: str, value: T) -> None:
    try:
        kind.check(value)
    except Unfit as error:
        message = str(error) or f"expected {kind.expected}, not {value!s:.60}"
        raise BadRequest(f"{key}: {message}") from error


OPERATIONS = (
    Operation("/v1/customers", list_customers),
    Operation("/v1/customers", add_customer, method="POST"),
    Operation("/v1/customers/{customer}", get_customer),
    Operation("/v1/customers/{customer}", put_customer, method="PUT"),
    Operation("/v1/customers/{customer}/end", end_customer, method="POST"),
    Operation("/v1/customers/{customer}/adopt", adopt_customer, method="POST"),
)
