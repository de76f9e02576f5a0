"""``meterline archive``: events that left the ledger, and the files that hold them."""

import sys
from pathlib import Path

import click

from meterline_sidecar.cli.client import Client
from meterline_sidecar.cli.exits import EXIT_FOUND
from meterline_sidecar.cli.interruptible import run_interruptible
from meterline_sidecar.cli.options import CONFIG, JSON, daemon_options
from meterline_sidecar.cli.output import StepsAside, quantity, show_json
from meterline_sidecar.cli.table import Table, show
from meterline_sidecar.config.read import read_settings
from meterline_sidecar.config.shape import Config
from meterline_sidecar.ledger.archive_check import look_at_archive
from meterline_sidecar.ledger.chain import ChainFiles
from meterline_sidecar.ledger.edge_files_check import look_at_edge_files
from meterline_sidecar.ledger.report import Report
from meterline_sidecar.ledger.shelves import open_archived
from meterline_sidecar.problems.problem import n_of
from meterline_sidecar.store.open import open_reader
from meterline_sidecar.web.answers.archive import Archive, ArchiveFile, ArchiveStep
from meterline_sidecar.web.answers.edge_events import EdgeFile, EdgeFilePage


@click.group()
def command() -> None:
    """Move old events out of the ledger, and back.

    With [retention] in meterline.toml, the sidecar moves old events by itself, once
    their periods are final. Totals and invoices stay.
    """


@command.command("list")
@daemon_options
def list_files(config_path: Path | None, url: str | None, is_json: bool) -> None:
    """List files of events that left the ledger, or that edges wrote."""
    with Client.find(url, config_path) as client:
        pages = list(client.pages("/v1/archive", Archive))
        of_edges = [
            file
            for page in client.pages("/v1/archive/edge-files", EdgeFilePage)
            for file in page.files
        ]
    files = [file for page in pages for file in page.page]
    last = pages[-1]
    if is_json:
        show_json({"archive": last, "files": files, "edge_files": of_edges})
        return
    if of_edges:
        show(_table_of(of_edges))
        if last.edges_place is None:
            click.echo("this centre reads no files of edges (archive.edges is empty)")
        elif last.edges_place != last.place:
            click.echo(f"files of edges are read at {last.edges_place}")
    table = Table("file", ">events", ">bytes", "from", "to", "moved")
    for file in files:
        table.add(
            file.file,
            quantity(file.events),
            quantity(file.bytes),
            file.start or "-",
            file.end or "-",
            file.moved,
        )
    if files:
        show(table)
    click.echo(
        f"{n_of(last.files, 'file')} with {n_of(last.events, 'event')} at"
        f" {last.place or '(archive.url is not set)'}; events stay in the ledger for"
        f" {last.retention or 'ever'}"
    )
    for text in (last.waits, last.trouble, last.unreadable):
        if text is not None:
            click.secho(f"! {text}", fg="yellow")


def _table_of(files: list[EdgeFile]) -> Table:
    table = Table("edge", "file", ">events", ">bytes", "from", "to", "stored to")
    for file in files:
        table.add(
            file.edge or "(this one)",
            file.file,
            quantity(file.events),
            quantity(file.bytes),
            file.start or "-",
            file.end or "-",
            file.learned,
        )
    return table


@command.command()
@daemon_options
def run(config_path: Path | None, url: str | None, is_json: bool) -> None:
    """Move what is old enough now, instead of at the next full hour.

    At an edge: copy everything that the centre has, including the current hour. With
    [retention], old events then leave for the copies that the centre has noted.
    """
    moved, copied = list[ArchiveFile](), list[ArchiveFile]()
    with Client.find(url, config_path) as client:
        while True:
            step = client.post("/v1/archive/run", ArchiveStep)
            if step.moved is not None:
                (copied if step.is_copy else moved).append(step.moved)
                what = "copied to" if step.is_copy else "moved to"
                _tell(step.moved, what, is_json=is_json)
            if step.is_done:
                break
    if is_json:
        show_json({"moved": moved, "copied": copied, "waits": step.waits})
        return
    counts = [f"{n_of(len(copied), 'file')} copied"] if copied or step.is_copy else []
    if moved or not step.is_copy:
        counts.append(f"{n_of(len(moved), 'file')} moved")
    click.echo(", ".join(counts))
    if step.waits is not None:
        click.secho(f"! the rest stays: {step.waits}", fg="yellow")


@command.command()
@click.argument("file")
@daemon_options
def restore(
    config_path: Path | None, url: str | None, is_json: bool, file: str
) -> None:
    """Bring FILE back into the ledger, and every newer file.

    Everything in between comes back too, so that the ledger has no gap. It stays for 7
    days, or until `meterline archive run`, however old it is. The files stay where they
    are.
    """
    back: list[ArchiveFile] = []
    with Client.find(url, config_path) as client:
        is_done = False
        while not is_done:
            step = client.post("/v1/archive/restore", ArchiveStep, file=file)
            assert step.moved is not None, "each step brings one back"
            back.append(step.moved)
            _tell(step.moved, "brought back from", is_json=is_json)
            is_done = step.is_done
    if is_json:
        show_json({"restored": back})


def _tell(file: ArchiveFile, what: str, *, is_json: bool) -> None:
    if not is_json:
        click.echo(f"{n_of(file.events, 'event')} {what} {file.file}")


@command.command()
@CONFIG
@JSON
def verify(config_path: Path | None, is_json: bool) -> None:
    """Prove that no file was changed or is missing.

    Reads every file, and compares it with what left the ledger. `meterline verify` does
    this too, and also compares usage. The sidecar may be running. Exits with 3 if
    anything differs from what was written.
    """
    report = run_interruptible(_verify(read_settings(config_path)))
    if is_json:
        show_json({"report": report, "sound": report.is_sound})
    else:
        for finding in report.findings:
            click.secho(f"! {finding}", fg="red")
        click.echo(
            f"{n_of(report.archive_files, 'file')} with {n_of(report.events, 'event')},"
            f" {n_of(report.edge_files, 'file')} of edges:"
            f" {'as they were written' if report.is_sound else 'NOT all as written'}"
        )
        if report.edge_files_unread:
            click.echo(
                f"{n_of(report.edge_files_unread, 'file')} of edges not read: nobody"
                " says where they lie (archive.edges)"
            )
    if not report.is_sound:
        sys.exit(EXIT_FOUND)


async def _verify(config: Config) -> Report:
    report = Report()
    reader = await open_reader(config.ledger)  # first: perhaps there is none
    try:
        key = ChainFiles(config.sidecar.database).key(has_batches=True)
        async with reader.reading() as tx:
            archived, show = open_archived(config.archive, key), StepsAside().show
            await look_at_archive(tx, key, report, show, archived)
            await look_at_edge_files(tx, report, show, archived)
    finally:
        await reader.close()
    return report
