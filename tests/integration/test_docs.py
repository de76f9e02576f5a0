"""The commands of README.md and docs/tutorial.md, run as they are written.

A block ``sh`` is run, a block ``LANGUAGE FILE`` is written to that file, and a block
``text`` after a command must be in what it prints, line by line, ``...`` for anything.
Blocks ``bash`` are for the reader: they install things, or run these tests.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

import meterline
from meterline import MeterMiddleware
from tests.patience import PATIENCE_S
from tests.ports import Port
from tests.sidecar_process import COMMAND_TIMEOUT_S, until

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```(\w*)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)

PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("*/*/*.md")]
    if ".venv" not in path.parts
)


async def greet(request: Request) -> PlainTextResponse:
    meterline.record("characters", 3)
    return PlainTextResponse("hello")


class Block(NamedTuple):
    language: str
    file: str
    text: str


def blocks_of(page: str) -> Iterator[Block]:
    for match in FENCE.finditer((ROOT / page).read_text()):
        yield Block(match[1], match[2] or "", match[3])


class Reader:
    """Somebody who types the commands of a page into a shell."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._http, self._app = Port(), Port()
        binaries = Path(sys.executable).parent
        self._environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("METERLINE_")},
            "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
            "METERLINE_STATE_DIR": str(folder / "state"),
            "METERLINE_HTTP": f"127.0.0.1:{self._http.number}",
            "UVICORN_PORT": str(self._app.number),
        }
        self._in_background: list[subprocess.Popen[bytes]] = []

    def run(self, commands: str) -> str:
        """Run some lines and return what they print; ``&`` starts a process."""
        lines = commands.replace("127.0.0.1:8000", f"127.0.0.1:{self._app.number}")
        ends = [line for line in lines.splitlines() if line.endswith(" &")]
        if not ends:
            done = self._start(lines, stdout=subprocess.PIPE)
            out, _ = done.communicate(timeout=COMMAND_TIMEOUT_S)
            assert done.returncode == 0, out.decode()
            return out.decode()
        for line in ends:
            command = self._start(line.removesuffix(" &"), stdout=None)
            self._in_background.append(command)
        until(lambda: self._http.is_listening() and self._app.is_listening())
        return ""

    def end(self) -> None:
        """End what was started in the background."""
        for process in reversed(self._in_background):
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(PATIENCE_S)
        self._http.close()
        self._app.close()

    def _start(self, line: str, *, stdout: int | None) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            ["bash", "-euc", line],
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            start_new_session=True,
        )


def missing(expected: str, printed: str) -> list[str]:
    """Return the lines that were not printed; the width of gaps is no matter."""
    shown = [" ".join(line.split()) for line in printed.splitlines()]
    return [
        line
        for line in expected.splitlines()
        if not any(_pattern(line).fullmatch(candidate) for candidate in shown)
    ]


def _pattern(line: str) -> re.Pattern[str]:
    parts = re.split(r" ?\.\.\. ?", " ".join(line.split()))
    return re.compile(".*" + ".*".join(map(re.escape, parts)))


@pytest.fixture
def reader(tmp_path: Path) -> Generator[Reader]:
    reader = Reader(tmp_path)
    yield reader
    reader.end()


def follow(page: str, reader: Reader) -> int:
    """Do what the page says; return how many blocks of commands were run."""
    commands = printed = ""
    n_run = 0
    for block in blocks_of(page):
        if block.file:
            (reader.folder / block.file).write_text(block.text)
        elif block.language == "sh":
            commands, printed = block.text, reader.run(block.text)
            n_run += 1
        elif block.language == "text" and commands:
            # Usage is added up every two seconds: a reader would look again.
            end_s = time.monotonic() + PATIENCE_S
            while missing(block.text, printed) and time.monotonic() < end_s:
                printed = reader.run(commands)
            assert missing(block.text, printed) == [], printed
            commands = ""
    return n_run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "n_blocks"), [("README.md", 1), ("docs/tutorial.md", 8)]
)
def test_the_commands_of_a_page_do_what_it_says(
    page: str, n_blocks: int, reader: Reader
) -> None:
    assert follow(page, reader) == n_blocks


def test_an_app_is_tested_as_the_page_of_the_middleware_shows(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "middleware.md").read_text()
    (_, _, shown) = FENCE.findall(page.partition("## In your tests")[2])[0]
    assert shown.count("assert ") == 2

    exec(
        shown,
        {
            "app": Starlette(routes=[Route("/hello/{name}", greet)]),
            "tmp_path": tmp_path,
            "MeterMiddleware": MeterMiddleware,
            "TestClient": TestClient,
        },
    )


def headings(page: Path) -> set[str]:
    """Return what links can name in a page, made as GitHub makes it."""
    found = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {
        re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-")
        for heading in found
    }


@pytest.mark.parametrize("page", PAGES)
def test_every_link_of_a_page_leads_somewhere(page: str) -> None:
    here = ROOT / page
    links = re.findall(r"\]\(([^)\s]+)\)", here.read_text())
    astray: list[str] = []
    for link in links:
        if "://" in link:
            continue
        file, _, heading = link.partition("#")
        target = here.parent / file if file else here
        if not target.exists() or (heading and heading not in headings(target)):
            astray.append(link)

    assert astray == []
