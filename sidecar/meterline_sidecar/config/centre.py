"""``[centre]``: where an edge sends its events, and where a centre takes them in."""

import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, cast

import msgspec
from msgspec import Meta

from meterline_pricing.toml.source import TEXT, Kind, Source, Unfit
from meterline_sidecar.config.kinds import LINE, PORT_MAX

Role = Literal["single", "edge", "centre"]
URL: Final = re.compile(r"tls://(\[[0-9a-fA-F:]+\]|[^\s/:@\[\]]+):([0-9]{1,5})/?")
LISTEN: Final = re.compile(r"(\[[0-9a-fA-F:]+\]|[^\s/:@\[\]]+):([0-9]{1,5})")

OF_EDGES: Final = (
    "url",
    "token_file",
    "ca_file",
    "forward",
    "ack",
    "tells_events",
)
OF_CENTRES: Final = ("listen", "client_ca", "lease_s")
NOT_AT_EDGES: Final = (
    "customer",
    "customer_rule",
    "billing",
    "grace",
    "seller",
    "stripe",
    "portal",
    "alerts",
    "alert",
)


class Address(msgspec.Struct, frozen=True):
    """A host and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return it as files say it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def _address(form: re.Pattern[str]) -> Any:
    def check(value: object) -> Address:
        found = form.fullmatch(TEXT.check(value))
        if found is None or int(found[2]) > PORT_MAX:
            raise Unfit
        return Address(found[1].strip("[]"), int(found[2]))

    return check


TLS_URL: Final[Kind[Any]] = Kind(
    "a URL such as tls://centre.example.com:8271",
    _address(URL),
    None,
    {"type": "string", "pattern": f"^{URL.pattern}$"},
)
HOST_PORT: Final[Kind[Any]] = Kind(
    "HOST:PORT, such as 0.0.0.0:8271",
    _address(LISTEN),
    None,
    {"type": "string", "pattern": f"^{LISTEN.pattern}$"},
)


class CentreConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Many hosts, one ledger; see docs/fleet.md. Paths are relative to the file."""

    url: Annotated[
        Address | None,
        Meta(
            description="For an edge: where its centre listens, `tls://HOST:PORT`.",
            extra={"kind": TLS_URL},
        ),
    ] = None
    token_file: Annotated[
        Path | None,
        Meta(
            description="For an edge: a file with a token of the centre with the scope"
            " `edge`. Not needed with a certificate that the centre knows."
        ),
    ] = None
    ca_file: Annotated[
        Path | None,
        Meta(
            description="For an edge: the certificates by which it trusts its centre;"
            " by default those of the system."
        ),
    ] = None
    name: Annotated[
        str | None,
        Meta(
            description="The name of this edge, or of this one of several centres, for"
            " people.",
            extra={
                "kind": LINE,
                "default": "the host's name",
                "variable": "METERLINE_EDGE_NAME",
            },
        ),
    ] = None
    forward: Annotated[
        Literal["events", "usage"],
        Meta(
            description="For an edge: what it forwards. `events`: each event. `usage`:"
            " the sums of its events by the centre's meters; the events stay at the"
            " edge."
        ),
    ] = "events"
    ack: Annotated[
        Literal["edge", "centre"],
        Meta(
            description="For an edge: when an app may delete events from its spool."
            " `edge`: once they are on this host's disk. `centre`: once they, or their"
            " usage, are on the centre's disk, for hosts whose disk may vanish; spools"
            " must then last for as long as the centre is away."
        ),
    ] = "edge"
    tells_events: Annotated[
        bool,
        Meta(
            description="For an edge: whether its centre may ask for raw events that"
            " are in no file of `[archive]` yet, to show them to people who may read"
            " there."
        ),
    ] = True
    listen: Annotated[
        Address | None,
        Meta(
            description="For a centre: where it listens for edges, HOST:PORT.",
            extra={"kind": HOST_PORT},
        ),
    ] = None
    tls_certificate: Annotated[
        Path | None,
        Meta(
            description="The certificate (PEM, with its chain) of this side: always"
            " for a centre; for an edge, if the centre asks for one."
        ),
    ] = None
    tls_key: Annotated[
        Path | None, Meta(description="The key of `tls_certificate` (PEM).")
    ] = None
    lease_s: Annotated[
        int,
        Meta(
            ge=2,
            le=300,
            description="For one of several centres: after how many seconds of silence"
            " another one takes over from the leader. Use the same value for all.",
        ),
    ] = 15
    client_ca: Annotated[
        Path | None,
        Meta(
            description="For a centre: the certificates that sign those of its edges."
            " Every edge then needs one, and needs no token."
        ),
    ] = None

    @property
    def own_name(self) -> str:
        """What people call this edge, or this centre."""
        return self.name or socket.gethostname()[:200] or "edge"


def check_role(source: Source, role: Role, centre: CentreConfig) -> None:
    """Note what does not go together with what this sidecar is."""
    written: Mapping[str, Any] = source.root.data
    table = written.get("centre", {})
    is_table = isinstance(table, dict)
    keys = set(cast("dict[str, Any]", table)) if is_table else set[str]()
    if role == "single":
        if "centre" in written:
            source.report(
                ("centre",),
                'a sidecar alone has no [centre]: write role = "edge" or role ='
                ' "centre" under [sidecar], or take this table out',
            )
        return
    strangers = OF_CENTRES if role == "edge" else OF_EDGES
    for key in strangers:
        if key in keys:
            whose = "the centre's" if role == "edge" else "an edge's"
            source.report(
                ("centre", key), f'is {whose}; this sidecar has role = "{role}"'
            )
    if (centre.tls_certificate is None) != (centre.tls_key is None):
        there = "tls_key" if centre.tls_certificate is None else "tls_certificate"
        source.report(
            ("centre", there),
            "a certificate and its key go together: tls_certificate and tls_key",
        )
    if role == "edge":
        _check_edge(source, centre, written, keys)
    else:
        _check_centre(source, keys)


def _check_edge(
    source: Source, centre: CentreConfig, written: Mapping[str, Any], keys: set[str]
) -> None:
    if "url" not in keys:
        source.report(
            ("sidecar", "role"),
            "an edge needs centre.url: tls://HOST:PORT of its centre",
        )
    if not keys & {"token_file", "tls_certificate"}:
        source.report(
            ("sidecar", "role"),
            "an edge needs centre.token_file: make a token at the centre with"
            " `meterline token create NAME --scope edge`; or a certificate,"
            " centre.tls_certificate and centre.tls_key",
        )
    if centre.forward == "usage" and "meter" in written:
        source.report(
            ("meter",),
            'an edge with centre.forward = "usage" counts by the meters of its'
            " centre: move this to meterline.toml there",
        )
    for table in NOT_AT_EDGES:
        if table in written:
            source.report(
                (table,),
                "an edge bills nobody: move this to meterline.toml of the centre",
            )


def _check_centre(source: Source, keys: set[str]) -> None:
    for key in ("listen", "tls_certificate"):
        if key not in keys:
            example = "0.0.0.0:8271" if key == "listen" else "centre.pem"
            source.report(
                ("sidecar", "role"), f'a centre needs centre.{key}, such as "{example}"'
            )
