"""Writes a bill of materials of what runs: CycloneDX 1.6, made from run.txt alone.

Run by ``make sbom``. It asks no network and no environment, and says nothing of the day:
the same lock makes the same file.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
LOCK: Final = ROOT / "requirements" / "run.txt"
VERSION_FILE: Final = ROOT / "middleware" / "meterline" / "__init__.py"

PINNED: Final = re.compile(r"^([a-z0-9._-]+)==(\S+?)\s*(?:;\s*(.+?))?\s*\\?$")
HASH: Final = re.compile(r"--hash=sha256:([0-9a-f]{64})")
VERSION: Final = re.compile(r'^__version__.*= "([^"]+)"', re.MULTILINE)


def components(lock: str) -> list[dict[str, Any]]:
    """Return every pinned package with the hashes of all files that may be installed.

    Raises:
        ValueError: a line is neither a pin, a hash nor a comment, or a pin has no hash.
    """
    found: list[dict[str, Any]] = []
    for line in lock.splitlines():
        text = line.strip()
        if match := PINNED.match(text):
            found.append(_component(*match.groups()))
        elif match := HASH.match(text):
            found[-1]["hashes"].append({"alg": "SHA-256", "content": match[1]})
        elif text and not text.startswith("#"):
            raise ValueError(f"{LOCK.name}: cannot read {text!r}")
    for one in found:
        if not one["hashes"]:
            raise ValueError(f"{LOCK.name}: {one['name']} has no hash; run `make lock`")
    return found


def _component(name: str, version: str, marker: str | None) -> dict[str, Any]:
    purl = f"pkg:pypi/{name}@{version}"
    found: dict[str, Any] = {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
        "hashes": [],
    }
    if marker:
        found["properties"] = [{"name": "meterline:marker", "value": marker}]
    return found


def bill(lock: str, *, version: str) -> dict[str, Any]:
    """Return the bill of materials of a Meterline and the packages of a lock."""
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": "meterline",
                "name": "meterline",
                "version": version,
                "purl": f"pkg:pypi/meterline@{version}",
            }
        },
        "components": components(lock),
    }


def main(target: Path) -> None:
    """Write the file."""
    found = VERSION.search(VERSION_FILE.read_text(encoding="utf-8"))
    assert found is not None, f"{VERSION_FILE} says the version"
    text = json.dumps(
        bill(LOCK.read_text(encoding="utf-8"), version=found[1]), indent=2
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
