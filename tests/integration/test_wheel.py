"""What ``pip install`` puts on a machine: built here, tried outside of the checkout."""

import os
import shutil
import subprocess
import sys
import sysconfig
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
    _build(folder)
    (wheel,) = folder.glob("*.whl")
    site = folder / "site"
    zipfile.ZipFile(wheel).extractall(site)
    return site


def _build(folder: Path, **environment: str) -> str:
    """Make a wheel in a folder; return what was said meanwhile."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "build", "--wheel", "--no-isolation"),
            *("--outdir", str(folder), str(ROOT)),
        ],
        env={**os.environ, "METERLINE_PURE": "", **environment},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout + done.stderr


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


def test_a_wheel_has_what_is_compiled_and_not_its_text(site: Path) -> None:
    code = "from meterline.compiled import native; print(native is not None)"
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    compiled = [path.name for path in site.rglob("native*")]

    (tags,) = site.glob("*.dist-info/WHEEL")
    is_pure = "Root-Is-Purelib: true" in tags.read_text()

    assert compiled == ([] if is_pure else [f"native{suffix}"])
    assert python(site, code) == str(not is_pure)
    assert is_pure == (shutil.which("cc") is None)


@pytest.mark.parametrize(
    "variable", [{"CC": "no-such-compiler"}, {"METERLINE_PURE": "1"}]
)
def test_where_nothing_can_be_compiled_the_wheel_is_for_every_machine(
    tmp_path: Path, variable: dict[str, str]
) -> None:
    done = _build(tmp_path, **variable)

    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.endswith("-py3-none-any.whl")
    assert ("requests go the way in Python" in done) == ("CC" in variable)


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
