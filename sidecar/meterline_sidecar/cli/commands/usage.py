"""``meterline usage``: what was used, by customer."""

from pathlib import Path
from typing import Final

import click
import msgspec

from meterline_sidecar.cli.client import Client
from meterline_sidecar.cli.options import daemon_options, span_options
from meterline_sidecar.cli.output import quantity, show_json, shown_name, tell_freshness
from meterline_sidecar.cli.table import Table, show
from meterline_sidecar.printable import printable
from meterline_sidecar.web.answers.usage import (
    ShownPeriod,
    ShownSubject,
    ShownUsage,
    Unassigned,
    UsagePage,
    WithoutPeriod,
)

LEFT_OUT_SHOWN: Final = 10


class AllUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Every page of usage, and what nobody pays for."""

    fresh_as_of: str | None
    recounting_percent: int | None
    usage: list[ShownUsage]
    left_out: list[WithoutPeriod]
    unassigned: list[ShownSubject]


@click.command()
@click.option("--customer", metavar="ID", help="Only this customer.")
@span_options
@daemon_options
def command(
    config_path: Path | None,
    url: str | None,
    is_json: bool,
    customer: str | None,
    **span: str | None,
) -> None:
    """Show usage by customer.

    For every meter, in this month or any span.
    """
    with Client.find(url, config_path) as client:
        answer = read_usage(client, customer=customer, **span)
    if is_json:
        show_json(answer)
        return
    tell_usage(answer)


def read_usage(
    client: Client, *, customer: str | None = None, **span: str | None
) -> AllUsage:
    """Return what was used by one customer, or by all and by nobody's subjects."""
    pages = client.pages("/v1/usage", UsagePage, customer=customer, **span)
    usage: list[ShownUsage] = []
    left_out: list[WithoutPeriod] = []
    for page in pages:
        usage += page.usage
        left_out += page.left_out
    last = client.get("/v1/usage/unassigned", Unassigned, **span)
    return AllUsage(
        fresh_as_of=last.fresh_as_of,
        recounting_percent=last.recounting_percent,
        usage=usage,
        left_out=left_out,
        unassigned=last.unassigned if customer is None else [],
    )


def tell_usage(answer: AllUsage) -> None:
    """Print usage for people."""
    table = Table("customer", "period", "meter", ">quantity", "")
    for used in answer.usage:
        span = shown_name(used.period) or _span(used.period)
        for meter in used.meters:
            table.add(
                used.customer,
                span,
                meter.title,
                quantity(meter.quantity, meter.unit),
                meter.aggregation,
            )
            for group in meter.groups:
                labels = ", ".join(group.labels.values())
                table.add("", "", f"  {labels}", quantity(group.quantity), "")
    show(table, none="there is no usage to show")
    for one in answer.left_out[:LEFT_OUT_SHOWN]:
        click.echo(printable(f"! left out {one.customer}: {one.why}"))
    if (more := len(answer.left_out) - LEFT_OUT_SHOWN) > 0:
        click.echo(f"! and {more:,} more; --json names all")
    _tell_unassigned(answer.unassigned)
    tell_freshness(answer.fresh_as_of, answer.recounting_percent)


def _span(period: ShownPeriod) -> str:
    start, end = (
        time[:16].replace("T", " ") for time in (period.start_time, period.end_time)
    )
    return f"{start} to {end} UTC"


def _tell_unassigned(subjects: list[ShownSubject]) -> None:
    if not subjects:
        return
    click.echo("\nnobody pays for:")
    table = Table("subject", "meter", ">quantity")
    for subject in subjects:
        for meter in subject.meters:
            name = subject.subject or "(no subject)"
            table.add(name, meter.title, quantity(meter.quantity, meter.unit))
    show(table)
