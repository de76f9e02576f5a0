"""Price lists that several tests use."""

from typing import Final

HEAD: Final = """\
[[plan]]
name = "starter"
version = 1
effective = 2026-01-01
currency = "usd"
"""


def starter(price: str) -> str:
    """Return a price list with one plan, ``starter``, and one price of api_calls.

    Args:
        price: the lines of the price behind its meter, as TOML.
    """
    return f'{HEAD}\n[[plan.price]]\nmeter = "api_calls"\n{price}\n'


def starter_each(unit_amount: str) -> str:
    """Return a price list in which every call costs the same."""
    return starter(f'model = "per_unit"\nunit_amount = "{unit_amount}"')


STARTER: Final = (
    starter(
        'model = "graduated"\n'
        'tiers = [ { up_to = 50_000, unit_amount = "0" }, { unit_amount = "0.001" } ]'
    )
    + """
[[plan.test]]
usage = { api_calls = 120_000 }
total = "70.00"
"""
)
"""The worked example: the first 50,000 free, then $0.001 each."""
