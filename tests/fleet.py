"""A centre and its edges for tests: real processes, each in a folder of its own.

with Fleet(tmp_path) as fleet:
    edge = fleet.edge("one")
    ...
    fleet.centre.until_counted(10)
"""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

from meterline_sidecar.config.postgres import PostgresUrl
from tests.ports import Port
from tests.sidecar_process import METERLINE, PRICING, SIDECAR, SidecarProcess, until

CENTRE: Final = """
[centre]
listen = "127.0.0.1:{port}"
tls_certificate = "../centre.pem"
tls_key = "../centre.key"
"""
EDGE: Final = """
[centre]
url = "tls://127.0.0.1:{port}"
token_file = "../token"
ca_file = "../centre.pem"
name = "{name}"
"""


def make_certificate(folder: Path, name: str, *, signed_by: str | None = None) -> None:
    """Make a certificate for this host, with its key.

    Args:
        folder: which gets ``NAME.pem`` and ``NAME.key``.
        name: its common name.
        signed_by: whose certificate signs it; by default it signs itself.
    """
    signer: list[str] = []
    if signed_by is not None:
        signer = ["-CA", str(folder / f"{signed_by}.pem")]
        signer += ["-CAkey", str(folder / f"{signed_by}.key")]
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-nodes", "-days", "30"),
            *("-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", f"/CN={name}"),
            *("-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"),
            *signer,
            *("-keyout", str(folder / f"{name}.key")),
            *("-out", str(folder / f"{name}.pem")),
        ],
        check=True,
        capture_output=True,
    )


def on_server(database: PostgresUrl) -> str:
    """Return ``SIDECAR`` of a sidecar whose ledger is on a server."""
    return SIDECAR.replace(
        'database = "meterline.db"',
        f'database = "{database}"\ndatabase_files = "meterline.db"',
    )


class Fleet:
    """A centre, and edges as they are asked for; all are ended at the end.

    Args:
        folder: which gets a folder for each.
        meterline: what the centre's ``meterline.toml`` says after ``[centre]``.
        clock: rehearse, all of them: see ``SidecarProcess``.
        database: where the centre's ledger is, if on a server.
    """

    def __init__(
        self,
        folder: Path,
        *,
        meterline: str = METERLINE,
        pricing: str = PRICING,
        clock: str | None = None,
        database: PostgresUrl | None = None,
    ) -> None:
        self.folder = folder
        self._database = database
        self._held = Port()
        self.port = self._held.number
        self._clock = clock
        make_certificate(folder, "centre")
        self.centre = self._made(
            "centre", CENTRE.format(port=self.port) + meterline, pricing
        )
        made = self.centre.meterline(
            "token", "create", "edges", "--scope", "edge", "--json"
        )
        token: Mapping[str, str] = json.loads(made.stdout)
        self.token_id = token["id"]
        (folder / "token").write_text(token["token"])
        self.edges: dict[str, SidecarProcess] = {}

    def _made(self, name: str, meterline: str, pricing: str) -> SidecarProcess:
        folder = self.folder / name
        folder.mkdir()
        role = "centre" if name == "centre" else "edge"
        sidecar = SIDECAR
        if role == "centre" and self._database is not None:
            sidecar = on_server(self._database)
        return SidecarProcess(
            folder,
            sidecar=f'{sidecar}role = "{role}"\n',
            meterline=meterline,
            pricing=pricing,
            clock=self._clock,
        )

    def __enter__(self) -> Self:
        """Start the centre."""
        self.centre.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """End all that still run."""
        for one in (*self.edges.values(), self.centre):
            if one.is_running:
                one.kill()
        self._held.close()

    def made_edge(
        self, name: str, *, port: int | None = None, more: str = ""
    ) -> SidecarProcess:
        """Return an edge that is not started yet.

        Args:
            name: what it is called.
            port: where it reaches the centre; the centre's own by default.
            more: keys of ``[centre]``, then other tables.
        """
        text = EDGE.format(port=port or self.port, name=name) + more
        edge = self.edges[name] = self._made(name, text, "")
        return edge

    def edge(
        self, name: str, *, port: int | None = None, more: str = ""
    ) -> SidecarProcess:
        """Return an edge that runs."""
        return self.made_edge(name, port=port, more=more).start()


__all__ = ["Fleet", "make_certificate", "on_server", "until"]
