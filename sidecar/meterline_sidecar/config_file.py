"""Reads ``meterline.toml``, and the price list it names; tells every mistake at once.

Precedence: a flag, then the environment, then the file, then the default.
"""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, get_args

from meterline.settings import default_socket, default_spool_dir, state_dir
from meterline_pricing import Catalogue, PricingError, Problem, load
from meterline_pricing.errors import unknown
from meterline_pricing.period import Calendar
from meterline_pricing.toml_source import (
    DATE,
    TEXT,
    Kind,
    Source,
    Table,
    Unfit,
    integer,
    one_of,
)
from meterline_sidecar.config import (
    HTTP_DEFAULT,
    STRIPE_API,
    STRIPE_METER_EVENTS,
    BillThrough,
    Config,
    Customer,
    MeterConfig,
    SendMode,
    SidecarConfig,
    StripeConfig,
    StripeMode,
)
from meterline_sidecar.errors import ConfigError
from meterline_sidecar.meters import (
    EVENT_VALUES,
    QUANTITY_PREFIX,
    TEXT_VALUES,
    Aggregation,
    Dimension,
    KindName,
    Meter,
    StatusRange,
    Where,
)

DEFAULT_NAMES: Final = ("meterline.toml",)
PRICING_NAME: Final = "pricing.toml"
NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,99}")  # Stripe: at most 100
UID_MAX: Final = 2**32 - 2


def _name(value: object) -> str:
    if type(value) is not str or not NAME.fullmatch(value):
        raise Unfit
    return value


def _statuses(value: object) -> tuple[StatusRange, ...]:
    if type(value) is not str:
        raise Unfit
    ranges: list[StatusRange] = []
    for part in value.split(","):
        first, dash, last = part.strip().partition("-")
        last = last if dash else first
        if not (_is_status(first) and _is_status(last) and first <= last):
            raise Unfit
        ranges.append(StatusRange(int(first), int(last)))
    return tuple(ranges)


def _is_status(text: str) -> bool:
    return len(text) == 3 and text.isascii() and text.isdigit()


def _value(value: object) -> str:
    known = (*EVENT_VALUES, *TEXT_VALUES)
    if type(value) is not str:
        raise Unfit
    if value.startswith(QUANTITY_PREFIX) and len(value) > len(QUANTITY_PREFIX):
        return value
    if value not in known:
        raise Unfit(unknown("value", value, (*known, f"{QUANTITY_PREFIX}NAME")))
    return value


def _http(value: object) -> str:
    if type(value) is not str:
        raise Unfit
    if value.startswith("unix:") and len(value) > len("unix:"):
        return value
    host, _, port = value.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise Unfit
    if host not in LOOPBACK:
        raise Unfit(
            f"{host} is not the loopback: the API would be open to the network;"
            f" use 127.0.0.1:{port} behind a proxy, or unix:PATH"
        )
    return value


LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")
AGGREGATION: Final[Kind[Aggregation]] = one_of("aggregation", get_args(Aggregation))
DIMENSION: Final[Kind[Dimension]] = one_of("dimension", get_args(Dimension))
KIND: Final[Kind[KindName]] = one_of("kind", get_args(KindName))
BILL_THROUGH: Final[Kind[BillThrough]] = one_of("way", get_args(BillThrough))
STRIPE_MODE: Final[Kind[StripeMode]] = one_of("mode", get_args(StripeMode))
SEND_MODE: Final[Kind[SendMode]] = one_of("mode", get_args(SendMode))
NAME_KIND: Final = Kind("a name of letters, digits, `_`, `.` and `-`", _name, "")
STATUSES: Final[Kind[tuple[StatusRange, ...]]] = Kind(
    'statuses such as "200-499" or "200,304"', _statuses, ()
)
VALUE: Final = Kind("the name of a value", _value, "units")
HTTP: Final = Kind("HOST:PORT on the loopback, or unix:PATH", _http, HTTP_DEFAULT)
UID: Final = integer(minimum=0, maximum=UID_MAX)


def read_config(
    path: Path | None, *, environment: Mapping[str, str] = os.environ
) -> Config:
    """Return what the file says; without a file, the defaults.

    Args:
        path: the file; ``None`` takes ``meterline.toml`` of this directory, if any.
        environment: its ``METERLINE_*`` stand above the file.

    Raises:
        ConfigError: with every problem in both files, a line each.
    """
    if path is None:
        path = next((p for p in map(Path, DEFAULT_NAMES) if p.is_file()), None)
    text = "" if path is None else _text_of(path)
    source = Source(text, file="meterline.toml" if path is None else str(path))
    folder = Path.cwd() if path is None else path.absolute().parent
    sidecar = _read_sidecar(source.root.table("sidecar"), folder, environment)
    catalogue, problems = _read_pricing(sidecar.pricing)
    meters = _read_meters(source.root.tables("meter"))
    config = Config(
        file=None if path is None else path.absolute(),
        sidecar=sidecar,
        meters=meters,
        customers=_read_customers(source.root.tables("customer"), catalogue),
        stripe=_read_stripe(source.root.table("stripe"), folder),
        catalogue=catalogue,
    )
    source.root.close()
    problems += _unmetered(catalogue, meters, sidecar.pricing)
    found = [*sorted(source.problems, key=lambda p: p.line or 0), *problems]
    if found:
        raise ConfigError("\n".join(map(str, found)))
    return config


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror}; `meterline init` writes a first one"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}") from error


def _read_sidecar(
    table: Table, folder: Path, environment: Mapping[str, str]
) -> SidecarConfig:
    def place(key: str, default: Path) -> Path:
        written = table.take(key, TEXT, None)
        given = environment.get(f"METERLINE_{key.upper()}")
        return folder / (given or written or default)

    beside = folder / PRICING_NAME
    pricing = place("pricing", beside)
    http = table.take("http", HTTP, HTTP_DEFAULT)
    config = SidecarConfig(
        socket=place("socket", default_socket()),
        database=place("database", state_dir() / "meterline.db"),
        spool_dir=place("spool_dir", default_spool_dir()),
        http=_in_folder(
            _checked_http(environment.get("METERLINE_HTTP")) or http, folder
        ),
        # A file that was named must exist; the default one may be missing.
        pricing=None if pricing == beside and not beside.exists() else pricing,
        allowed_uids=table.items("allowed_uids", UID),
        aggregate_every_s=table.take(
            "aggregate_every_s", integer(minimum=1, maximum=3600), 2
        ),
    )
    table.close()
    return config


def _in_folder(http: str, folder: Path) -> str:
    """Return the address with the path of a Unix socket made absolute."""
    path = http.removeprefix("unix:")
    return http if path == http else f"unix:{folder / path}"


def _checked_http(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        return _http(text)
    except ValueError as error:
        raise ConfigError(
            f"METERLINE_HTTP: {str(error) or f'expected {HTTP.expected}'}"
        ) from error


def _read_meters(tables: Iterable[Table]) -> tuple[MeterConfig, ...]:
    meters: list[MeterConfig] = []
    for table in tables:
        meter = _read_meter(table)
        if meter.meter.name and any(m.meter.name == meter.meter.name for m in meters):
            table.report("name", f"a second meter is called `{meter.meter.name}`")
        meters.append(meter)
    return tuple(meters)


def _read_meter(table: Table) -> MeterConfig:
    name = table.need("name", NAME_KIND)
    aggregation = table.need("aggregation", AGGREGATION)
    value = table.take("value", VALUE, None)
    if table.is_sound("aggregation") and table.is_sound("value"):
        _check_value(table, aggregation, value)
    config = MeterConfig(
        meter=Meter(
            name,
            aggregation,
            value,
            _read_where(table.table("where"), aggregation),
            table.items("group_by", DIMENSION),
        ),
        bill_through=_read_bill_through(table),
        stripe_event_name=table.take("stripe_event_name", NAME_KIND, name),
        stripe_mode=table.take("stripe_mode", STRIPE_MODE, "set"),
    )
    table.close()
    return config


def _check_value(table: Table, aggregation: Aggregation, value: str | None) -> None:
    if aggregation in ("sum", "max", "latest", "unique") and value is None:
        known = ", ".join(EVENT_VALUES)
        table.report(
            None,
            f"missing key `value`: a {aggregation} meter needs one of {known},"
            f" {QUANTITY_PREFIX}NAME",
        )
    if aggregation in ("sum", "max", "latest") and value in TEXT_VALUES:
        table.report(
            "value",
            f"`{value}` is a text: only `unique` and `count` meters take it,"
            f" not `{aggregation}`",
        )


def _read_where(table: Table, aggregation: Aggregation) -> Where:
    kinds: tuple[KindName, ...] = table.items("kind", KIND)
    if not kinds and aggregation == "count" and "kind" not in table:
        # A recorded use outside a request is no request.
        kinds = ("request", "websocket")
    where = Where(
        route=table.items("route", TEXT),
        method=table.items("method", TEXT),
        status=table.take("status", STATUSES, ()),
        kind=kinds,
    )
    table.close()
    return where


def _read_bill_through(table: Table) -> BillThrough:
    if table.data.get("bill_through") == "invoice":
        table.take("bill_through", TEXT, "none")
        table.report(
            "bill_through",
            "`invoice` is reserved for invoices that are priced here, which are not"
            " sent to Stripe yet; use `meter` or `none`",
        )
        return "none"
    return table.take("bill_through", BILL_THROUGH, "none")


def _read_customers(
    tables: Iterable[Table], catalogue: Catalogue
) -> tuple[Customer, ...]:
    customers: list[Customer] = []
    taken: dict[tuple[str, str], str] = {}
    for table in tables:
        customer = _read_customer(table, catalogue)
        unique = [("id", customer.id), ("stripe_customer", customer.stripe_customer)]
        unique += [("subjects", subject) for subject in customer.subjects]
        for key, text in unique:
            if text and (key, text) in taken:
                owner = taken[key, text]
                table.report(key, f"`{text}` is of customer `{owner}` already")
            elif text:
                taken[key, text] = customer.id
        customers.append(customer)
    return tuple(customers)


def _read_customer(table: Table, catalogue: Catalogue) -> Customer:
    customer_id = table.need("id", NAME_KIND)
    plan = table.take("plan", TEXT, None)
    if plan is not None and plan not in catalogue.names:
        table.report("plan", unknown("plan", plan, catalogue.names))
    time_zone = table.take("time_zone", TEXT, "UTC")
    try:
        Calendar(time_zone=time_zone)
    except PricingError as error:
        table.report("time_zone", error.problems[0].message)
    customer = Customer(
        id=customer_id,
        name=table.take("name", TEXT, customer_id),
        subjects=table.items("subjects", TEXT),
        plan=plan,
        stripe_customer=table.take("stripe_customer", TEXT, None),
        time_zone=time_zone,
        starts=table.take("starts", DATE, None),
    )
    table.close()
    return customer


def _read_stripe(table: Table, folder: Path) -> StripeConfig:
    key_file = table.take("api_key_file", TEXT, None)
    config = StripeConfig(
        mode=table.take("mode", SEND_MODE, "dry_run"),
        api_key_file=None if key_file is None else folder / key_file,
        api_base=table.take("api_base", TEXT, STRIPE_API),
        meter_events_base=table.take("meter_events_base", TEXT, STRIPE_METER_EVENTS),
    )
    if "api_key" in table:
        table.take("api_key", TEXT, None)
        table.report(
            "api_key",
            "a key does not belong into this file; put it into a file that only the"
            " sidecar can read and name that in `api_key_file`",
        )
    table.close()
    return config


def _read_pricing(path: Path | None) -> tuple[Catalogue, list[Problem]]:
    if path is None:
        return Catalogue(), []
    try:
        return load(_text_of(path), file=str(path)), []
    except PricingError as error:
        return Catalogue(), list(error.problems)


def _unmetered(
    catalogue: Catalogue, meters: tuple[MeterConfig, ...], file: Path | None
) -> list[Problem]:
    """Return a problem for every priced meter that nobody measures."""
    names = {config.meter.name for config in meters}
    wanted = {
        card.meter: plan.name
        for plan in catalogue.plans
        for card in plan.prices
        if card.meter is not None and card.meter not in names
    }
    return [
        Problem(
            f"plan `{plan}` charges for it, but " + unknown("meter", meter, names),
            file=str(file),
        )
        for meter, plan in wanted.items()
    ]
