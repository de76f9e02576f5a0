"""A full stream for ten minutes, with everything on: is usage ever more than 5 s old?

Two workers record requests through ``Meter`` and ship them as apps do; the sidecar takes
them in, packs them, counts two meters of 200 customers and makes their running totals.
Each second it is asked how many events it has and how many are counted.

Usage is as old as the oldest event that is not counted yet, also where that is still in
a worker's spool.
"""

import argparse
import bisect
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import httpx

from benchmarks.harness import cpu_s, memory_of, tell
from benchmarks.rates import WORKERS, sidecar, stored, work

OLD_GOAL_S: Final = 5
RATE_GOAL: Final = 120_000
DRAINED_WITHIN_S: Final = 120


class Second(NamedTuple):
    """What was seen at one moment."""

    at_s: float
    recorded: int
    stored: int
    behind: int

    @property
    def counted(self) -> int:
        """How many events are in usage."""
        return self.stored - self.behind


def _old_s(seen: Sequence[Second]) -> Iterator[float]:
    """Yield how old usage was at each moment: since when there was more than is counted."""
    at = [0.0, *(one.at_s for one in seen)]
    recorded = [0, *(one.recorded for one in seen)]
    for i, one in enumerate(seen, 1):
        k = bisect.bisect_left(recorded, one.counted, 1, i)
        span = max(1, recorded[k] - recorded[k - 1])
        part = (one.counted - recorded[k - 1]) / span
        yield one.at_s - at[k - 1] - part * (at[k] - at[k - 1])


def measure(folder: Path, rate: int, seconds: float) -> dict[str, object]:
    """Record at a rate for some time, and say how the sidecar fared."""
    with sidecar(folder) as pid:
        began_s = time.monotonic()
        recorded = [multiprocessing.Value("q", 0) for _ in range(WORKERS)]
        workers = [
            multiprocessing.Process(
                target=work, args=(str(folder), rate / WORKERS, seconds, True, of_one)
            )
            for of_one in recorded
        ]
        for worker in workers:
            worker.start()
        transport = httpx.HTTPTransport(uds=str(folder / "http"))
        found: list[Second] = []

        def look(client: httpx.Client) -> Second:
            n_stored = stored(folder)  # first: what comes meanwhile seems older
            answer = client.get("/status", headers={"Accept": "application/json"})
            behind = answer.raise_for_status().json()["aggregation"]["behind_events"]
            n_recorded = sum(one.value for one in recorded)
            return Second(time.monotonic() - began_s, n_recorded, n_stored, int(behind))

        with httpx.Client(transport=transport, base_url="http://localhost") as client:
            while time.monotonic() < began_s + seconds:
                time.sleep(1)
                found.append(look(client))
            used_s, memory = cpu_s(pid), memory_of(pid)
            while (last := look(client)).behind or any(
                worker.is_alive() for worker in workers
            ):
                if last.at_s > seconds + DRAINED_WITHIN_S:
                    raise TimeoutError(f"{last.behind} events are not counted")
                time.sleep(0.2)
        n_bytes = sum(path.stat().st_size for path in folder.glob("db*"))
    old_s = sorted(_old_s(found))
    half = found[len(found) // 2]
    return {
        "events": last.stored,
        "events_per_s": found[-1].recorded / found[-1].at_s,
        "events_per_s_goal": RATE_GOAL,
        "events_per_s_of_the_first_half": half.recorded / half.at_s,
        "usage_old_s_p50": statistics.median(old_s),
        "usage_old_s_most": old_s[-1],
        "usage_old_s_goal": OLD_GOAL_S,
        "all_counted_after_the_end_s": last.at_s - seconds,
        "cpu_us_an_event": used_s / found[-1].stored * 1e6,
        "memory_mib": memory.resident,
        "ledger_bytes_an_event": n_bytes / last.stored,
    }


def main() -> None:
    """Measure one rate and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=RATE_GOAL, help="events a second")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        result = measure(Path(name), options.rate, options.minutes * 60)
    tell(__doc__, result, as_json=options.json)


if __name__ == "__main__":
    main()
