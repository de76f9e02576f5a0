"""Faults for ``test_mutants.py`` in what holds against others: sizes, files, times, doors.

Those of one group are put in at once, to be quick: they touch nothing of each other.
Each is the file, what stands there, what stands there instead, and the test that finds it.
"""

from typing import Final

SPOOL: Final = "middleware/meterline/spool"
INGEST: Final = "sidecar/meterline_sidecar/ingest"
FILES: Final = "sidecar/meterline_sidecar/files.py"
HTTP: Final = "sidecar/meterline_sidecar/daemon/connection.py"
PRINTABLE: Final = "sidecar/meterline_sidecar/printable.py"
SPOOLS: Final = "tests/integration/ingest/test_foreign_spools.py"
CONNECTIONS: Final = "tests/integration/daemon/test_connections.py"

FOREIGN: Final = {
    "sizes": {
        "damage is searched beyond its bound": (
            f"{SPOOL}/scan.py",
            "            self._resync_bytes_left -= length & ~MARKER_BIT\n",
            "            self._resync_bytes_left -= (length & ~MARKER_BIT) // 4\n",
            "tests/unit/middleware/test_scan.py"
            "::test_damage_that_looks_like_lengths_everywhere_is_given_up",
        ),
        "a frame is as long as it says": (
            "middleware/meterline/wire.py",
            "    if length > FRAME_BYTES_MAX:\n",
            "    if length > 1 << 40:\n",
            "tests/unit/middleware/test_wire.py"
            "::test_a_frame_is_refused_by_its_length_before_any_of_it_is_read",
        ),
        "a number above all that an event can have is a count": (
            f"{SPOOL}/producer_file.py",
            "        return number if number <= SEQ_MAX else 0",
            "        return number",
            f"{SPOOLS}"
            "::test_whatever_is_damaged_in_the_producers_file_its_events_are_taken_in[beyond]",
        ),
        "a value decides how many rows there are": (
            "sidecar/meterline_sidecar/stripe/enqueue.py",
            '        is_one = known.mode == "set" or not _is_tellable(total, known)\n',
            '        is_one = known.mode == "set"\n',
            "tests/integration/stripe/test_enqueue.py"
            "::test_a_value_of_more_parts_than_an_hour_may_have_is_one_row",
        ),
        "what was announced is billed": (
            "middleware/meterline/exchange.py",
            "        message = await self.inner_receive()\n"
            "        try:\n"
            '            if message["type"] == "http.request":\n',
            "        message = await self.inner_receive()\n"
            "        try:\n"
            '            for name, value in self.scope["headers"]:\n'
            '                if name == b"content-length":\n'
            "                    self.bytes_in += int(value)\n"
            '            if message["type"] == "http.request":\n',
            "tests/integration/asgi/test_rules.py"
            "::test_a_body_that_is_read_counts_by_what_came_not_by_its_header",
        ),
    },
    "spools": {
        "links are followed": (
            f"{SPOOL}/folder.py",
            "flags = system.NO_LINK | system.NO_WAIT | system.CLOSE_ON_EXEC",
            "flags = system.NO_WAIT | system.CLOSE_ON_EXEC",
            f"{SPOOLS}::test_looking_at_such_a_spool_says_what_is_there[link]",
        ),
        "a file may have another name elsewhere": (
            f"{SPOOL}/folder.py",
            "        if status.st_nlink > 1:\n",
            "        if status.st_nlink > 1 << 20:\n",
            f"{SPOOLS}::test_looking_at_such_a_spool_says_what_is_there[hard_link]",
        ),
        "one bad spool stops the others": (
            f"{INGEST}/dead_spools.py",
            "        except Exception as error:  # noqa: BLE001",
            "        except ZeroDivisionError as error:  # noqa: BLE001",
            f"{SPOOLS}"
            "::test_what_is_no_file_of_a_spool_is_named_and_stops_no_other[folder-00000009.seg]",
        ),
        "anybody speaks for a worker": (
            f"{INGEST}/peers.py",
            "            is_theirs = holder == peer.pid\n",
            "            is_theirs = True\n",
            "tests/integration/ingest/test_owners.py"
            "::test_only_who_has_the_lock_of_a_spool_speaks_for_it",
        ),
        "only the last segments are forced": (
            f"{SPOOL}/living.py",
            "            for segment in segments:\n                segment.sync()\n",
            "            for segment in segments[-2:]:\n"
            "                segment.sync()\n",
            "tests/fault/test_power_cut.py"
            "::test_a_power_cut_leaves_of_a_spool_whatever_was_forced_in_time",
        ),
    },
    "ledger": {
        "a ledger is locked by its name alone": (
            FILES,
            "            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
            "    except BlockingIOError:\n"
            "        os.close(descriptor)\n"
            "        raise AlreadyRunning(\n",
            "            pass\n"
            "    except BlockingIOError:\n"
            "        os.close(descriptor)\n"
            "        raise AlreadyRunning(\n",
            "tests/unit/test_files.py"
            "::test_a_ledger_that_is_locked_under_a_name_nobody_sees_is_refused",
        ),
        "a ledger that is gone is not missed": (
            FILES,
            "        if found == self._known:\n            return\n",
            "        if self._known is not None:\n            return\n",
            "tests/unit/test_files.py::test_a_place_that_leads_elsewhere_is_noticed",
        ),
        "a name that is not on the disk": (
            FILES,
            "        sync(path.parent)  # until then a power loss undoes the rename\n",
            "        pass\n",
            "tests/unit/test_files.py"
            "::test_a_durable_file_is_on_disk_before_its_name_and_its_name_before_the_return",
        ),
        "what is not counted yet is fresh": (
            "sidecar/meterline_sidecar/usage/counted.py",
            "    if waiting_ms is not None and as_of_ms is not None:\n",
            "    if waiting_ms is not None and as_of_ms is None:\n",
            "tests/web/test_freshness.py"
            "::test_fresh_as_of_is_the_time_up_to_which_all_is_counted",
        ),
        "a gap is as old as what came before it": (
            "sidecar/meterline_sidecar/store/edge/gaps.py",
            '        " AND p.seen_ms >= ? AND (p.started_ms < ? OR',
            '        " AND (SELECT max(e.time_ms) FROM events e WHERE e.producer_id = p.id)"\n'
            '        " BETWEEN ? AND ? AND (0 OR',
            "tests/integration/ingest/test_gaps.py"
            "::test_a_gap_is_of_a_period_whatever_its_neighbours_say",
        ),
        "a restore bills on": (
            "sidecar/meterline_sidecar/ledger/restore.py",
            "            alarm = await raise_alarm(ledger, alarm)\n",
            "            pass\n",
            "tests/integration/ledger/test_restore.py"
            "::test_a_restore_says_what_is_missing_and_bills_nothing_until_it_is_accepted",
        ),
        "what comes late is impossible": (
            f"{INGEST}/decode.py",
            "    return min(EARLIEST_MS, now_ms - BEHIND_MS_MAX), now_ms + AHEAD_MS_MAX\n",
            "    return now_ms - BEHIND_MS_MAX, now_ms + AHEAD_MS_MAX\n",
            "tests/integration/usage/test_aggregate.py"
            "::test_an_event_that_comes_late_is_counted_at_its_own_time",
        ),
    },
    "doors": {
        "each byte of a request is new time": (
            HTTP,
            "        elif self._deadline is None:\n",
            "        else:\n"
            "            if self._deadline is not None:\n"
            "                self._deadline.cancel()\n",
            f"{CONNECTIONS}::test_a_request_that_never_ends_is_cut_off[half]",
        ),
        "one address takes all connections": (
            HTTP,
            "        if len(same) > ADDRESS_CONNECTIONS_MAX and not is_proxy:\n",
            "        if len(same) > 1 << 20 and not is_proxy:\n",
            f"{CONNECTIONS}::test_whoever_asks_gets_in_past_those_who_only_wait",
        ),
        "wrong tokens lock out a right one": (
            "sidecar/meterline_sidecar/web/guard.py",
            "        if token is None:\n            is_cookie",
            "        if token is None or self._failures.wait_s(caller.address, now_s):\n"
            "            is_cookie",
            "tests/web/test_guard.py::test_guessing_tokens_is_slowed_down",
        ),
        "every neighbour is our own": (
            "sidecar/meterline_sidecar/web/neighbours.py",
            "        return self._uid(tuple(client), tuple(server)) in self._uids\n",
            "        return self._uid(tuple(client), tuple(server)) is not None\n",
            "tests/web/test_neighbours.py"
            "::test_others_and_those_whom_the_kernel_does_not_name_are_not",
        ),
        "a terminal gets what a client wrote": (
            PRINTABLE,
            "        self._stream.write(self._suspect.sub(_escaped, text))\n",
            "        self._stream.write(text)\n",
            "tests/unit/test_printable.py"
            "::test_a_terminal_shows_our_styles_and_nobody_elses",
        ),
        "a client writes lines of the log": (
            PRINTABLE,
            "        return printable(super().formatMessage(record))\n",
            "        return super().formatMessage(record)\n",
            "tests/unit/test_printable.py"
            "::test_a_line_of_the_log_is_one_line_whoever_wrote_it",
        ),
    },
}
