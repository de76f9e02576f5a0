"""What ``pip install`` puts on a machine: built here, tried outside of the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import meterline as app_side
from tests.sidecar_process import meterline

ROOT = Path(__file__).parents[2]
PACKAGES = ["meterline", "meterline_pricing", "meterline_sidecar"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory that holds what the wheel holds."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [
            *(sys.executable, "-m", "build", "--wheel", "--no-isolation"),
            *("--outdir", str(folder), str(ROOT)),
        ],
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    site = folder / "site"
    zipfile.ZipFile(wheel).extractall(site)
    return site


def python(site: Path, code: str) -> str:
    """Run a line of Python with the wheel's packages before all others."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=site.parent,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_the_wheel_holds_three_typed_packages_and_nothing_else(site: Path) -> None:
    info = f"meterline-{app_side.__version__}.dist-info"

    assert sorted(path.name for path in site.iterdir()) == sorted([*PACKAGES, info])
    assert all((site / package / "py.typed").is_file() for package in PACKAGES)
    assert (site / info / "licenses" / "LICENSE").is_file()


def test_the_app_side_brings_msgspec_and_nothing_else(site: Path) -> None:
    code = (
        "import sys; before = set(sys.modules); import meterline;"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before};"
        "print(*sorted(new - set(sys.stdlib_module_names) - {'typing_extensions'}))"
    )  # msgspec looks whether that one is there, and does without

    assert python(site, code) == "meterline msgspec"
    (metadata,) = site.glob("*.dist-info/METADATA")
    required = [
        line
        for line in metadata.read_text().splitlines()
        if line.startswith("Requires-Dist") and "extra ==" not in line
    ]
    assert required == ["Requires-Dist: msgspec>=0.19"]


def test_the_packages_are_those_of_the_wheel(site: Path) -> None:
    code = f"import {', '.join(PACKAGES)}; print(meterline_sidecar.__file__)"

    assert python(site, code) == str(site / "meterline_sidecar" / "__init__.py")


@pytest.mark.slow
def test_the_demo_and_a_first_configuration_work_from_the_wheel(
    site: Path, tmp_path: Path
) -> None:
    where = {"PYTHONPATH": str(site)}

    for command in (["init"], ["check"], ["demo"]):
        done = meterline(*command, cwd=tmp_path, environment=where)

        assert done.returncode == 0, done.stderr
    assert "$70.00" in done.stdout
