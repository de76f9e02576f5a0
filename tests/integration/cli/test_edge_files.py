"""An edge that is stopped leaves its raw events in files, which its centre reads."""

import asyncio
import csv
import json
from pathlib import Path
from typing import Final

from meterline_sidecar.cli.exits import EXIT_FOUND
from tests.fleet import Fleet
from tests.integration.cli.test_archive import run, ship
from tests.producer import event
from tests.sidecar_process import METERLINE

ARCHIVE: Final = '[archive]\nurl = "../archive"\n'
NOVEMBER: Final = ("--period", "2026-11")


def test_raw_events_outlive_the_disk_of_an_edge(tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    folder.mkdir()
    clock = "2026-11-06T12:00:00Z"
    with Fleet(tmp_path, meterline=METERLINE + ARCHIVE, clock=clock) as fleet:
        centre = fleet.centre
        edge = fleet.edge("one", more=f'forward = "usage"\n{ARCHIVE}')
        used = [event(), event(status=500), event(subject="stranger")]
        asyncio.run(ship(edge.socket, *used, producer="a" * 32))
        centre.until_counted(2)  # what it comes to, of two subjects
        assert edge.stop() == 0  # which sends, and files, all that it has
        (file,) = folder.iterdir()
        for path in edge.folder.glob("meterline.db*"):
            path.unlink()

        (noted,) = json.loads(run(centre, "archive", "list", "--json"))["edge_files"]
        assert (noted["file"], noted["edge"]) == (file.name, "one")
        listed = json.loads(run(centre, "events", "--at-edges", *NOVEMBER, "--json"))
        assert [one["id"] for one in listed["events"]] == [1, 2, 3]
        line = ("explain", "acme", "api_calls", *NOVEMBER)
        of_line = run(centre, *line, "--events", "csv", "--at-edges")
        assert [row["id"] for row in csv.DictReader(of_line.splitlines())] == ["1"]

        file.write_bytes(b"something else")
        assert "not the file" in run(centre, "verify", exits=EXIT_FOUND)
