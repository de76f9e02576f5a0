"""What is agreed: the two files, each change of them, and what that must cost by hand.

Prices are whole cents and quantities whole numbers, so no sum is ever rounded.
"""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final, Generic, TypeVar

HEADER: Final = "x-account"
THREAD_SUBJECT: Final = "steady_thread"
NEW_CUSTOMERS_MAX: Final = 8
EXTRA_METERS_MAX: Final = 2
MOVER: Final = "mover_1"
"""Whose customer changes."""
MOVER_FROM, MOVER_TO = "left", "right"
FIXED: Final = ("steady", "wander", "left", "right")
OPEN_PREFIXES: Final = FIXED
"""What the subjects of streams and websockets begin with."""
NOBODY: Final = "nobody_1"
"""Whom nobody pays for."""
SUBJECTS: Final = (
    *(f"{customer}_{i}" for customer in FIXED for i in range(3)),
    *(f"new{i}_1" for i in range(NEW_CUSTOMERS_MAX)),
    MOVER,
    NOBODY,
)
"""Who uses something from the first moment, also before anybody pays for them."""

MONTHLY: Final = Decimal("10.00")
FIRST_CALLS: Final = 1000
CALL_AMOUNTS: Final = (Decimal("0.03"), Decimal("0.01"))
"""Of the first calls of ``steady``, and of all others."""
STEADY_WORK: Final = Decimal("0.05")
PRO: Final = {"calls": Decimal("0.03"), "work": Decimal("0.01")}
BASIC_CALL: Final = Decimal("0.02")
BASIC_WORK: Final = ("0.02", "0.04", "0.07")
DAY_MS: Final = 86_400_000

Quantities = Mapping[str, int]
T = TypeVar("T")

_METERS: Final = """
[[meter]]
name = "calls"
aggregation = "count"

[[meter]]
name = "work"
aggregation = "sum"
value = "quantities.w"
"""
_EXTRA_METER: Final = """
[[meter]]
name = "extra{i}"
aggregation = "sum"
value = "quantities.w"
from = {day}
"""
_PLANS: Final = f"""
[[plan]]
name = "tiers"
currency = "usd"

[[plan.price]]
name = "monthly"
model = "flat"
amount = "{MONTHLY}"

[[plan.price]]
meter = "calls"
model = "graduated"
tiers = [
  {{ up_to = {FIRST_CALLS}, unit_amount = "{CALL_AMOUNTS[0]}" }},
  {{ unit_amount = "{CALL_AMOUNTS[1]}" }},
]

[[plan.price]]
meter = "work"
model = "per_unit"
unit_amount = "{STEADY_WORK}"
"""
_PER_UNIT: Final = """
[[plan]]
name = "{name}"
currency = "usd"

[[plan.price]]
meter = "calls"
model = "per_unit"
unit_amount = "{calls}"

[[plan.price]]
meter = "work"
model = "per_unit"
unit_amount = "{work}"
"""


class ByDay(Generic[T]):
    """What holds from the beginning of the day on which it was loaded."""

    def __init__(self, first: T) -> None:
        self._days = [0]
        self._values = [first]

    @property
    def now(self) -> T:
        """What was loaded last."""
        return self._values[-1]

    def load(self, value: T, *, day: int) -> None:
        """Let ``value`` hold from ``day`` on."""
        if self._days[-1] == day:
            self._values[-1] = value
        else:
            self._days.append(day)
            self._values.append(value)

    def on(self, day: int) -> T:
        """Return what holds on ``day``."""
        return self._values[bisect_right(self._days, day) - 1]


@dataclass
class Move:
    """A subject that went to another customer, between two moments."""

    customer: str
    asked_ms: int
    answered_ms: int


@dataclass
class Book:
    """What the files say now, and what they have said."""

    begun_ms: int
    wander_plan: ByDay[str] = field(default_factory=lambda: ByDay("basic"))
    basic_work: ByDay[Decimal] = field(
        default_factory=lambda: ByDay(Decimal(BASIC_WORK[0]))
    )
    n_new: int = 0
    n_extra: int = 0
    mover: str = MOVER_FROM
    moves: list[Move] = field(default_factory=list[Move])

    @property
    def customers(self) -> tuple[str, ...]:
        """All who pay."""
        return (*FIXED, *(f"new{i}" for i in range(self.n_new)))

    @property
    def work_meters(self) -> tuple[str, ...]:
        """All meters that add up the same units."""
        return ("work", *(f"extra{i}" for i in range(self.n_extra)))

    def meterline_toml(self) -> str:
        """Return the meters and customers."""
        day = datetime.fromtimestamp((self.begun_ms - DAY_MS) // 1000, tz=UTC).date()
        extra = "".join(_EXTRA_METER.format(i=i, day=day) for i in range(self.n_extra))
        return _METERS + extra + "".join(map(self._customer, self.customers))

    def pricing_toml(self) -> str:
        """Return the plans."""
        basic = _PER_UNIT.format(
            name="basic", calls=BASIC_CALL, work=self.basic_work.now
        )
        return _PLANS + basic + _PER_UNIT.format(name="pro", **PRO)

    def owner(self, subject: str) -> str | None:
        """Return who pays for a subject that does not move."""
        customer = subject.partition("_")[0]
        return customer if customer in self.customers else None

    def amount(self, customer: str, days: Mapping[int, Quantities]) -> Decimal:
        """Return what a customer owes for a month, by hand.

        Args:
            days: what they used on each day of it.
        """
        if customer == "steady":
            calls = sum(used["calls"] for used in days.values())
            first = min(calls, FIRST_CALLS)
            return (
                MONTHLY
                + first * CALL_AMOUNTS[0]
                + (calls - first) * CALL_AMOUNTS[1]
                + sum(used["work"] for used in days.values()) * STEADY_WORK
            )
        total = Decimal(0)
        for day, used in days.items():
            is_pro = customer == "wander" and self.wander_plan.on(day) == "pro"
            basic = {"calls": BASIC_CALL, "work": self.basic_work.on(day)}
            prices = PRO if is_pro else basic
            total += sum(used[meter] * each for meter, each in prices.items())
        return total

    def _customer(self, customer: str) -> str:
        subjects = [f"{customer}_*", *([MOVER] if customer == self.mover else [])]
        plans = {"steady": "tiers", "wander": self.wander_plan.now}
        plan = plans.get(customer, "basic")
        return (
            f'\n[[customer]]\nid = "{customer}"\nplan = "{plan}"\n'
            f"subjects = {subjects!r}\n".replace("'", '"')
        )
