"""What can be wrong with events on their way, with the ledger, and with the host."""

from collections.abc import Mapping
from typing import Final

from meterline_sidecar.problems.problem import Code, Problem

RUNNING: Final[Mapping[Code, Problem]] = {
    "events_not_stored": Problem(
        severity="error",
        title="Events cannot be stored",
        means="the ledger's disk is full or refuses to be written; the apps keep their"
        " events meanwhile, and nothing is lost until their spools are full",
        action="free space or mend the disk; storing goes on by itself",
    ),
    "events_lost": Problem(
        severity="warning",
        title="Events were lost at the apps",
        means="a spool was full or damaged, or was deleted with events in it; the exact"
        " numbers are in the ledger, and these events are never billed",
        action="see which workers lost them with `meterline status`; give the spools"
        " more room, or keep the sidecar from being away for long",
    ),
    "events_refused": Problem(
        severity="warning",
        title="Events were refused as invalid",
        means="what arrived is no valid event; it is kept in the ledger with the reason,"
        " and not billed",
        action="bring `meterline` in the apps and in the sidecar to one version; the"
        " sidecar's log names the reason",
    ),
    "events_missing": Problem(
        severity="warning",
        title="A silent worker has events that have not arrived",
        means="a worker recorded events and has been silent since; they are in its spool,"
        " or lost with it. A period over such a gap is not made final unasked",
        action="start the worker again, or let the sidecar read its spool; where the"
        " spool is gone, make the invoice final with `--accept-gap`",
    ),
    "events_held": Problem(
        severity="warning",
        title="Events are held out of billing",
        means="their time is more than 5 minutes ahead, or before 2026, and so cannot be"
        " right; they are stored and not counted",
        action="look at them with `meterline held list`, then accept or reject them; one"
        " that is ahead is counted by itself once its time has come",
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
        means="what dead workers left behind waits, and is not billed; the others are"
        " taken in meanwhile",
        action="let the sidecar's user read and write the spool that is named; if"
        " something in it is a link, a directory or another user's, see who put it"
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
        " good, name it in `sidecar.takes_over` and start the sidecar again",
    ),
    "quantity_not_taken": Problem(
        severity="warning",
        title="Quantities or properties could not be taken",
        means="an app recorded a quantity that is no exact number from 0 to 2^63 - 1, and"
        " this use is not billed; or a property that is no text, or too many, and this"
        " use is billed without it",
        action="the app's log says which, and `meterline events --json` flags them as"
        " `bad_quantity` or `bad_property`; record whole numbers, or decimals as text"
        " or `Decimal`, and properties within the bounds of the page on the middleware",
    ),
    "external_id_conflict": Problem(
        severity="warning",
        title="Events came under an id that another event has",
        means="a source sent or recorded something else under an id that it had used"
        " before; the first event stays as it is, and the others are not billed. Of those"
        " that came over HTTP nothing is stored, those of apps are stored with the flag"
        " `conflict`",
        action="let the source make an id for each event, and keep to it when it sends"
        " the event again; then send what is missing under ids of its own",
    ),
    "import_waits": Problem(
        severity="info",
        title="Events of an import wait aside",
        means="a file was put aside with `meterline import`, and nothing of it counts",
        action="look at it with `meterline import diff`, then commit or discard it; where"
        " the file is not whole, run the command that began it again",
    ),
    "import_stuck": Problem(
        severity="warning",
        title="An import does not go on",
        means="it is committed, and its next events cannot be stored for the reason that"
        " is named; what is stored of it counts",
        action="mend what is named; it goes on by itself",
    ),
    "request_keys_forgotten": Problem(
        severity="warning",
        title="Keys of requests are forgotten early",
        means="clients send more requests with a key of their own than are kept:"
        " one that they send again later than the oldest key that is known counts again",
        action="see whether clients send a key with requests that they never repeat; lower"
        " `idempotency_key_hours` of `[sidecar]`; or take `idempotency_header` away from"
        " apps that need none",
    ),
    "ledger_not_trusted": Problem(
        severity="error",
        title="The ledger lost its end, or was changed",
        means="what is stored is not what was written; events are taken in, and nothing"
        " is billed",
        action="run `meterline verify`; when you know what happened, stop the sidecar"
        " and run `meterline verify --accept`",
    ),
    "erased_words_missing": Problem(
        severity="error",
        title="Words that were erased may be here again",
        means="a ledger of before the erasure was put back. The name is erased again;"
        " of the other words that were given with `--also` only a keyed digest is kept, by"
        " which nobody finds them",
        action="look up the request, and name them again: `meterline erase ALIAS --also"
        " WORD`; where nobody knows them any more, the same without `--also` gives them up",
    ),
    "chain_head_not_written": Problem(
        severity="warning",
        title="The chain's head cannot be written",
        means="a ledger that loses its end from now on would not be noticed",
        action="let the sidecar's user write the file beside the database",
    ),
    "clock_rehearsal": Problem(
        severity="warning",
        title="The time is not real",
        means="the sidecar was started with `--clock`, to rehearse; what is recorded and"
        " made final now carries that time for ever",
        action="rehearse on a ledger of its own; start without `--clock` to bill",
    ),
    "clock_jumped": Problem(
        severity="warning",
        title="This machine's clock jumped",
        means="which time is right is not known yet, so that what arrives is held; it is"
        " counted once the clock is back, or has kept to its time for 10 minutes",
        action="check the time service of this host",
    ),
    "clock_unconfirmed": Problem(
        severity="info",
        title="This machine's clock is far ahead of what the ledger knows",
        means="it was away for more than a day, or its clock is not set yet: no period"
        " closes by itself until the clock has kept to its time for 10 minutes",
        action="see that the time is right; if it is, wait, or close at once with"
        " `meterline close`",
    ),
    "clock_behind_events": Problem(
        severity="warning",
        title="The newest event is in the future",
        means="the sidecar's clock was set back, or an app's clock is ahead",
        action="check the time service of the sidecar's host and of the apps' hosts",
    ),
    "clocks_apart": Problem(
        severity="error",
        title="This machine and the sidecar tell different times",
        means="usage would fall into wrong periods, and Stripe refuses times ahead of its"
        " own",
        action="check the time service, and that both are on the same host",
    ),
    "edge_refused": Problem(
        severity="error",
        title="An edge is refused until somebody decides",
        means="what comes as an edge is not the ledger that it was: an old backup was put"
        " back on its host, or a copy of its host goes on beside it. What it has waits"
        " there, nothing counts twice, and periods are not closed meanwhile",
        action="if its ledger was restored, `meterline edges adopt EDGE --reason ...`:"
        " what is here already does not count again. If it is a copy, stop it and empty"
        " its state directory",
    ),
    "edge_silent": Problem(
        severity="warning",
        title="An edge is silent",
        means="an edge was not heard of for more than a minute; it keeps its events, and"
        " no period over that time is closed until it is back",
        action="see `meterline status` on its host; if it never comes back, `meterline"
        " edges retire EDGE --reason ...`",
    ),
    "edge_clock": Problem(
        severity="warning",
        title="The clock of an edge is wrong",
        means="an edge and this host tell times that are more than 5 seconds apart; usage"
        " near the end of a period may fall into the wrong one",
        action="check the time services of both hosts",
    ),
    "leader_unknown": Problem(
        severity="error",
        title="It is not known which centre leads",
        means="the database did not say in time which of several centres leads; what one"
        " of them does, such as closing and reporting, may stand still meanwhile",
        action="see that the database answers, and that every centre has the same"
        " `centre.lease_s`",
    ),
    "files_differ": Problem(
        severity="warning",
        title="The files of the centres differ",
        means="what this centre's files say is not what holds: another centre that leads,"
        " or led, was given other files. Nothing changes by itself, whoever leads",
        action="give all centres the same files, then run `meterline reload` on each, on"
        " the one that leads first",
    ),
    "not_forwarded": Problem(
        severity="warning",
        title="Events do not reach the centre",
        means="this edge stores what it takes in, and cannot send it on; nothing is lost,"
        " and no period is closed at the centre meanwhile",
        action="do what the text says; sending goes on by itself",
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
        action="free some space: until then events wait at the apps",
    ),
    "archive_not_written": Problem(
        severity="warning",
        title="A file of the archive cannot be written",
        means="a file of the archive cannot be written, or does not read back as it was"
        " written; the events stay in the ledger, which grows meanwhile",
        action="mend the place that `archive.url` names; it is tried again each hour, or"
        " at once with `meterline archive run`",
    ),
    "archive_waits": Problem(
        severity="warning",
        title="Old events wait to leave for the archive",
        means="events are older than `retention.events`, and one of them must stay, with"
        " all that came behind it: its period is not final, nobody has decided about it,"
        " or the centre of an edge does not have it yet",
        action="do what is named, or see who can; then `meterline archive run`",
    ),
    "backup_missing": Problem(
        severity="info",
        title="There is no backup yet",
        means="`meterline backup` was never run on this ledger; whoever copies it in"
        " another way can leave this",
        action="run `meterline backup FILE` from a timer",
    ),
    "backup_old": Problem(
        severity="warning",
        title="The last backup is old",
        means="backups were made, and the last one is more than two days old",
        action="run `meterline backup FILE`, and see why its timer stopped",
    ),
    "job_failing": Problem(
        severity="warning",
        title="A job of the sidecar fails",
        means="a job failed when it last ran; it is tried again at its pace",
        action="read the reason; the sidecar's log has the details",
    ),
    "sidecar_away": Problem(
        severity="error",
        title="No sidecar answers",
        means="nothing runs at the configured address, or it does not let this user in;"
        " apps keep their events meanwhile",
        action="start it: `meterline run`",
    ),
    "file_missing": Problem(
        severity="info",
        title="A file is not there yet",
        means="the sidecar makes it when it first starts",
        action="start the sidecar, with the configuration that `doctor` was given",
    ),
    "file_open_to_others": Problem(
        severity="warning",
        title="A file is open to more users than it should be",
        means="others on this machine could read or change what is billed",
        action="take the rights away with the `chmod` that is named",
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
        means="`sidecar.allowed_uids` lets other users send, and their workers cannot"
        " write here: their events wait in memory only",
        action="give the group the right to write, with the `chmod` that is named",
    ),
    "spools_not_readable": Problem(
        severity="error",
        title="A spool cannot be read",
        means="what a dead worker left in it could not be taken in",
        action="let the group in, with the `chmod` that is named",
    ),
    "spools_left_behind": Problem(
        severity="info",
        title="Dead workers left spools behind",
        means="they have events that are not stored yet; a running sidecar takes them in"
        " within seconds",
        action="nothing, while the sidecar runs",
    ),
}
"""All of them, in the order in which a person should look at them."""
