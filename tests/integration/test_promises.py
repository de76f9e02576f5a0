"""Where a program is missing that tests need, a whole run shows what can be shown."""

import subprocess
import sys
from pathlib import Path
from typing import Final

from tests import guarantees
from tests.patience import PATIENCE_S

ROOT: Final = Path(__file__).parents[2]
WITHOUT_A_SERVER: Final = """
import tests.postgres_server

tests.postgres_server.programs = lambda version: None


def pytest_runtest_logreport(report):
    if report.skipped:
        print("\\nNOT SHOWN", report.nodeid)
"""
ON_EACH_DRIVER: Final = "tests/store/"


def test_the_page_says_which_of_its_tests_need_a_server(tmp_path: Path) -> None:
    (tmp_path / "without_a_server.py").write_text(WITHOUT_A_SERVER)
    page = guarantees.PAGE.read_text(encoding="utf-8")
    named = [
        name
        for name in sorted(guarantees.named(page))
        if name.startswith(ON_EACH_DRIVER)
        or "tests.postgres_server" in (ROOT / name.partition("::")[0]).read_text()
    ]

    plugins = ("without_a_server", "no:xdist", "no:cacheprovider")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-s"),
            *(f"-p{plugin}" for plugin in plugins),
            *named,
        ],
        cwd=ROOT,
        env={"PATH": "", "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    skipped = {
        guarantees.test_of(line.split()[2])
        for line in done.stdout.splitlines()
        if line.startswith("NOT SHOWN ")
    }
    assert skipped
    assert skipped <= guarantees.may_be_skipped(page)
