"""Print the events of one ledger that another one does not have, as lines to import.

    python only_there.py edge.json centre.json > missing.jsonl

Both are what `meterline events --json` printed. Each line names its event as the edge did,
so that a file that is imported twice counts once. What cannot be said in a line is named,
and the program ends with 1.
"""

import json
import sys
from pathlib import Path
from typing import Any

UNCOUNTED = {"held", "duplicate"}
NAMES = ("time", "kind", "subject", "method", "route", "status")
SIZES = ("duration_us", "bytes_in", "bytes_out")
MORE = ("quantities", "properties")


def events_in(path: str) -> list[dict[str, Any]]:
    """Return all events that were printed.

    Raises:
        SystemExit: there were more.
    """
    found = json.loads(Path(path).read_text())
    if found["next_after"] is not None:
        sys.exit(f"{path} does not hold all: print it again with a larger --limit")
    events: list[dict[str, Any]] = found["events"]
    return events


def line_of(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event as it is imported."""
    named = event["external_id"] is not None
    line = {
        "id": event["external_id"] if named else event["event"],
        "source": event["source"] if named else "only there",
    }
    told = {name: event[name] for name in (*NAMES, *SIZES, *MORE)}
    return line | {name: value for name, value in told.items() if value}


def main(edge: str, centre: str) -> int:
    """Print the lines; return 1 where an event cannot be said in one."""
    there = {event["event"] for event in events_in(centre)}
    left_out = 0
    for event in events_in(edge):
        if event["event"] in there or UNCOUNTED & set(event["flags"]):
            continue
        if event["parts"]:
            left_out += 1
            print(
                f"event {event['event']}: not taken, as some of its quantities have"
                f" properties of their own: {event['parts']}",
                file=sys.stderr,
            )
            continue
        print(json.dumps(line_of(event)))
    return min(left_out, 1)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
