"""Events over HTTP against a sidecar that is killed: once each, and none lost."""

import json
import os
import random
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import httpx
import pytest

from meterline_sidecar.demo.stage import calm_time_zone
from tests.fault.host import ROOT, pause, rounds
from tests.patience import PATIENCE_S
from tests.sidecar_process import NO_TLS
from tests.web.external import plain
from tests.web.live import LiveSidecar

EVENTS: Final = 2_000
BATCH_EVENTS: Final = 20
SENDERS: Final = 3
"""Beside one of everything: so that most events are sent by two or three."""
NODE: Final = str(ROOT / "examples" / "send_events.mjs")
SHELL: Final = str(ROOT / "examples" / "send_events.sh")
TOKENS: Final = f"""
[[meter]]
name = "tokens"
aggregation = "sum"
value = "quantities.tokens"

[[customer]]
id = "acme"
subjects = ["acct_1"]
time_zone = "{calm_time_zone()}"
"""
FAST: Final = "http_requests_per_s = 100000\n"


def send(url: str, batches: list[list[dict[str, object]]]) -> None:
    """Send batches in order, each again until it is answered, as clients do."""
    with httpx.Client(base_url=url, timeout=PATIENCE_S, verify=NO_TLS) as client:
        for batch in batches:
            while not is_taken(client, batch):
                time.sleep(0.05)


def is_taken(client: httpx.Client, batch: list[dict[str, object]]) -> bool:
    try:
        response = client.post("/v1/events", json=batch)
    except httpx.TransportError:
        return False
    if response.status_code == 503:
        return False
    found = response.json()
    assert found["accepted"] + found["duplicate"] == len(batch), found
    return True


def script(*command: str, url: str, events: list[dict[str, object]]) -> None:
    """Run an example that sends what it reads, one event a line."""
    lines = "".join(f"{json.dumps(event)}\n" for event in events)
    done = subprocess.run(
        command,
        input=lines,
        env={**os.environ, "METERLINE_URL": url},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.timeout(300)
def test_a_kill_amid_batches_that_are_sent_again_loses_and_doubles_nothing(
    tmp_path: Path, chance: random.Random
) -> None:
    at_ms = time.time_ns() // 1_000_000
    events = [plain(i, time=at_ms) for i in range(EVENTS)]
    sidecar = LiveSidecar(tmp_path, meterline=TOKENS, pricing="", sidecar=FAST)
    with sidecar, ThreadPoolExecutor() as pool:
        sending = [
            pool.submit(send, sidecar.url, batched(chance.sample(events, EVENTS // 2)))
            for _ in range(SENDERS)
        ]
        sending.append(pool.submit(send, sidecar.url, batched(events)))
        for command in (["node", NODE], ["sh", SHELL]):
            if shutil.which(command[0]):
                mine = chance.sample(events, EVENTS // 2)
                sending.append(
                    pool.submit(script, *command, url=sidecar.url, events=mine)
                )
        for _ in range(rounds(3, soak=50)):
            pause(chance, 0.1, 0.6)
            sidecar.kill()
            sidecar.start()
        for done in sending:
            done.result(240)
        sidecar.until_counted(EVENTS)

        (acme,) = sidecar.get("/v1/usage", customer="acme")["usage"]
        assert sum(meter["quantity"] for meter in acme["meters"]) == 5 * EVENTS
        assert sidecar.get("/status")["events"]["recorded"] == EVENTS
        verified = sidecar.meterline("verify")
        assert verified.returncode == 0, verified.stdout


def batched(events: list[dict[str, object]]) -> list[list[dict[str, object]]]:
    return [
        events[start : start + BATCH_EVENTS]
        for start in range(0, len(events), BATCH_EVENTS)
    ]
