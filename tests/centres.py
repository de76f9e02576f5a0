"""Several centres of one ledger for tests: real processes, a server, and a balancer.

with Centres(tmp_path, server) as centres:
    edge = centres.edge("one")
    ...
    leader = centres.until_led()
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Self

from tests.balancer import Balancer
from tests.fleet import CENTRE, Fleet, on_server
from tests.ports import Port
from tests.postgres_server import PostgresServer, by_port
from tests.sidecar_process import METERLINE, PRICING, SidecarProcess, until

LEASE_S: Final = 2
OF_ALL: Final = ("meterline.db.key", "meterline.db.portal-key")
"""What every centre of a ledger is given: who is let in stands in the ledger."""


class Centres:
    """Two centres that share a database, and edges in front of a balancer.

    Args:
        folder: which gets a folder for each.
        server: gets a database for their ledger.
        meterline: what ``meterline.toml`` of both says after ``[centre]``.
        clock: rehearse, all of them: see ``SidecarProcess``.
        pooler: the port of what stands in between, if anything does.
    """

    def __init__(
        self,
        folder: Path,
        server: PostgresServer,
        *,
        meterline: str = METERLINE,
        pricing: str = PRICING,
        clock: str | None = None,
        pooler: int | None = None,
    ) -> None:
        self.server = server
        self.database = server.create()
        self._url = server.url(self.database)
        if pooler is not None:
            self._url = by_port(self.database, pooler)
        self._clock = clock
        self._more = f"lease_s = {LEASE_S}\n" + meterline
        self._pricing = pricing
        self._fleet = Fleet(
            folder,
            meterline=self._more,
            pricing=pricing,
            clock=clock,
            database=self._url,
        )
        self.one = self._fleet.centre
        self._port_two = Port()
        self.two = self._second(folder / "centre-2")
        self.balancer = Balancer(self._fleet.port, self._port_two.number)

    def _second(self, folder: Path) -> SidecarProcess:
        folder.mkdir()
        sidecar = on_server(self._url) + 'role = "centre"\n'
        text = CENTRE.format(port=self._port_two.number) + self._more
        return SidecarProcess(
            folder,
            sidecar=sidecar,
            meterline=text,
            pricing=self._pricing,
            clock=self._clock,
        )

    def __enter__(self) -> Self:
        """Start the first, which leads, then the second with the files of the first."""
        self.balancer.__enter__()
        self.one.start()
        for name in OF_ALL:
            shutil.copy(self.one.folder / name, self.two.folder / name)
        self.two.start()
        return self

    def __exit__(self, *error: object) -> None:
        """End all that still run."""
        if self.two.is_running:
            self.two.kill()
        self._fleet.__exit__(*error)
        self.balancer.__exit__()
        self._port_two.close()

    def port(self, centre: SidecarProcess) -> int:
        """Return where a centre takes in edges."""
        return self._fleet.port if centre is self.one else self._port_two.number

    def edge(self, name: str, *, more: str = "") -> SidecarProcess:
        """Return an edge that runs, in front of the balancer.

        Args:
            name: what it is called.
            more: keys of ``[centre]``.
        """
        return self._fleet.edge(name, port=self.balancer.port, more=more)

    def other(self, centre: SidecarProcess) -> SidecarProcess:
        """Return the other one."""
        return self.two if centre is self.one else self.one

    def set_clock(self, text: str) -> None:
        """Set the rehearsal clock of all."""
        for host in (self.one, self.two, *self._fleet.edges.values()):
            host.set_clock(text)

    def sql(self, statement: str) -> list[str]:
        """Return what a statement finds in the ledger, a row to a line."""
        return self.server.sql(self.database, statement).splitlines()

    def until_sql(self, statement: str, says: Callable[[list[str]], Any]) -> None:
        """Wait until a statement finds what is wanted."""
        until(lambda: says(self.sql(statement)))


def leads(centre: SidecarProcess) -> bool:
    """Say whether a centre says that it leads."""
    return bool(centre.get("/status")["leader"]["is_here"])
