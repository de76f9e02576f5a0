"""One customer more beside 100,000, and subjects that are seen for the first time.

Each customer has one pattern. Measured: how long `POST /v1/customers` takes until usage
of a subject counts for the new customer; and how long the look-up of a new subject's
customer takes, with all patterns and with one.

Expected from arithmetic: adding writes two rows and their links, and brings up one
pattern's subjects: three transactions, an fsync each (5 ms). A look-up is one dict
access for each length that patterns have: about ten, 2 us; a new subject costs SQLite
20 us in a group, so that ingest of nothing but new subjects loses less than 2 %.
"""

import argparse
import asyncio
import json
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Final

import httpx

from benchmarks.harness import heading
from meterline_sidecar.access.tokens import TokenFile
from meterline_sidecar.clock import SystemClock
from meterline_sidecar.config.read import read_config
from meterline_sidecar.daemon.assemble import open_parts
from meterline_sidecar.files import LedgerFiles
from meterline_sidecar.terms.owners import WantedCustomer
from meterline_sidecar.web.app import make_app
from meterline_sidecar.web.clients import Clients
from meterline_sidecar.web.parts import Parts
from tests.sidecar_process import METERLINE, PRICING, SIDECAR

STEP: Final = 500
ROUNDS: Final = 50
LOOK_UPS: Final = 100_000


async def fill(parts: Parts, n_customers: int) -> None:
    """Agree with customers of a pattern each, as those who sign up."""
    for first in range(0, n_customers, STEP):
        step = [
            WantedCustomer(
                id=f"c{i}",
                fields={"name": f"c{i}", "plan": "starter", "subjects": (f"c{i}_*",)},
            )
            for i in range(first, min(first + STEP, n_customers))
        ]
        await parts.terms.sign_up(step, author="benchmark")


async def adding(parts: Parts) -> list[float]:
    """Return how long it took to add each of some customers, in ms."""
    transport = httpx.ASGITransport(app=make_app(parts, Clients()))
    found: list[float] = []
    async with httpx.AsyncClient(
        transport=transport, base_url="http://localhost"
    ) as http:
        for i in range(ROUNDS):
            body = {"id": f"new{i}", "plan": "starter", "subjects": [f"new{i}_*"]}
            start = time.perf_counter()
            made = await http.post("/v1/customers", json=body)
            found.append((time.perf_counter() - start) * 1_000)
            assert made.status_code == 200, made.text
            claims = parts.terms.terms.claims
            assert claims.customer_of(f"new{i}_1", 2**62) == f"new{i}"
    return found


def look_up_us(parts: Parts, prefix: str) -> float:
    """Return how long the look-up of a subject takes that is seen first, in us."""
    claims, now_ms = parts.terms.terms.claims, parts.clock.now_ms()
    names = [f"{prefix}{i}_{i}" for i in range(LOOK_UPS)]
    start = time.perf_counter()
    for name in names:
        claims.customer_of(name, now_ms)
    return (time.perf_counter() - start) / LOOK_UPS * 1_000_000


async def measure(folder: Path, n_customers: int) -> dict[str, float]:
    """Fill a ledger and measure."""
    file = folder / "meterline.toml"
    file.write_text(SIDECAR + METERLINE)
    (folder / "pricing.toml").write_text(PRICING)
    config = read_config(file, environment={})
    tokens = TokenFile(LedgerFiles(config.sidecar.database).tokens)
    failed: list[BaseException] = []
    async with open_parts(
        config, clock=SystemClock(), tokens=tokens, on_fatal=failed.append
    ) as parts:
        one_us = look_up_us(parts, "x")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.perf_counter()
        await fill(parts, n_customers)
        filled_s = time.perf_counter() - start
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        all_us = look_up_us(parts, "c")
        added = sorted(await adding(parts))
        assert not failed, failed
    return {
        "customers": n_customers,
        "add_ms_p50": statistics.median(added),
        "add_ms_max": added[-1],
        "look_up_us_one_pattern": one_us,
        "look_up_us_all_patterns": all_us,
        "memory_mib": (after - before) / 1024,
        "fill_s": filled_s,
    }


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(measure(Path(folder), options.customers))
    if options.json:
        print(json.dumps(found))
        return
    heading("customers by API, and subjects that are new")
    for name, value in found.items():
        print(f"{name:28} {value:12,.2f}")


if __name__ == "__main__":
    main()
