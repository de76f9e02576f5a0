"""Two centres of one ledger: the one that leads is killed, or sleeps, or loses its server.

Whatever happens to it, the other one goes on, and nothing is told or numbered twice.
"""

import json
import os
import signal
import time
from collections.abc import Iterable
from datetime import datetime
from itertools import cycle
from pathlib import Path
from typing import Final

from tests.centres import LEASE_S, Centres, leads
from tests.fault.test_fleet import METERLINE as NUMBERS
from tests.fault.test_fleet import MILLION, Load
from tests.patience import PATIENCE_S
from tests.plans import STARTER
from tests.postgres_server import PostgresServer
from tests.sidecar_process import SidecarProcess, until
from tests.stripe_server.account import Account
from tests.stripe_server.server import ServerThread, StripeServer

METER: Final = """
[[meter]]
name = "api_calls"
aggregation = "sum"
value = "quantities.n"
"""
CUSTOMERS: Final = 120
NOON: Final = "2026-11-06T12:00:00Z"
KEY: Final = "rk_test_of_both"


def use(
    centres: Iterable[SidecarProcess], names: Iterable[str], *, at: str, key: str
) -> None:
    """Send one event for each name, each to another centre, and the last one to all."""
    sent = list(names)
    for centre, part in zip(cycle(centres), (sent[::2], sent[1::2]), strict=False):
        body = [
            {
                "id": f"{key} {name}",
                "time": at,
                "subject": name,
                "quantities": {"n": 1},
            }
            for name in {*part, sent[-1]}
        ]
        with centre.client() as client:
            answer = client.post(
                "/v1/events",
                json=body,
            )
            assert answer.status_code == 200, answer.text


def until_leads(centre: SidecarProcess) -> None:
    until(lambda: leads(centre))


def sleep_through_its_lease(centres: Centres, leader: SidecarProcess) -> None:
    """Stop a leader until the other one leads, then let it go on."""
    leader_pid = leader.pid
    os.kill(leader_pid, signal.SIGSTOP)
    until_leads(centres.other(leader))
    os.kill(leader_pid, signal.SIGCONT)


def customers(more: str) -> str:
    return "".join(
        f'\n[[customer]]\nid = "c{i}"\nsubjects = ["s{i}"]\n{more.format(i=i)}\n'
        for i in range(CUSTOMERS)
    )


def test_periods_are_closed_once_whoever_leads(
    tmp_path: Path, server: PostgresServer
) -> None:
    config = METER + '\n[billing]\nclose = "auto"\ngrace_hours = 0\n'
    config += customers('plan = "starter"')
    names = [f"s{i}" for i in range(CUSTOMERS)]
    with Centres(
        tmp_path, server, meterline=config, pricing=STARTER, clock=NOON
    ) as centres:
        one, two = centres.one, centres.two
        use((one, two), names, at="2026-11-06T11:00:00Z", key="first")
        one.until_counted(CUSTOMERS)

        centres.set_clock("2026-12-02T00:00:00Z")
        centres.until_sql("SELECT 1 FROM invoices LIMIT 1", bool)
        one.kill()  # in the middle, or close to it
        until_leads(two)
        closed = "SELECT count(*), count(DISTINCT customer) FROM invoices"
        centres.until_sql(closed, lambda rows: rows == [f"{CUSTOMERS}|{CUSTOMERS}"])
        one.start()
        refused = one.meterline("close", "--json")
        use((one, two), names, at="2026-12-01T11:00:00Z", key="second")
        two.until_counted(2 * CUSTOMERS)
        os.kill(two.pid, signal.SIGSTOP)
        until_leads(one)
        centres.set_clock("2027-01-02T00:00:00Z")
        centres.until_sql("SELECT 1 FROM invoices WHERE period = '2026-12'", bool)
        os.kill(two.pid, signal.SIGCONT)
        both = f"{2 * CUSTOMERS}|{CUSTOMERS}"
        centres.until_sql(closed, lambda rows: rows == [both])
        until(lambda: not leads(two))
        one.until_counted(2 * CUSTOMERS)

        numbers = centres.sql("SELECT number FROM documents ORDER BY number")
        assert [int(number) for number in numbers] == list(range(1, 2 * CUSTOMERS + 1))
        assert "process" in refused.stdout + refused.stderr
        assert refused.returncode != 0
        assert [centre.stop() for centre in (two, one)] == [0, 0]
        verified = one.meterline("verify", "--json")
        assert json.loads(verified.stdout)["sound"], verified.stdout
        ids = centres.sql("SELECT count(*) FROM external_events")
        assert ids == [str(2 * CUSTOMERS)]


def test_stripe_is_told_once_whoever_leads_and_whatever_becomes_of_the_server(
    tmp_path: Path, server: PostgresServer
) -> None:
    noon = datetime.fromisoformat(NOON)
    account = Account(now_s=noon.timestamp)
    account.add_meter("api_calls")
    with ServerThread(StripeServer(account)) as stripe:
        stripe.server.keys = {KEY}
        stripe.server.latency_s = 0.02
        config = (
            METER
            + 'bill_through = "meter"\n'
            + customers('stripe_customer = "cus_{i}"')
        )
        config += f"""
[stripe]
mode = "send"
api_base = "{stripe.base}"
meter_events_base = "{stripe.base}"
report_every_s = 1
rate_per_s = 100
"""
        centres = Centres(tmp_path, server, meterline=config, pricing="", clock=NOON)
        for centre in (centres.one, centres.two):
            centre.environment["METERLINE_STRIPE_API_KEY"] = KEY
        names = [f"s{i}" for i in range(CUSTOMERS)]

        def totals() -> set[int]:
            return {
                int(account.total("api_calls", f"cus_{i}")) for i in range(CUSTOMERS)
            }

        def at(hour: int) -> None:
            moment = noon.replace(hour=hour, minute=2)
            account.now_s = moment.timestamp
            centres.set_clock(moment.isoformat().replace("+00:00", "Z"))

        with centres:
            one, two = centres.one, centres.two
            # Asleep in the middle of sending, for longer than its lease.
            use((one, two), names, at=NOON, key="first")
            one.until_counted(CUSTOMERS)
            at(13)
            until(lambda: totals() == {0, 1})
            sleep_through_its_lease(centres, one)
            until(lambda: totals() == {1})
            until(lambda: not leads(one))

            # Killed in the middle.
            use((one, two), names, at="2026-11-06T13:01:00Z", key="second")
            two.until_counted(2 * CUSTOMERS)
            at(14)
            until(lambda: totals() == {1, 2})
            two.kill()
            until_leads(one)
            until(lambda: totals() == {2})
            two.start()

            # The server is killed while both write.
            use((one, two), names, at="2026-11-06T14:01:00Z", key="third")
            one.until_counted(3 * CUSTOMERS)
            at(15)
            until(lambda: totals() == {2, 3})
            server.stop("immediate")
            server.start()
            end_s = time.monotonic() + PATIENCE_S
            while totals() != {3}:
                assert time.monotonic() < end_s
                for centre in (one, two):
                    if not centre.is_running:  # it lost its COMMIT
                        centre.start()
                time.sleep(0.05)
            time.sleep(2 * LEASE_S)  # whatever was still on its way

            assert totals() == {3}
            states = "SELECT DISTINCT state FROM outbox"
            centres.until_sql(states, lambda rows: rows == ["confirmed"])


def test_edges_that_change_centres_lose_nothing_and_double_nothing(
    tmp_path: Path, server: PostgresServer
) -> None:
    with Centres(tmp_path, server, meterline=NUMBERS, pricing="") as centres:
        one, two = centres.one, centres.two
        edges = [centres.edge("a"), centres.edge("b")]
        loads = [Load(edge, i * MILLION) for i, edge in enumerate(edges)]
        count = "SELECT count(*) FROM events"
        for centre in (two, one, two):
            (before,) = centres.sql(count)
            centres.balancer.prefer(centres.port(centre))
            centres.until_sql(count, lambda rows, n=int(before): int(rows[0]) > n)  # type: ignore[misc]
        # What is on its way there comes again, to the other one.
        two.kill()
        for load in loads:
            load.finish()

        wanted = [n for load in loads for n in range(load.first, load.end)]
        centres.until_sql(count, lambda rows: int(rows[0]) >= len(wanted))
        two.start()
        states = "SELECT count(*) FROM edges WHERE trouble <> ''"
        assert centres.sql(states) == ["0"]
        listed = json.loads(two.meterline("edges", "list", "--json").stdout)
        assert [edge["state"] for edge in listed["edges"]] == ["connected"] * 2
        assert [host.stop() for host in (*edges, one, two)] == [0] * 4

        rows = centres.sql("SELECT quantities FROM events")
        assert sorted(json.loads(row)["n"] for row in rows) == wanted
        verified = one.meterline("verify", "--json")
        assert json.loads(verified.stdout)["sound"], verified.stdout
