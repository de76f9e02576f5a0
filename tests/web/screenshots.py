# pyright: basic
# selenium types only a part of what it has.
"""``make screenshots``: pictures of every page, to be looked at.

Written to docs/pictures/ (or the folder that is given).
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.producer import PRODUCER
from tests.web.browser import browser, seen_as
from tests.web.scene import month, scene

PAGES = {
    "overview": "/",
    "usage": "/usage?group_by=route&range=30d",
    "customers": "/customers",
    "customer": "/customers/acme",
    "events": "/events",
    "outbox": "/outbox",
    "pricing": "/pricing",
    "alerts": "/alerts",
}

OTHER = PRODUCER[:-1] + "7"
LOOKS: dict[str, dict[str, Any]] = {
    "": {},
    "-dark": {"is_dark": True},
    "-narrow": {"width": 400},
}


def main(target: Path) -> None:
    """Take them all: light, dark, and on a narrow screen."""
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        with scene(work) as sidecar, sidecar.worker(OTHER):
            with sidecar.worker(PRODUCER):
                pass
            events = month(12_000)
            sidecar.ship(*events)
            sidecar.until_counted(len(events))
            with sidecar.client() as client:
                client.post("/v1/report").raise_for_status()
            made = sidecar.meterline("token", "portal", "--customer", "acme")
            pages = {**PAGES, "portal": f"/portal?token={made.stdout.strip()}"}
            with sidecar.worker(PRODUCER), browser(work / "profile") as chrome:
                for name, path in pages.items():
                    for look, how in LOOKS.items():
                        with seen_as(chrome, **how):
                            chrome.get(f"{sidecar.url}{path}")
                            chrome.save_screenshot(str(target / f"{name}{look}.png"))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/pictures"))
