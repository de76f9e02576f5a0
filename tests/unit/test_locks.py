"""What is installed in production: pinned, with hashes, and above known holes."""

import importlib.util
import json
import re
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
LOCK: Final = (ROOT / "requirements" / "run.txt").read_text(encoding="utf-8")
IMAGE: Final = (ROOT / "requirements" / "image.txt").read_text(encoding="utf-8")
DEPLOY: Final = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
UNITS: Final = ROOT / "examples" / "systemd"
HARDENING: Final = re.compile(
    r"^(?:NoNew|Protect|Private|Restrict\w*(?:Families|Namespaces)|Lock|Capability|"
    r"SystemCall|Memory)\w*=.*$",
    re.MULTILINE,
)
PINNED: Final = re.compile(r"^([a-z0-9-]+)==([0-9.]+)", re.MULTILINE)


@pytest.fixture
def sbom() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "sbom", ROOT / "requirements" / "sbom.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


@pytest.mark.parametrize("lock", [LOCK, IMAGE], ids=["run", "image"])
def test_every_pin_has_a_hash_and_no_address(lock: str) -> None:
    pins = re.split(r"^(?=[a-z0-9-]+==)", lock, flags=re.MULTILINE)[1:]

    assert len(pins) > 20
    assert [pin for pin in pins if "--hash=sha256:" not in pin] == []
    assert "://" not in lock


def test_an_image_has_what_is_run_anywhere_and_the_driver_for_postgresql() -> None:
    run, image = set(PINNED.findall(LOCK)), set(PINNED.findall(IMAGE))

    assert run <= image
    assert {name for name, _ in image - run} == {"asyncpg"}


def test_what_the_package_takes_is_no_older_than_what_is_free_of_known_holes() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)["project"]
    bounds = "\n".join(project["optional-dependencies"]["sidecar"])
    taken = dict(re.findall(r"^([a-z0-9-]+)>=([0-9.]+)", bounds, re.MULTILINE))
    pinned = dict(PINNED.findall(LOCK))

    free = {
        "aiohttp": "3.13.3",
        "h11": "0.16",
        "jinja2": "3.1.6",
        "starlette": "0.49.1",
    }
    for name, version in free.items():
        assert numbers(taken[name]) >= numbers(version), name
        line = next(line for line in text.splitlines() if f'"{name}>=' in line)
        assert "CVE-" in line, f"{name}: which hole the bound is above"
    for name, version in taken.items():
        assert numbers(pinned[name]) >= numbers(version), name


def test_the_docs_install_from_the_lock() -> None:
    installs = [line for line in DEPLOY.splitlines() if "pip install" in line]

    assert "--require-hashes -r" in installs[0]
    assert all("--no-deps" in line for line in installs[1:])
    assert all("[sidecar]" not in line for line in installs)


def test_the_backup_is_as_hardened_as_the_service() -> None:
    service = HARDENING.findall((UNITS / "meterline.service").read_text())
    backup = HARDENING.findall((UNITS / "meterline-backup.service").read_text())

    # It opens no connection at all.
    assert "PrivateNetwork=yes" in backup
    changed = {line for line in service if line.startswith("RestrictAddressFamilies")}
    assert len(service) >= 12
    assert {*service} - changed <= {*backup}
    assert "RestrictAddressFamilies=AF_UNIX" in backup


def test_the_bill_of_materials_names_every_pin_with_its_hashes(
    sbom: ModuleType, tmp_path: Path
) -> None:
    target = tmp_path / "out" / "bill.json"
    sbom.main(target)
    first = target.read_bytes()
    sbom.main(target)

    bill = json.loads(first)
    assert target.read_bytes() == first
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert bill["metadata"]["component"]["name"] == "meterline"
    named = {(one["name"], one["version"]) for one in bill["components"]}
    assert named == {*re.findall(r"^([a-z0-9-]+)==([^\s;\\]+)", LOCK, re.MULTILINE)}
    hashes = [one["content"] for of in bill["components"] for one in of["hashes"]]
    assert sorted(hashes) == sorted(re.findall(r"sha256:([0-9a-f]{64})", LOCK))


def test_a_lock_without_hashes_makes_no_bill(sbom: ModuleType) -> None:
    with pytest.raises(ValueError, match="has no hash"):
        sbom.components("h11==0.16.0\n")
    with pytest.raises(ValueError, match="cannot read"):
        sbom.components("-e .\n")
