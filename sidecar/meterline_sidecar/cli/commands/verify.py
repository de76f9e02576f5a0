"""``meterline verify``: is the ledger what was written to it."""

import sys
import tempfile
from pathlib import Path

import click

from meterline_sidecar.billing.again import InvoicesAgain, verify_invoices
from meterline_sidecar.cli.exits import EXIT_FOUND
from meterline_sidecar.cli.interruptible import run_interruptible
from meterline_sidecar.cli.options import CONFIG, JSON
from meterline_sidecar.cli.output import Steps, StepsAside, quantity, show_json
from meterline_sidecar.config.read import read_settings
from meterline_sidecar.config.shape import Config
from meterline_sidecar.errors import DiskFull
from meterline_sidecar.files import LedgerLock
from meterline_sidecar.ledger.archived import Archived
from meterline_sidecar.ledger.chain import ChainFiles, Head, HeadDamaged
from meterline_sidecar.ledger.progress_mark import ProgressMark
from meterline_sidecar.ledger.report import Report
from meterline_sidecar.ledger.runs import NoScratchRoom
from meterline_sidecar.ledger.shelves import open_archived
from meterline_sidecar.ledger.verify import ALARM, verify
from meterline_sidecar.problems.problem import n_of
from meterline_sidecar.store import facts
from meterline_sidecar.store.open import open_ledger, open_reader
from meterline_sidecar.store.port import LedgerReader


@click.command()
@CONFIG
@JSON
@click.option(
    "--accept",
    is_flag=True,
    help="Accept the ledger as it is: end the alarm and resume billing. The sidecar"
    " must be stopped.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Continue with the chain where an interrupted verification stopped. What was"
    " already verified is not read again; usage is added up from the beginning.",
)
@click.option(
    "--without-archive",
    is_flag=True,
    help="Do not read the files of the archive: compare only what is in the ledger.",
)
@click.option(
    "--invoices",
    is_flag=True,
    help="Also compute each final invoice again from the events, and compare it with"
    " the stored one. Takes about as long as counting all events.",
)
def command(
    config_path: Path | None,
    is_json: bool,
    accept: bool,
    resume: bool,
    without_archive: bool,
    invoices: bool,
) -> None:
    """Prove that the ledger has not been changed.

    Recomputes the chain over all events, and compares all usage, invoices, terms, who
    pays for whom and what Stripe was told with what they should be. The sidecar may be
    running. Exits with 3 if anything differs from what was written, and names the first
    batch that differs. Also reads the files of the archive.
    """
    config = read_settings(config_path)
    report, alarm = run_interruptible(
        _verify(
            config,
            resumes=resume,
            reads_archive=not without_archive,
            has_invoices=invoices,
        )
    )
    if accept and alarm is not None:
        run_interruptible(_accept(config))
    if is_json:
        show_json({"report": report, "sound": report.is_sound, "alarm": alarm})
    else:
        _tell(report, alarm, accepted=accept)
    if not report.is_sound or (alarm is not None and not accept):
        sys.exit(EXIT_FOUND)


async def _verify(
    config: Config,
    *,
    resumes: bool,
    reads_archive: bool,
    has_invoices: bool,
) -> tuple[Report, str | None]:
    path = config.sidecar.database
    chain = ChainFiles(path)
    head, damaged = _newest_head(chain)  # before the snapshot, which must hold it
    steps = StepsAside()
    reader = await open_reader(config.ledger)  # first: perhaps there is none
    try:
        key = chain.key(has_batches=True)
        mark = ProgressMark(path, key, resumes=resumes)
        report = await verify(
            reader,
            key=key,
            head=head,
            progress=steps.show,
            mark=mark,
            archived=open_archived(config.archive, key) if reads_archive else None,
            apart=config.ledger if isinstance(config.ledger, Path) else None,
        )
        if damaged is not None:
            report.add(damaged)
        if has_invoices:
            archived = open_archived(config.archive, key) if reads_archive else None
            await _compute_invoices(reader, key, archived, report, steps)
        async with reader.reading() as tx:
            alarm = await facts.get_fact(tx, ALARM)
    finally:
        await reader.close()
    if mark.problem is not None:
        click.echo(mark.problem, err=True)
    return report, alarm


async def _compute_invoices(
    reader: LedgerReader,
    key: bytes,
    archived: Archived | None,
    report: Report,
    steps: Steps,
) -> None:
    """Compute the final invoices again, in a scratch ledger that is gone at the end."""
    with tempfile.TemporaryDirectory(prefix="meterline-") as folder:
        try:
            scratch = await open_ledger(Path(folder) / "scratch.db")
            try:
                again = InvoicesAgain(
                    reader,
                    scratch,
                    read_events=(archived or Archived(None, key)).events_after,
                    report=report,
                    progress=steps.show,
                )
                await verify_invoices(again, report)
            finally:
                await scratch.close()
        except DiskFull as error:
            raise NoScratchRoom(
                f"{folder} has no room to compute invoices in; free space there, or set"
                " TMPDIR to a directory on another disk"
            ) from error


def _newest_head(chain: ChainFiles) -> tuple[Head | None, str | None]:
    """Return the newest head, and what is wrong with it."""
    try:
        return chain.newest(), None
    except HeadDamaged as error:
        return None, str(error)


async def _accept(config: Config) -> None:
    """End the alarm.

    Raises:
        AlreadyRunning: the sidecar runs, and it alone may write.
    """
    path = config.sidecar.database
    lock = LedgerLock.take(path, is_file=config.server is None)
    try:
        database = await open_ledger(config.ledger)
        try:
            async with database.transaction() as tx:
                await facts.drop_fact(tx, ALARM)
        finally:
            await database.close()
        chain = ChainFiles(path)
        chain.kept_head_path.unlink(missing_ok=True)
        chain.forget_heads()
    finally:
        lock.release()


def _tell(report: Report, alarm: str | None, *, accepted: bool) -> None:
    if report.resumed_at_batch is not None:
        click.echo(
            f"the chain up to batch {quantity(report.resumed_at_batch)} was verified"
            " by an earlier run"
        )
    for finding in report.findings:
        click.secho(f"! {finding}", fg="red")
    if alarm is not None:
        state = "ended" if accepted else "standing; nothing is billed"
        click.secho(f"! alarm ({state}): {alarm}", fg="yellow")
    click.echo(
        f"{n_of(report.batches, 'batch')}, {n_of(report.events, 'event')},"
        f" {n_of(report.losses, 'loss')}, {n_of(report.usage_rows, 'usage row')}:"
        f" {'as they were written' if report.is_sound else 'NOT as they were written'}"
    )
    if report.invoices or report.invoices_not_computed:
        click.echo(f"{n_of(report.invoices, 'final invoice')} computed again")
    if report.invoices_not_computed:
        click.echo(
            f"{n_of(report.invoices_not_computed, 'final invoice')} cannot be: made"
            " before Meterline kept what an invoice is made from"
        )
    if report.archive_events_unread:
        unread = n_of(report.archive_events_unread, "event")
        click.echo(f"{unread} in files of the archive were not read")
    if report.edge_files:
        click.echo(f"{n_of(report.edge_files, 'file')} of edges read")
    if report.edge_hours or report.edge_hours_away:
        away = report.edge_hours_away
        click.echo(
            f"{n_of(report.edge_hours, 'hour')} of edges compared with their files"
            + (f", {away} not: their usage is in the archive" if away else "")
        )
    for text in report.edges_ahead:
        click.echo(text)
    if report.edge_files_unread:
        click.echo(f"{n_of(report.edge_files_unread, 'file')} of edges not read")
    if not report.is_sound:
        click.echo("docs/backup.md says how to restore a backup")
