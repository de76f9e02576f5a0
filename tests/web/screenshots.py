# pyright: basic
# selenium types only a part of what it has.
"""``make screenshots``: pictures of every page, to be looked at.

Written to docs/pictures/ (or the folder that is given).
"""

import sys
import tempfile
from pathlib import Path

from tests.web.browser import browser
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


def main(target: Path) -> None:
    """Take them all, light and dark, and the first page on a narrow screen."""
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        with scene(work) as sidecar, sidecar.worker("0" * 31 + "7"):
            events = month(12_000)
            sidecar.ship(*events)
            sidecar.until_counted(len(events))
            made = sidecar.meterline("token", "portal", "--customer", "acme")
            pages = {**PAGES, "portal": f"/portal?token={made.stdout.strip()}"}
            for is_dark in (False, True):
                with browser(work / f"profile{is_dark}", is_dark=is_dark) as chrome:
                    for name, path in pages.items():
                        chrome.get(f"{sidecar.url}{path}")
                        chrome.save_screenshot(
                            str(target / f"{name}{'-dark' if is_dark else ''}.png")
                        )
            with browser(work / "narrow", width=500, height=1100) as chrome:
                for name, path in pages.items():
                    chrome.get(f"{sidecar.url}{path}")
                    chrome.save_screenshot(str(target / f"{name}-narrow.png"))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/pictures"))
