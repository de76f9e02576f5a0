"""Reads what ``meterline.toml`` and the environment say of the daemon itself."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from meterline.settings import default_socket, default_spool_dir, state_dir
from meterline_pricing import Problem
from meterline_pricing.toml.source import BOOLEAN, TEXT, Table, Unfit
from meterline_sidecar.config.kinds import (
    EVERY_S,
    HTTP,
    NAMED,
    PER_S,
    UID,
    http_address,
)
from meterline_sidecar.config.shape import SidecarConfig

PRICING_NAME: Final = "pricing.toml"
SOCKET_PATH_BYTES_MAX: Final = 107
"""Source: unix(7): ``sun_path`` has 108 bytes, with the zero at the end."""


def read_sidecar(
    table: Table, folder: Path, environment: Mapping[str, str]
) -> tuple[SidecarConfig, list[Problem]]:
    """Return what ``[sidecar]`` and the environment say, and what is wrong in either.

    What is wrong in the table is noted in its source; what is wrong elsewhere, or
    only once the two are taken together, is returned.
    """
    problems: list[Problem] = []

    def place(key: str, default: Path) -> Path:
        written = table.take(key, TEXT, None)
        given = environment.get(f"METERLINE_{key.upper()}")
        return folder / (given or written or default)

    beside = folder / PRICING_NAME
    pricing = place("pricing", beside)
    config = SidecarConfig(
        socket=place("socket", default_socket()),
        database=place("database", state_dir() / "meterline.db"),
        spool_dir=place("spool_dir", default_spool_dir()),
        http=_read_http(table, folder, environment, problems),
        http_names=table.items("http_names", TEXT),
        http_requests_per_s=table.take("http_requests_per_s", PER_S, 200),
        metrics_customers=table.take("metrics_customers", NAMED, 0),
        require_token=table.take("require_token", BOOLEAN, default=False),
        # A file that was named must exist; the default one may be missing.
        pricing=None if pricing == beside and not beside.exists() else pricing,
        allowed_uids=table.items("allowed_uids", UID),
        aggregate_every_s=table.take("aggregate_every_s", EVERY_S, 2),
    )
    table.close()
    return config, problems + list(_long_paths(config))


def _read_http(
    table: Table,
    folder: Path,
    environment: Mapping[str, str],
    problems: list[Problem],
) -> str:
    """Return the address, with the path of a Unix socket made absolute."""
    http = table.take("http", HTTP, HTTP.blank)
    if given := environment.get("METERLINE_HTTP"):
        try:
            http = http_address(given)
        except Unfit as error:
            message = str(error) or f"expected {HTTP.expected}, not {given:.40}"
            problems.append(Problem(message, "METERLINE_HTTP"))
    path = http.removeprefix("unix:")
    return http if path == http else f"unix:{folder / path}"


def _long_paths(config: SidecarConfig) -> Iterator[Problem]:
    """Yield the Unix sockets whose path no system call takes."""
    places = {"socket": str(config.socket)}
    if config.http.startswith("unix:"):
        places["http"] = config.http.removeprefix("unix:")
    for key, path in places.items():
        n_bytes = len(os.fsencode(path))
        if n_bytes > SOCKET_PATH_BYTES_MAX:
            yield Problem(
                f"the path of a Unix socket has at most {SOCKET_PATH_BYTES_MAX} bytes,"
                f" not {n_bytes}: {path}; choose a shorter one",
                f"sidecar.{key}",
            )
