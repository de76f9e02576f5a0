"""Where things are: what the environment says above the file, and whole paths."""

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, TypeVar

import msgspec
from msgspec.structs import asdict, replace

from meterline_pricing import Problem
from meterline_pricing.toml.source import Unfit
from meterline_sidecar.config.archive import ArchiveConfig
from meterline_sidecar.config.keys import variables_of
from meterline_sidecar.config.postgres import PostgresUrl
from meterline_sidecar.config.sidecar import SidecarConfig, default_database

BUCKET: Final = "://"
"""What every URL has in it, and no directory should."""
PRICING_NAME: Final = "pricing.toml"
SOCKET_PATH_BYTES_MAX: Final = 107 if sys.platform == "linux" else 103
"""Source: unix(7): ``sun_path`` has 108 bytes, with the zero at the end; macOS has 104."""

S = TypeVar("S", bound=msgspec.Struct)


def overridden(config: S, environment: Mapping[str, str], problems: list[Problem]) -> S:
    """Return ``config`` with what the environment says in place of the file.

    What is wrong in the environment is added to ``problems``, under the variable.
    """
    changes: dict[str, object] = {}
    for field, variable, kind in variables_of(type(config)):
        given = environment.get(variable)
        if not given:
            continue
        try:
            changes[field] = kind.check(given)
        except Unfit as error:
            message = str(error) or f"expected {kind.expected}, not {given:.40}"
            problems.append(Problem(message, variable))
    return replace(config, **changes)


def placed(config: S, folder: Path) -> S:
    """Return a table with every path in it made absolute: relative to ``folder``."""
    return replace(
        config,
        **{
            name: folder / value
            for name, value in asdict(config).items()
            if isinstance(value, Path)
        },
    )


def on_server(
    config: SidecarConfig, folder: Path
) -> tuple[SidecarConfig, PostgresUrl | None]:
    """Return a table whose database is a path, and the server that it named if it did."""
    place: object = config.database
    if not isinstance(place, PostgresUrl):
        return config, None
    password = config.database_password_file
    if password is not None:
        place = replace(place, password_file=folder / password)
    beside = config.database_files or default_database()
    return replace(config, database=beside), place


def placed_archive(config: ArchiveConfig, folder: Path) -> ArchiveConfig:
    """Return where the archive is; each directory is relative to ``folder``."""

    def placed_at(url: str) -> str:
        return url if BUCKET in url else str(folder / url)

    return replace(
        config,
        url=None if config.url is None else placed_at(config.url),
        edges=None if config.edges is None else tuple(map(placed_at, config.edges)),
    )


def placed_sidecar(
    config: SidecarConfig, folder: Path, problems: list[Problem]
) -> SidecarConfig:
    """Return where the daemon's things are; add paths that are too long."""
    config = placed(config, folder)
    path = config.http.removeprefix("unix:")
    if path != config.http:
        config = replace(config, http=f"unix:{folder / path}")
    beside = folder / PRICING_NAME
    # A file that was named must exist; the usual one may be missing.
    if config.pricing is None and beside.exists():
        config = replace(config, pricing=beside)
    problems += _long_paths(config)
    return config


def _long_paths(config: SidecarConfig) -> Iterator[Problem]:
    """Yield the Unix sockets whose path no system call takes."""
    places = {"socket": (str(config.socket), ", and METERLINE_SOCKET for the apps")}
    if config.http.startswith("unix:"):
        places["http"] = (config.http.removeprefix("unix:"), "")
    for key, (path, also) in places.items():
        n_bytes = len(os.fsencode(path))
        if n_bytes > SOCKET_PATH_BYTES_MAX:
            yield Problem(
                f"the path of a Unix socket has at most {SOCKET_PATH_BYTES_MAX} bytes,"
                f" not {n_bytes}: {path}; set sidecar.{key} to a shorter one{also}",
                f"sidecar.{key}",
            )
