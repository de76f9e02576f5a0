"""CPU microseconds to rate a quantity, and to make an invoice of ten lines.

The baselines, interleaved in the same rounds: one bare multiplication of two decimals
under the exact context for a rating, and ten of these ratings for an invoice.

Expected from arithmetic: setting the context takes 0.3 us, the multiplication 0.1 us,
the text of a new quantity 0.4 us, that of a known unit amount 0.1 us, the two structs
0.2 us and the checks 0.4 us, so about 1.5 us for a price per unit; a tier adds a struct
and its texts, 1 us.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from decimal import Decimal
from itertools import count
from time import process_time
from timeit import Timer
from typing import Final

from benchmarks.harness import heading
from meterline_pricing import Plan, RateCard, invoice, rate
from meterline_pricing.models import (
    Flat,
    Graduated,
    Package,
    PerUnit,
    Tax,
    Tier,
    Volume,
)
from meterline_pricing.money import exact

ROUNDS: Final = 10
RATINGS: Final = 1_000_000
INVOICES: Final = 10_000

TARGETS_US: Final = {"per unit": 3.0, "graduated, 5 tiers": 15.0, "invoice": 1_000.0}


def five_tiers() -> Graduated:
    """Return a price whose last tier the benchmark's quantity reaches."""
    bounds = (1_000, 10_000, 50_000, 100_000)
    tiers = [
        Tier(up_to=Decimal(bound), unit_amount=Decimal(f"0.00{9 - i}"))
        for i, bound in enumerate(bounds)
    ]
    return Graduated((*tiers, Tier(unit_amount=Decimal("0.001"))))


def plan_of_ten() -> Plan:
    """Return a plan that gives ten lines: a fee, eight meters and a tax."""
    tiered = five_tiers()
    models = (
        PerUnit(Decimal("0.001")),
        tiered,
        Volume(tiered.tiers),
        Package(Decimal(1_000), Decimal(2)),
    )
    return Plan(
        name="ten",
        currency="usd",
        prices=(
            RateCard(name="fee", price=Flat(Decimal(49))),
            *(
                RateCard(meter=f"meter_{i}", price=models[i % len(models)])
                for i in range(8)
            ),
        ),
        taxes=(Tax(percent=Decimal("8.25")),),
    )


def measured() -> dict[str, list[float]]:
    """Return the microseconds of each subject in every round."""
    per_unit, graduated, plan = PerUnit(Decimal("0.001")), five_tiers(), plan_of_ten()
    usage = {f"meter_{i}": 120_000 + i for i in range(8)}
    quantity, unit_amount = Decimal(120_000), Decimal("0.001")
    # Another one each time, as usage is.
    quantities = count(120_000)

    def multiply() -> Decimal:
        with exact():
            return quantity * unit_amount

    subjects: dict[str, tuple[Callable[[], object], int]] = {
        "baseline: multiply": (multiply, RATINGS),
        "per unit": (lambda: rate(per_unit, next(quantities)), RATINGS),
        "graduated, 5 tiers": (lambda: rate(graduated, next(quantities)), RATINGS),
        "invoice": (lambda: invoice(plan, usage), INVOICES),
    }
    assert len(invoice(plan, usage).lines) == 10
    rounds: dict[str, list[float]] = {name: [] for name in subjects}
    for subject, calls in subjects.values():
        Timer(subject, timer=process_time).timeit(
            max(calls // ROUNDS // 10, 1)
        )  # warm up
    for _ in range(ROUNDS):
        for name, (subject, calls) in subjects.items():
            number = calls // ROUNDS
            rounds[name].append(
                Timer(subject, timer=process_time).timeit(number) / number * 1e6
            )
    return rounds


def main() -> None:
    """Print the figures, or ``--json`` for tools."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true")
    is_json: bool = parser.parse_args().json
    if not is_json:
        heading(__doc__)
    rounds = measured()
    if is_json:
        sys.stdout.write(json.dumps(rounds) + "\n")
        return
    sys.stdout.write(f"{'':22}{'median us':>12}{'lowest':>10}{'highest':>10}  target\n")
    for name, times in rounds.items():
        target = TARGETS_US.get(name)
        sys.stdout.write(
            f"{name:22}{statistics.median(times):12.2f}{min(times):10.2f}"
            f"{max(times):10.2f}  {'' if target is None else f'under {target:g}'}\n"
        )


if __name__ == "__main__":
    main()
