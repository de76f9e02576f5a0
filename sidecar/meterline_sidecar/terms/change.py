"""What a row of terms may say: only what changes, everything else stays as it was."""

from collections.abc import Callable, Mapping
from datetime import date
from typing import Final, assert_never, cast

import msgspec
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import astuple

from meterline_pricing import Override, Plan
from meterline_sidecar.config.held_plans import HeldPlan
from meterline_sidecar.meters import Meter
from meterline_sidecar.store.terms import Kind


class CustomerChange(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What changes about a customer."""

    name: str | UnsetType = UNSET
    address: tuple[str, ...] | UnsetType = UNSET
    """As it stands on documents, line by line."""
    tax_id: str | UnsetType | None = UNSET
    email: str | UnsetType | None = UNSET
    locale: str | UnsetType | None = UNSET
    plan: str | UnsetType | None = UNSET
    plans: tuple[HeldPlan, ...] | UnsetType = UNSET
    """What they have beside that."""
    overrides: tuple[Override, ...] | UnsetType = UNSET
    """Prices of their own, a plan each."""
    subjects: tuple[str, ...] | UnsetType = UNSET
    unclaimed_from_ms: int | UnsetType = UNSET
    """From when on they also pay for what nobody paid for of these subjects."""
    time_zone: str | UnsetType = UNSET
    anchor: date | UnsetType | None = UNSET
    """A day on which a period begins."""
    starts: date | UnsetType | None = UNSET
    ends: date | UnsetType | None = UNSET
    stripe_customer: str | UnsetType | None = UNSET
    is_removed: bool | UnsetType = UNSET
    """Whether they were taken out: they keep what they owe, and use nothing more."""


class PlanChange(Struct, frozen=True, kw_only=True):
    """One version of a plan, as it reads from now on; ``None``: it is withdrawn."""

    version: int
    plan: Plan | None


class MeterChange(Struct, frozen=True, kw_only=True):
    """What a meter measures; ``None``: it measures nothing more."""

    meter: Meter | None


class RuleChange(Struct, frozen=True, kw_only=True):
    """The plan of whoever signs up under a pattern; ``None``: nobody any more."""

    plan: str | None


Change = CustomerChange | PlanChange | MeterChange | RuleChange

ALWAYS: Final = 0
"""The time from which holds what was agreed before anything else was known."""
TYPES: Final[Mapping[Kind, type[Change]]] = {
    "customer": CustomerChange,
    "plan": PlanChange,
    "meter": MeterChange,
    "rule": RuleChange,
}
_DECODERS: Final = {
    kind: cast("Callable[[str], Change]", msgspec.json.Decoder(type_).decode)
    for kind, type_ in TYPES.items()
}


def kind_of(change: Change) -> Kind:
    """Return the kind of row that a change is stored as."""
    match change:
        case CustomerChange():
            return "customer"
        case PlanChange():
            return "plan"
        case MeterChange():
            return "meter"
        case RuleChange():
            return "rule"
        case _:
            assert_never(change)


def decode(kind: Kind, text: str) -> Change:
    """Return the change that a row says."""
    return _DECODERS[kind](text)


def encode(change: Change) -> str:
    """Return a change as a row keeps it."""
    return msgspec.json.encode(change).decode()


def renamed(change: Change, name: str, alias: str) -> Change:
    """Return what a row says with an alias in the place of a subject's name."""
    if not isinstance(change, CustomerChange) or isinstance(change.subjects, UnsetType):
        return change
    subjects = tuple(alias if text == name else text for text in change.subjects)
    return msgspec.structs.replace(change, subjects=subjects)


def given(change: CustomerChange) -> dict[str, object]:
    """Return what a change of a customer says, by field."""
    values = zip(change.__struct_fields__, astuple(change), strict=True)
    return {name: value for name, value in values if value is not UNSET}
