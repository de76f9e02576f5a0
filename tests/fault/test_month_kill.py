"""SIGKILL around every request of a month's end: each unit and each invoice once."""

import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.fault.host import IS_SOAK
from tests.fault.month_steps import BOLT_HOURS, now
from tests.stripe_server.account import Account
from tests.stripe_server.faults import Fault
from tests.stripe_server.server import ServerThread, StripeServer

SOME = 1 if IS_SOAK else 9
"""Every step in a soak; in the suite every ninth, from a random one on."""
FAILURES = (
    *(Fault.RESET_AFTER, Fault.RESET_BEFORE, Fault.HALF_BODY, Fault.SAVED_500_AFTER),
    *(Fault.SAVED_500_BEFORE, Fault.HTML_502_AFTER, Fault.PLAIN_429),
)


@pytest.mark.fault
@pytest.mark.timeout(600)
@pytest.mark.parametrize("fails", [False, True])
def test_a_death_around_any_request_of_a_months_end_bills_all_of_it_once(
    tmp_path: Path, chance: Random, fails: bool
) -> None:
    account = Account(now_s=lambda: now().now_ms() / 1000)
    with ServerThread(StripeServer(account)) as stripe:
        server = stripe.server
        server.account.add_meter("calls")
        if fails:
            server.faults.kinds, server.faults.rate = FAILURES, 0.2
            server.faults.dice = chance
            server.write_faults = [
                chance.choice(FAILURES) if chance.random() < 0.2 else None
                for _ in range(100_000)
            ]

        done = subprocess.run(
            [
                *(sys.executable, "-m", "tests.fault.month_steps"),
                *(str(tmp_path), stripe.base, str(SOME), str(chance.randrange(SOME))),
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=500,
        )

        lines = [line.split() for line in done.stdout.splitlines()]
        assert done.returncode == 0, done.stderr
        assert [code for *_, code in lines] == ["0"] * len(lines), done.stderr[-4_000:]
        assert [died for _, died, _ in lines] == ["1"] * (len(lines) - 1) + ["0"]
        assert len(lines) > 40 / SOME
        for name, _, _ in lines:
            told = int(server.account.total("calls", f"cus_{name}_b"))
            assert told == sum(BOLT_HOURS), name
            assert of_invoices(server.catalog.invoices, name) == (
                *("paid", [("fee", 100), ("calls", 103)], [50]),
            ), name


def of_invoices(there: Any, name: str) -> tuple[str, list[tuple[str, int]], list[int]]:
    """Return status, lines and credit notes of the one invoice of a customer."""
    (invoice,) = [
        one for one in there.invoices.values() if one["customer"] == f"cus_{name}_a"
    ]
    lines = [
        (line["description"], line["amount"]) for line in there.lines(invoice["id"])
    ]
    notes = [n["amount"] for n in there.notes.values() if n["invoice"] == invoice["id"]]
    return str(invoice["status"]), lines, notes
