"""Whoever looks while everything else goes on: pages, the API, and commands."""

import random
import time
from typing import Final

import httpx

from meterline import portal_token, read_portal_key
from tests.sidecar_process import unix_client
from tests.soak.book import FIXED
from tests.soak.loops import Deed
from tests.soak.stage import Stage

PATHS: Final = (
    *("/", "/usage", "/customers", "/customers/steady", "/events", "/outbox"),
    *("/pricing", "/alerts", "/usage?range=30d", "/metrics", "/status"),
    *("/livez", "/readyz", "/v1/usage", "/v1/events", "/v1/customers"),
    *("/v1/customers/wander/invoice", "/v1/events?subject=steady_1", "/openapi.json"),
)
ANSWER_TIMEOUT_S: Final = 30
PORTAL_TTL_S: Final = 600
OK: Final = 200
NOT_READY: Final = 503
FOUND_SOMETHING: Final = 3  # an exit code


def read_pages(stage: Stage, chance: random.Random) -> None:
    """Read all pages, a customer's own, and some of the API, in any order."""
    customer = chance.choice(FIXED)
    key = read_portal_key(stage.disk / "meterline.db.portal-key")
    token = portal_token(customer, key=key, ttl_s=PORTAL_TTL_S)
    paths = [*PATHS, f"/portal?token={token}", f"/portal/usage.json?token={token}"]
    for path in chance.sample(paths, len(paths)):
        if stage.is_over.is_set():
            return
        _read(stage, path)


def _read(stage: Stage, path: str) -> None:
    """Read one; 200 is right, and whatever a disturbance explains is no failure."""
    before = stage.disturbances
    start_s = time.monotonic()
    with unix_client(stage.sidecar.http, timeout=ANSWER_TIMEOUT_S) as client:
        try:
            answer = client.get(path)
        except httpx.HTTPError as error:
            if _was_undisturbed(stage, before):
                stage.journal.fail(f"{path}: {error!r}")
            return
    took_s = time.monotonic() - start_s
    stage.journal.pages[answer.status_code] += 1
    if answer.status_code == OK:
        if _was_undisturbed(stage, before):
            stage.journal.page_seconds.append(took_s)
    elif answer.status_code != NOT_READY or _was_undisturbed(stage, before):
        stage.journal.fail(f"{path}: {answer.status_code}: {answer.text[:300]}")


def back_up(stage: Stage, _chance: random.Random) -> None:
    """Make a verified copy, and remove it."""
    folder = stage.folder / "backup"
    folder.mkdir()
    try:
        _run(stage, "backup", str(folder / "copy.db"))
    finally:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()


def verify(stage: Stage, _chance: random.Random) -> None:
    """Verify the ledger beside the running sidecar."""
    _run(stage, "verify")


def doctor(stage: Stage, _chance: random.Random) -> None:
    """Look for whatever could be wrong; it may well find what was just done."""
    _run(stage, "doctor", may_find=True)


def look(stage: Stage, chance: random.Random) -> None:
    """Ask by a command what pages show, too."""
    commands = (("status",), ("usage",), ("invoice", "steady"), ("check",))
    _run(stage, *chance.choice(commands), may_find=True)


def _run(stage: Stage, *command: str, may_find: bool = False) -> None:
    """Run a command; what it finds is a failure unless that may be."""
    before = stage.disturbances
    done = stage.run_command(*command)
    stage.journal.note(f"command {command[0]}", str(done.returncode))
    output = done.stdout + done.stderr
    is_found = done.returncode == FOUND_SOMETHING
    if "Traceback" in output or (is_found and not may_find):
        stage.journal.fail(f"{command[0]}: {done.returncode}: {output[-1500:]}")
    elif done.returncode and not is_found and _was_undisturbed(stage, before):
        stage.journal.fail(f"{command[0]}: {done.returncode}: {output[-500:]}")


def _was_undisturbed(stage: Stage, before: int) -> bool:
    return before % 2 == 0 and before == stage.disturbances


ON_PAGES: Final[tuple[Deed, ...]] = (read_pages,)
BY_COMMAND: Final[tuple[Deed, ...]] = (back_up, verify, verify, doctor, look)
