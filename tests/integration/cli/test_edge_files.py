"""An edge that is stopped leaves its raw events in files, which its centre reads."""

import asyncio
import csv
import json
from pathlib import Path
from typing import Final

from meterline_sidecar.cli.exits import EXIT_FAILED, EXIT_FOUND
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


def test_a_centre_with_an_archive_of_its_own_reads_files_where_its_edges_write_them(
    tmp_path: Path,
) -> None:
    own, theirs = tmp_path / "own", tmp_path / "archive"
    own.mkdir()
    theirs.mkdir()
    keys = f'[archive]\nurl = "{own}"\n'
    clock = "2026-11-06T12:00:00Z"
    with Fleet(tmp_path, meterline=METERLINE + keys, clock=clock) as fleet:
        centre = fleet.centre
        edge = fleet.edge("one", more=f'forward = "usage"\n{ARCHIVE}')
        asyncio.run(ship(edge.socket, event(), producer="a" * 32))
        centre.until_counted(1)
        assert edge.stop() == 0
        (file,) = theirs.iterdir()
        written = centre.config.read_text()

        def said(places: str) -> list[str]:
            """Say where edges write, and return what the centre and others say then."""
            centre.stop()
            centre.config.write_text(written.replace(keys, f"{keys}edges = {places}\n"))
            centre.start()
            doctor = centre.meterline("doctor").stdout
            return [doctor, run(centre, "archive", "list")]

        doctor, listed = said(f'["{own}"]')  # as without the key
        assert f"at {own}, 1 file of edges with 2 events is missing" in doctor
        assert "archive.edges" in doctor
        refused = centre.meterline("archive", "restore", file.name)
        assert refused.returncode == EXIT_FAILED
        assert "was never in this ledger: an edge wrote it" in refused.stderr

        doctor, listed = said(f'["{own}", "{theirs}"]')
        assert f"archive files: 1 file at {own} or {theirs}" in doctor
        assert f"files of edges are read at {own} or {theirs}" in listed
        found = run(centre, "events", "--at-edges", *NOVEMBER, "--json")
        assert [one["file"] for one in json.loads(found)["events"]] == [file.name]
        assert "1 file of edges read" in run(centre, "verify")

        doctor, listed = said("[]")
        assert "archive files" not in doctor
        assert "this centre reads no files of edges" in listed
        assert "1 file of edges not read" in run(centre, "archive", "verify")
        assert "1 file of edges not read" in run(centre, "verify")
        told = run(centre, "events", "--at-edges", *NOVEMBER)
        assert f"{file.name} is needed, with events 1 to 2" in told
        assert "archive.edges" in told
