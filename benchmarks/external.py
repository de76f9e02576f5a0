"""Events per second over HTTP into the ledger, answered after COMMIT.

Some connections send batches of 100 CloudEvents to one ``meterline run``, each as soon
as the one before it is answered; bodies are made before the clock runs. The goal is
10,000 events/s on two cores, the sender's work included. The baseline, measured in the
same run and interleaved, is the same number of events over the socket of the apps.

Expected from arithmetic: a request takes 700 us of HTTP, which is 7 us an event; reading
its JSON takes 5 us, its mac and row 8 us, looking for its name 8 us, storing the name
12 us (ids are in no order: nearly each has a page of the index written), storing and
counting the event 18 us, as over the socket, and its verdict 6 us: 64 us. Two thirds of
that hold the interpreter, which is room for 23,000 events/s; with 8 requests under way,
each of which waits for the commit before its own, a commit of 300 events every 25 ms makes
12,000.
"""

import argparse
import http.client
import json
import socket
import statistics
import tempfile
import threading
import time
import uuid
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.harness import cpu_s, sidecar, tell
from benchmarks.ingest import through_the_socket

GOAL_PER_S: Final = 10_000
BATCH_EVENTS: Final = 100
CONNECTIONS: Final = 8
HEADERS: Final = {"Content-Type": "application/cloudevents-batch+json"}


def _bodies(n_batches: int) -> list[bytes]:
    """Return batches whose ids are in no order, as those of most senders."""
    at_ms = time.time_ns() // 1_000_000
    return [
        json.dumps(
            [
                {
                    "specversion": "1.0",
                    "id": str(uuid.uuid4()),
                    "source": f"https://jobs-{i % 4}.example.com",
                    "type": "com.example.render",
                    "time": at_ms,
                    "subject": f"acct_{i % 100}",
                    "data": {
                        "quantities": {"gpu_seconds": i, "frames": 1},
                        "properties": {"model": f"m{i % 5}"},
                    },
                }
                for i in range(BATCH_EVENTS)
            ]
        ).encode()
        for _ in range(n_batches)
    ]


class _Connection(http.client.HTTPConnection):
    """To a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        """Connect."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


def _send(path: Path, bodies: list[bytes], waits: list[float]) -> None:
    connection = _Connection(path)
    for body in bodies:
        start = time.perf_counter()
        connection.request("POST", "/v1/events", body, HEADERS)
        response = connection.getresponse()
        answer = response.read()
        waits.append(time.perf_counter() - start)
        if response.status != 200 or b'"accepted":100,' not in answer:
            raise SystemExit(f"{response.status}: {answer[:300]!r}")
    connection.close()


class Run(NamedTuple):
    """What one run came to."""

    per_s: float
    cpu_us: float
    """Of the sidecar for an event, most of its counting included."""
    waits: list[float]
    """For each answer, in seconds."""


def over_http(n_events: int) -> Run:
    """Send events into a fresh sidecar."""
    bodies = _bodies(n_events // BATCH_EVENTS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = folder / "meterline.toml"
        config.write_text(
            '[sidecar]\nsocket = "s"\ndatabase = "db"\nspool_dir = "spool"\n'
            f'http = "unix:{folder}/http"\nhttp_requests_per_s = 1_000_000\n'
            '[[meter]]\nname = "gpu_seconds"\naggregation = "sum"\n'
            'value = "quantities.gpu_seconds"\n'
        )
        with sidecar(config, folder / "http") as pid:
            waits: list[float] = []
            senders = [
                threading.Thread(
                    target=_send, args=(folder / "http", bodies[i::CONNECTIONS], waits)
                )
                for i in range(CONNECTIONS)
            ]
            before = cpu_s(pid)
            start = time.perf_counter()
            for sender in senders:
                sender.start()
            for sender in senders:
                sender.join()
            took = time.perf_counter() - start
            used = cpu_s(pid) - before
    if len(waits) < len(bodies):
        raise SystemExit("a sender has failed")
    n_events = len(bodies) * BATCH_EVENTS
    return Run(n_events / took, used / n_events * 1e6, waits)


def main() -> None:
    """Run interleaved rounds and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    ours: list[float] = []
    sockets: list[float] = []
    cpu: list[float] = []
    waits: list[float] = []
    for _ in range(options.rounds):
        sockets.append(through_the_socket(options.events)[0])
        run = over_http(options.events)
        ours.append(run.per_s)
        cpu.append(run.cpu_us)
        waits += run.waits
    cuts = statistics.quantiles(waits, n=100)
    result = {
        "events_per_s": statistics.median(ours),
        "events_per_s_range": [min(ours), max(ours)],
        "goal_per_s": GOAL_PER_S,
        "is_reached": statistics.median(ours) >= GOAL_PER_S,
        "sidecar_cpu_us_per_event": statistics.median(cpu),
        "socket_events_per_s": statistics.median(sockets),
        "answer_ms_p50": cuts[49] * 1000,
        "answer_ms_p99": cuts[98] * 1000,
    }
    tell(__doc__, result, as_json=options.json)


if __name__ == "__main__":
    main()
