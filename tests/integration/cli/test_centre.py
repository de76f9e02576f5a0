"""``meterline centre``: a ledger moves to a server and back, with what lies beside it."""

import json
from pathlib import Path

from meterline import Meter
from tests.fleet import CENTRE, EDGE, make_certificate, on_server
from tests.patience import PATIENCE_S
from tests.postgres_server import shared, shared_database
from tests.sidecar_process import METERLINE, SIDECAR, SidecarProcess


def record(sidecar: SidecarProcess, *numbers: int) -> None:
    meter = Meter(socket=sidecar.socket, spool_dir=sidecar.spool_dir)
    for number in numbers:
        meter.record("n", number)
    meter.close(timeout_s=PATIENCE_S)


def test_a_ledger_moves_to_a_server_goes_on_there_and_moves_back(
    tmp_path: Path,
) -> None:
    database = shared_database()
    make_certificate(tmp_path, "centre")
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    old = SidecarProcess(tmp_path / "old")
    new = SidecarProcess(
        tmp_path / "new",
        sidecar=on_server(database) + 'role = "centre"\n',
        meterline=CENTRE.format(port=0) + METERLINE,
    )
    with old:
        record(old, 1, 2)
        old.until_counted(2)
        running = new.meterline("centre", "import", str(old.database))
        assert running.returncode == 1
        assert "in use by process" in running.stderr
        assert old.stop() == 0

    moved = new.meterline("centre", "import", str(old.database), "--json")
    again = new.meterline("centre", "import", str(old.database))
    verified = new.meterline("verify", "--json")

    assert moved.returncode == 0, moved.stderr
    assert json.loads(moved.stdout)["rows"]["events"] == 2
    assert again.returncode == 1
    assert "only an empty one" in again.stderr
    assert json.loads(verified.stdout)["sound"], verified.stdout
    key = "meterline.db.key"
    assert (new.folder / key).read_bytes() == (old.folder / key).read_bytes()
    with new:
        record(new, 3)
        new.until_counted(3)
        for command in ("backup", "restore"):
            refused = new.meterline(command, str(tmp_path / "copy.db"))
            assert (refused.returncode, "on a server" in refused.stderr) == (78, True)
        back = tmp_path / "back.db"
        running = new.meterline("centre", "export", str(back))
        assert (running.returncode, "in use by process" in running.stderr) == (1, True)
        assert new.stop() == 0
    assert new.meterline("verify").returncode == 0

    left = new.meterline("centre", "export", str(back), "--json")
    taken = new.meterline("centre", "export", str(back))

    assert left.returncode == 0, left.stderr
    assert json.loads(left.stdout)["rows"]["events"] == 3
    assert (taken.returncode, "is there already" in taken.stderr) == (1, True)
    old.database.rename(tmp_path / "old.db")
    for path in sorted(tmp_path.glob("back.db*")):
        path.replace(old.database.with_name(path.name.replace("back", "meterline")))
    with old:
        record(old, 4)
        old.until_counted(4)
        assert old.stop() == 0
    verified = old.meterline("verify", "--json")
    assert json.loads(verified.stdout)["sound"], verified.stdout


def test_a_move_that_came_to_nothing_can_be_made_another_day(tmp_path: Path) -> None:
    there = shared_database()
    make_certificate(tmp_path, "centre")
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    old = SidecarProcess(tmp_path / "old")
    new = SidecarProcess(
        tmp_path / "new",
        sidecar=on_server(there) + 'role = "centre"\n',
        meterline=CENTRE.format(port=0) + METERLINE,
    )
    words = new.config.read_text()
    new.config.write_text(words.replace(str(there), str(shared(15).url("gone"))))
    with old:
        record(old, 1)
        old.until_counted(1)
        assert old.stop() == 0

    failed = new.meterline("centre", "import", str(old.database))
    left = {path.name for path in new.folder.glob("meterline.db*")}
    with old:
        record(old, 2)
        old.until_counted(2)
        assert old.stop() == 0
    new.config.write_text(words)
    moved = new.meterline("centre", "import", str(old.database))

    assert failed.returncode == 1
    assert left <= {"meterline.db.lock"}
    assert moved.returncode == 0, moved.stderr
    out = tmp_path / "out.db"
    head = tmp_path / "out.db.head"
    head.write_text("of another ledger")
    refused = new.meterline("centre", "export", str(out))
    assert refused.returncode == 1
    assert "take it away" in refused.stderr
    assert {path.name for path in tmp_path.glob("out.db*")} <= {
        *("out.db.head", "out.db.lock")
    }
    head.unlink()
    assert new.meterline("centre", "export", str(out)).returncode == 0


def test_only_a_database_on_a_server_takes_a_ledger_in(tmp_path: Path) -> None:
    sidecar = SidecarProcess(tmp_path)

    refused = sidecar.meterline("centre", "import", str(sidecar.config))

    assert refused.returncode == 78
    assert "moved to a database on a server" in refused.stderr


def test_check_tells_what_each_side_of_the_wire_lacks(tmp_path: Path) -> None:
    (tmp_path / "centre").mkdir()
    (tmp_path / "edge").mkdir()
    centre = SidecarProcess(
        tmp_path / "centre",
        sidecar=SIDECAR + 'role = "centre"\n',
        meterline=CENTRE.format(port=0) + METERLINE,
    )
    edge = SidecarProcess(
        tmp_path / "edge",
        sidecar=SIDECAR + 'role = "edge"\n',
        meterline=EDGE.format(port=1, name="one"),
        pricing="",
    )

    without = [host.meterline("check").stdout for host in (centre, edge)]
    (tmp_path / "centre.key").write_text("no key")
    broken = centre.meterline("check").stdout
    make_certificate(tmp_path, "centre")
    (tmp_path / "token").write_text("\n")
    empty = edge.meterline("check").stdout
    (tmp_path / "token").write_text("mtl_any\n")
    with_all = [host.meterline("check").stdout for host in (centre, edge)]

    assert "centre.tls_key: there is no file" in without[0]
    assert "centre.tls_certificate: there is no file" in without[0]
    assert "centre.ca_file: " in without[1]
    assert without[1].count("centre.token_file: ") == 1
    assert "centre.tls_certificate: " in broken
    assert "token is empty: write a token into it" in empty
    assert "centre.ca_file" not in empty
    for told in with_all:
        assert "centre.tls_certificate" not in told
        assert "cannot" not in told
        assert "is empty" not in told
