"""SIGKILL between every two steps of enqueueing and reporting: each unit counts once."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fault.host import IS_SOAK
from tests.fault.stripe_steps import VALUES
from tests.stripe_server.faults import Fault
from tests.stripe_server.server import ServerThread

SOME = 1 if IS_SOAK else 4
"""Beside every step when all goes well, every fourth when the network fails, too."""


@pytest.mark.fault
@pytest.mark.parametrize(
    ("fault", "stride"),
    [(None, 1), (Fault.SAVED_500_AFTER, SOME), (Fault.RESET_AFTER, SOME)],
)
def test_a_death_before_any_step_neither_loses_nor_doubles(
    tmp_path: Path, fault: Fault | None, stride: int
) -> None:
    with ServerThread() as stripe:
        stripe.server.account.add_meter("api_calls")
        stripe.server.faults.kinds = () if fault is None else (fault,)
        stripe.server.faults.rate = 0.0 if fault is None else 0.3

        done = subprocess.run(
            [
                *(sys.executable, "-m", "tests.fault.stripe_steps"),
                *(str(tmp_path), stripe.base, str(stride)),
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )

        lines = [line.split() for line in done.stdout.splitlines()]
        totals = {
            name: int(stripe.server.account.total("api_calls", f"cus_{name}"))
            for name, _, _ in lines
        }
    assert done.returncode == 0, done.stderr
    assert len(lines) > 30 / stride
    assert [code for _, _, code in lines] == ["0"] * len(lines)
    assert [died for _, died, _ in lines] == ["1"] * (len(lines) - 1) + ["0"]
    assert totals == dict.fromkeys(totals, sum(VALUES))
