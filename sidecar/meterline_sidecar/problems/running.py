"""What can be wrong with events on their way, with the ledger, and with the host."""

from collections.abc import Mapping
from typing import Final

from meterline_sidecar.problems.problem import Code, Problem

RUNNING: Final[Mapping[Code, Problem]] = {
    "events_not_stored": Problem(
        severity="error",
        title="Events cannot be stored",
        means="the ledger's disk is full or cannot be written; the apps keep their"
        " events in the meantime, and nothing is lost until their spools are full",
        action="free space or repair the disk; storing resumes by itself",
    ),
    "events_lost": Problem(
        severity="warning",
        title="Events were lost at the apps",
        means="a spool was full or damaged, or was deleted with events in it; the exact"
        " numbers are in the ledger, and these events are never billed",
        action="see which workers lost them with `meterline status`; give the spools"
        " more space, or avoid long outages of the sidecar",
    ),
    "events_refused": Problem(
        severity="warning",
        title="Events were refused as invalid",
        means="what arrived is not a valid event; it is kept in the ledger with the"
        " reason, and not billed",
        action="use the same version of `meterline` in the apps and the sidecar; the"
        " sidecar's log has the reason",
    ),
    "events_missing": Problem(
        severity="warning",
        title="A silent worker has events that have not arrived",
        means="a worker recorded events and has been silent since; they are in its"
        " spool, or lost with it. A period with such a gap does not become final by"
        " itself",
        action="start the worker again, or let the sidecar read its spool; if the"
        " spool is gone, make the invoice final with `--accept-gap`",
    ),
    "events_held": Problem(
        severity="warning",
        title="Events are held out of billing",
        means="their time cannot be right, because it is more than 5 minutes ahead or"
        " before 2026; they are stored but not counted",
        action="look at them with `meterline held list`, then accept or reject them;"
        " an event that is ahead is counted by itself once its time has come",
    ),
    "events_in_memory": Problem(
        severity="warning",
        title="Workers keep events in memory only",
        means="their spool directory cannot be written, so a crash of such a worker loses"
        " what it has not shipped",
        action="give the workers a directory they can write: `METERLINE_SPOOL_DIR`",
    ),
    "spools_not_read": Problem(
        severity="error",
        title="Spools of dead workers cannot be read",
        means="events that dead workers left behind wait and are not billed; all"
        " others are stored as usual",
        action="let the sidecar's user read and write the named spool; if something in"
        " it is a link, a directory or belongs to another user, find out who put it"
        " there and move it away",
    ),
    "spools_of_another_ledger": Problem(
        severity="warning",
        title="Spools of dead workers belong to another ledger",
        means="apps of two sidecars share a directory of spools, or this ledger was begun"
        " anew beside spools of an earlier one. What a dead worker left is for the ledger"
        " that had begun to take its events, and is not taken in here, where it could"
        " count a second time",
        action="give the apps of each sidecar a directory of their own"
        " (`METERLINE_STATE_DIR`). What was left is taken in once a worker of that"
        " other ledger starts with the old directory; where that ledger is gone for"
        " good, name it in `sidecar.takes_over` and start the sidecar again. What only a"
        " worker can see is named for a day after one found it",
    ),
    "quantity_not_taken": Problem(
        severity="warning",
        title="Quantities or properties were left out",
        means="an app recorded a quantity that is not an exact number from 0 to 2^63 -"
        " 1, and this use is not billed; or it recorded a property that is not text,"
        " or too many, and this use is billed without it",
        action="the app's log says which, and `meterline events --json` flags them as"
        " `bad_quantity` or `bad_property`; record whole numbers, or decimals as text"
        " or `Decimal`, and properties within the limits in docs/middleware.md",
    ),
    "external_id_conflict": Problem(
        severity="warning",
        title="Events arrived with an id that another event has",
        means="a source sent or recorded different content with an id that it had used"
        " before; the first event stays as it is, and the others are not billed. Those"
        " sent over HTTP are not stored; those of apps are stored with the flag"
        " `conflict`",
        action="have the source create one id for each event and use it again when it"
        " resends the event; then send what is missing with new ids",
    ),
    "import_waits": Problem(
        severity="info",
        title="An import is staged or incomplete",
        means="a file was put aside with `meterline import`, and does not count yet",
        action="look at it with `meterline import diff`, then commit or discard it; if"
        " the file is incomplete, run the command that started it again",
    ),
    "import_stuck": Problem(
        severity="warning",
        title="An import is stuck",
        means="it is committed, but its next events cannot be stored for the given"
        " reason; what is already stored counts",
        action="fix the reason; the import continues by itself",
    ),
    "request_keys_forgotten": Problem(
        severity="warning",
        title="Idempotency keys are forgotten early",
        means="clients send more requests with idempotency keys than are kept; one"
        " that is sent again after its key was forgotten counts again",
        action="check whether clients send keys with requests that they never repeat;"
        " lower `idempotency_key_hours` of `[sidecar]`; or remove `idempotency_header`"
        " from apps that do not need it",
    ),
    "ledger_not_trusted": Problem(
        severity="error",
        title="The ledger lost its end, or was changed",
        means="what is stored differs from what was written; events are still stored,"
        " but nothing is billed",
        action="run `meterline verify`; once you know what happened, stop the sidecar"
        " and run `meterline verify --accept`",
    ),
    "erased_words_missing": Problem(
        severity="error",
        title="Words that were erased may be here again",
        means="a ledger from before the erasure was restored. The name is erased"
        " again; but of the other words, given with `--also`, only a keyed digest is"
        " kept, with which they cannot be found",
        action="look up the request, and name them again: `meterline erase ALIAS"
        " --also WORD`; if nobody knows them any more, the same command without"
        " `--also` gives them up",
    ),
    "chain_head_not_written": Problem(
        severity="warning",
        title="The chain's head cannot be written",
        means="if the ledger loses its end from now on, nobody would notice",
        action="let the sidecar's user write the file next to the database",
    ),
    "clock_rehearsal": Problem(
        severity="warning",
        title="The time is not real",
        means="the sidecar was started with `--clock` for a rehearsal; events and"
        " invoices carry that time for ever",
        action="use a separate ledger for rehearsals; start without `--clock` to bill",
    ),
    "clock_jumped": Problem(
        severity="warning",
        title="This machine's clock jumped",
        means="it is not known yet which time is right, so new events are held; they"
        " are counted once the clock is back, or has been steady for 10 minutes",
        action="check the time service of this host",
    ),
    "clock_unconfirmed": Problem(
        severity="info",
        title="This machine's clock is far ahead of what the ledger knows",
        means="the machine was off for more than a day, or its clock is not set yet;"
        " no period closes by itself until the clock has been steady for 10 minutes",
        action="check the time; if it is right, wait, or close at once with `meterline"
        " close`",
    ),
    "clock_behind_events": Problem(
        severity="warning",
        title="The newest event is in the future",
        means="the sidecar's clock was set back, or an app's clock is ahead",
        action="check the time service of the sidecar's host and of the apps' hosts",
    ),
    "clocks_apart": Problem(
        severity="error",
        title="This machine and the sidecar have different times",
        means="usage would fall into the wrong periods, and Stripe refuses times ahead"
        " of its own",
        action="check the time service, and whether both are on the same host",
    ),
    "edge_refused": Problem(
        severity="error",
        title="An edge is refused until somebody decides",
        means="the ledger that connects as this edge is not the one that was known: an"
        " old backup was restored on its host, or a copy of its host is running. Its"
        " events wait there, nothing counts twice, and periods are not closed in the"
        " meantime",
        action="if its ledger was restored, run `meterline edges adopt EDGE --reason"
        " ...`; what is already here does not count again. If it is a copy, stop it"
        " and empty its state directory",
    ),
    "edge_silent": Problem(
        severity="warning",
        title="An edge is silent",
        means="an edge has been silent for more than a minute; it keeps its events,"
        " and no period that includes this time is closed until it is back",
        action="see `meterline status` on its host; if it will never come back, run"
        " `meterline edges retire EDGE --reason ...`",
    ),
    "edge_clock": Problem(
        severity="warning",
        title="The clock of an edge is wrong",
        means="the clocks of an edge and this host differ by more than 5 seconds;"
        " usage near the end of a period may fall into the wrong one",
        action="check the time services of both hosts",
    ),
    "leader_unknown": Problem(
        severity="error",
        title="It is not known which centre leads",
        means="the database did not say in time which of several centres leads; work"
        " that only the leader does, such as closing and reporting, may be paused",
        action="check that the database answers, and that every centre has the same"
        " `centre.lease_s`",
    ),
    "files_differ": Problem(
        severity="warning",
        title="The files of the centres differ",
        means="this centre's files differ from the terms in force, because another"
        " centre that leads, or led, has other files. Nothing changes by itself,"
        " whichever centre leads",
        action="give all centres the same files, then run `meterline reload` on each,"
        " starting with the leader",
    ),
    "not_forwarded": Problem(
        severity="warning",
        title="Events do not reach the centre",
        means="this edge stores events but cannot forward them; nothing is lost, and"
        " no period is closed at the centre in the meantime",
        action="do what the text says; sending resumes by itself",
    ),
    "disk_low": Problem(
        severity="warning",
        title="The disk has little space left",
        means="less than 1 GiB is free on the ledger's disk",
        action="free some space: once it is full, events wait at the apps",
    ),
    "disk_full": Problem(
        severity="error",
        title="The disk is full, or nearly",
        means="less than 100 MiB is free on the ledger's disk",
        action="free some space: until then, events wait at the apps",
    ),
    "archive_not_readable": Problem(
        severity="error",
        title="Files of the archive cannot be found or read",
        means="files that hold events which left the ledger, or that edges wrote, are"
        " missing, cannot be read or have another size at `archive.url`, or those of"
        " edges at `archive.edges`, or the place cannot be reached. No amount changes, but a recount waits for them, and"
        " `meterline verify` fails",
        action="mount the disk, renew the bucket's credentials, or put the files there"
        " from a copy; if they are elsewhere, set `archive.url` to that place, or"
        " `archive.edges` of a centre for files of its edges, and restart the sidecar."
        " It looks again every minute",
    ),
    "archive_not_written": Problem(
        severity="warning",
        title="A file of the archive cannot be written",
        means="a file of the archive cannot be written, or reads back differently; the"
        " events stay in the ledger, which keeps growing",
        action="fix the place that `archive.url` names; it is tried again every hour,"
        " or at once with `meterline archive run`",
    ),
    "archive_waits": Problem(
        severity="warning",
        title="Old events wait to leave for the archive",
        means="an event that is older than `retention.events` must stay, with"
        " everything behind it: its period is not final, nobody has decided about it,"
        " or the edge's centre does not have it yet",
        action="do what the text says; then run `meterline archive run`",
    ),
    "backup_missing": Problem(
        severity="info",
        title="There is no backup yet",
        means="`meterline backup` was never run on this ledger; ignore this if you"
        " copy it in another way",
        action="run `meterline backup FILE` from a timer",
    ),
    "backup_old": Problem(
        severity="warning",
        title="The last backup is old",
        means="backups were made, and the last one is more than two days old",
        action="run `meterline backup FILE`, and find out why its timer stopped",
    ),
    "job_failing": Problem(
        severity="warning",
        title="A job of the sidecar fails",
        means="a job failed when it last ran; it is tried again at its usual interval",
        action="read the reason; the sidecar's log has the details",
    ),
    "sidecar_away": Problem(
        severity="error",
        title="No sidecar answers",
        means="nothing runs at the configured address, or it does not let this user"
        " in; apps keep their events in the meantime",
        action="start it: `meterline run`",
    ),
    "file_missing": Problem(
        severity="info",
        title="A file does not exist yet",
        means="the sidecar creates it at its first start",
        action="start the sidecar with the configuration that `doctor` used",
    ),
    "file_open_to_others": Problem(
        severity="warning",
        title="A file is open to more users than it should be",
        means="others on this machine could read or change what is billed",
        action="remove the permissions with the `chmod` command in the text",
    ),
    "spool_dir_not_writable": Problem(
        severity="error",
        title="The spool directory cannot be written",
        means="workers of this user keep their events in memory only",
        action="give it to the group that the apps and the sidecar share",
    ),
    "spool_dir_not_shared": Problem(
        severity="warning",
        title="The spool directory is not shared",
        means="`sidecar.allowed_uids` lets other users send, but their workers cannot"
        " write here, so their events wait in memory only",
        action="let the group write, with the `chmod` command in the text",
    ),
    "spools_not_readable": Problem(
        severity="error",
        title="A spool cannot be read",
        means="events that a dead worker left in it cannot be stored",
        action="let the group in, with the `chmod` command in the text",
    ),
    "spools_left_behind": Problem(
        severity="info",
        title="Dead workers left spools behind",
        means="they have events that are not stored yet; a running sidecar stores them"
        " within seconds",
        action="nothing, while the sidecar runs",
    ),
}
"""All of them, in the order in which a person should look at them."""
