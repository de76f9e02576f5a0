"""Tries versions of frameworks under servers, and writes docs/compatibility.md.

Each version has an environment of its own. ``make compat`` tries all; ``make compat
ONLY=starlette`` one framework, ``ONLY=wsgi`` the servers of WSGI apps; then it writes
nothing.
"""

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Final, NamedTuple

from tests.compat.apps import WSGI
from tests.compat.pair import ROUTES, SERVERS, WSGI_SERVERS

ROOT: Final = Path(__file__).resolve().parents[2]
ENVIRONMENTS: Final = ROOT / ".compat"
PAGE: Final = ROOT / "docs" / "compatibility.md"
COMMON: Final = (
    "msgspec",
    "pytest>=9",
    "pytest-asyncio>=1.2",
    "pytest-timeout>=2.3",
    "pytest-xdist>=3.6",
    "anyio",
    "hypothesis",
    "httpx",
    "trio",
)
TEMPLATES: Final = (
    ("starlette==0.40.0", "fastapi==0.115.2"),
    ("starlette==0.46.2", "fastapi==0.115.14"),
    ("starlette==0.50.0", "fastapi==0.124.0"),
    ("starlette==0.52.1", "fastapi"),
    ("starlette==1.0.0", "fastapi"),
    ("starlette==1.6.0", "fastapi"),
    ("starlette", "fastapi"),
)
"""Whose route templates are tried, in process."""

PAIR_S_MAX: Final = 300.0
SERVER_PACKAGES: Final = (*SERVERS, "uvicorn-worker")
OLD_SERVERS: Final = {
    "uvicorn": "0.30.0",
    "hypercorn": "0.17.0",
    "granian": "2.0.0",
    "daphne": "4.1.0",
    "gunicorn": "22.0.0",
}


OF_WSGI_SERVERS: Final = {
    "gunicorn-threads": ("gunicorn",),
    "gunicorn-gevent": ("gunicorn", "gevent", "packaging"),
    "uwsgi": ("uwsgi",),
    "waitress": ("waitress",),
}
"""What is installed for each; of the first two the page has the version."""


WRONG_WITHOUT_US: Final = {
    *(("sanic", wanted, "daphne") for wanted in ("oldest", "newest")),
    ("blacksheep", "oldest", "daphne"),
}
"""What answers 500 also without the middleware; the page says so."""


class Framework(NamedTuple):
    """What is installed, and what its oldest version is."""

    title: str
    package: str
    oldest: str


FRAMEWORKS: Final = {
    "starlette": Framework("Starlette", "starlette", "0.40.0"),
    "fastapi": Framework("FastAPI", "fastapi", "0.115.2"),
    "litestar": Framework("Litestar", "litestar", "2.13.0"),
    "quart": Framework("Quart", "quart", "0.20.0"),
    "django": Framework("Django, ASGI", "django", "5.1"),
    "sanic": Framework("Sanic", "sanic", "24.6.0"),
    "blacksheep": Framework("BlackSheep", "blacksheep", "2.0.8"),
    "strawberry": Framework("Strawberry on Starlette", "strawberry-graphql", "0.240.0"),
    "flask": Framework("Flask", "flask", "3.0.0"),
    "django_wsgi": Framework("Django, WSGI", "django", "5.1"),
}


BESIDES: Final = {
    # It takes sniffio for granted, which newer versions of anyio do without.
    "litestar": ("sniffio",),
    "strawberry": ("starlette",),
    # It takes any graphql-core, and needs one before 3.3.
    "strawberry-graphql==0.240.0": ("starlette", "graphql-core<3.3"),
}
"""What else is installed beside a framework, or one version of it."""


class Row(NamedTuple):
    """One environment, and whether each server served the app right there."""

    title: str
    version: str
    results: dict[str, str]
    wrong_without_us: frozenset[str] = frozenset()


def main() -> None:
    """Try everything, and fail if anything is wrong."""
    only = os.environ.get("ONLY", "")
    failed: list[str] = []
    if not only:
        failed = [" ".join(t) for t in TEMPLATES if not _templates_are_right(t)]
    frameworks, servers = _frameworks(only), [] if only else _servers()
    wsgi = _wsgi_servers() if only in ("", "wsgi") else []
    for row in (*frameworks, *servers, *wsgi):
        for server, problem in row.results.items():
            name = f"{row.title} {row.version} under {server}"
            if problem and server not in row.wrong_without_us:
                failed.append(f"{name}: {problem}")
            elif not problem and server in row.wrong_without_us:
                failed.append(f"{name} is right by now: take it out of the list")
    if not only:
        PAGE.write_text(_page(frameworks, servers, wsgi), encoding="utf-8")
    if failed:
        sys.exit("failed:\n" + "\n".join(failed))


def _templates_are_right(packages: tuple[str, ...]) -> bool:
    _say(" ".join(packages))
    python = _environment("-".join(packages), *COMMON, *packages)
    command = [str(python), "-m", "pytest", "-q", "-W", "default", "tests/compat"]
    done = subprocess.run(command, cwd=ROOT, env=_variables(), check=False)
    return done.returncode == 0


def _frameworks(only: str) -> list[Row]:
    rows: list[Row] = []
    for name, framework in FRAMEWORKS.items():
        if only not in ("", name):
            continue
        servers = ("gunicorn", "granian") if name in WSGI else tuple(SERVERS)
        for wanted in (f"=={framework.oldest}", ""):
            package = f"{framework.package}{wanted}"
            packages = (package, *BESIDES.get(package, BESIDES.get(name, ())))
            python = _environment(
                f"{name}{wanted}", "msgspec", *packages, *SERVER_PACKAGES
            )
            version = _version(python, framework.package)
            _say(f"{framework.title} {version}")
            results = {server: _pair(python, name, server) for server in servers}
            which = "oldest" if wanted else "newest"
            known = frozenset(
                server
                for server in servers
                if (name, which, server) in WRONG_WITHOUT_US
            )
            rows.append(Row(framework.title, version, results, known))
    return rows


def _servers() -> list[Row]:
    rows: list[Row] = []
    for server, oldest in OLD_SERVERS.items():
        pins = [server, f"{server}=={oldest}"]
        more = ["uvicorn-worker"] if server == "gunicorn" else []
        for package in pins:
            python = _environment(
                f"server-{package}", "msgspec", "starlette", package, *more
            )
            version = _version(python, server)
            _say(f"{server} {version}")
            rows.append(
                Row(server, version, {server: _pair(python, "starlette", server)})
            )
    return rows


def _wsgi_servers() -> list[Row]:
    rows: list[Row] = []
    for server in WSGI_SERVERS:
        packages = OF_WSGI_SERVERS[server]
        python = _environment(f"wsgi-{server}", "msgspec", "flask", "django", *packages)
        named = [f"{name} {_version(python, name)}" for name in packages[:2]]
        _say(", ".join(named))
        results = {framework: _pair(python, framework, server) for framework in WSGI}
        rows.append(Row(server.replace("-", ", "), ", ".join(named), results))
    return rows


def _pair(python: Path, framework: str, server: str) -> str:
    """Return what is wrong, empty if nothing is."""
    command = [str(python), "-m", "tests.compat.pair", framework, server]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=_variables(),
        capture_output=True,
        text=True,
        timeout=PAIR_S_MAX,
        check=False,
    )
    return "" if done.returncode == 0 else done.stderr or "it failed without a word"


def _environment(name: str, *packages: str) -> Path:
    """Return the Python of an environment that has the packages."""
    folder = ENVIRONMENTS / name.replace("==", "-")
    uv = (sys.executable, "-m", "uv")
    subprocess.run([*uv, "venv", "--quiet", "--allow-existing", folder], check=True)
    python = folder / "bin" / "python"
    subprocess.run(
        [*uv, "pip", "install", "--quiet", "--python", python, *packages], check=True
    )
    return python


def _version(python: Path, package: str) -> str:
    code = f"from importlib import metadata; print(metadata.version({package!r}))"
    done = subprocess.run(
        [python, "-c", code], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def _variables() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{ROOT / 'middleware'}:{ROOT}"}


def _say(text: str) -> None:
    sys.stdout.write(f"--- {text}\n")
    sys.stdout.flush()


def _cell(row: Row, server: str) -> str:
    if server not in row.results:
        return ""
    return "wrong" if row.results[server] else "right"


def _page(frameworks: list[Row], servers: list[Row], wsgi: list[Row]) -> str:
    head = " | ".join(SERVERS)
    lines = [
        "| framework | version | " + head + " |",
        "|---|---|" + "---|" * len(SERVERS),
        *(
            f"| {row.title} | {row.version} | "
            + " | ".join(_cell(row, server) for server in SERVERS)
            + " |"
            for row in frameworks
        ),
    ]
    others = [
        "| server | version | Starlette |",
        "|---|---|---|",
        *(f"| {r.title} | {r.version} | {_cell(r, r.title)} |" for r in servers),
    ]
    of_wsgi = [
        "| server | versions | " + " | ".join(FRAMEWORKS[n].title for n in WSGI) + " |",
        "|---|---|" + "---|" * len(WSGI),
        *(
            f"| {r.title} | {r.version} | "
            + " | ".join(_cell(r, name) for name in WSGI)
            + " |"
            for r in wsgi
        ),
    ]
    return TEXT.format(
        python=platform.python_version(),
        frameworks="\n".join(lines),
        servers="\n".join(others),
        wsgi="\n".join(of_wsgi),
        hidden=", ".join(FRAMEWORKS[n].title for n, r in ROUTES.items() if r is None),
    )


TEXT: Final = """\
# Frameworks and servers that were tried

Written by `make compat`; do not edit. Each line was tried in its own environment, on Python {python}.
A small app answers with a use (`set_subject` and `record`), a stream that records with each chunk, and an error. *Right* means
that the answers are the app's, and that the events have the customer, quantities, bytes, statuses and route. An empty field was
not tried, because those servers do not serve WSGI, or not with this command.

## Frameworks, oldest and newest

With the newest versions of the servers. For ASGI apps, gunicorn uses the worker of `uvicorn-worker`.

{frameworks}

What is *wrong* was also wrong without the middleware when this was last checked: Sanic, and streams of BlackSheep 2.0, answer
500 under daphne.

Routes of {hidden} are not known, so their requests are recorded without one. Strawberry is a GraphQL app
mounted in Starlette: the use is a field of a query, and all queries share one route. The stream and the error are Starlette's.

## Servers, newest and oldest

{servers}

## Servers of WSGI apps, newest

{wsgi}

For what was tried by hand under these and under mod_wsgi, see [wsgi.md](wsgi.md#servers).

Route templates are also tested on seven pairs of versions of Starlette and FastAPI, from 0.40 and 0.115 on.
"""


if __name__ == "__main__":
    main()
