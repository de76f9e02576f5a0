#!/usr/bin/env bash
# Two month ends in half a minute, with a clock of our own: README.md tells the story.
set -euo pipefail
. "$(dirname "$0")/common.sh"

clock 2026-11-02T08:00:00Z
start

say "November: both use something"
use acme_key 3000 2026-11-02T07:30:00Z a-1
use hayashi_key 1500 2026-11-02T07:45:00Z h-1

say "1 December, 00:30 in Berlin: the month is over, and waits for its grace"
clock 2026-11-30T23:30:00Z
until_said acme meterline close --list grace
meterline close --list grace
meterline close --skip-grace --dry-run

say "2 December: Berlin's November is final by itself, Tokyo's waits for 72 hours"
clock 2026-12-02T01:00:00Z
until_final acme 2026-11
meterline invoice acme --period 2026-11
meterline close --list grace

say "5 December: 500 calls of November come late, and there was an outage"
clock 2026-12-05T09:00:00Z
until_final hayashi 2026-11
use acme_key 500 2026-11-30T20:00:00Z a-2
until_said 'has been added since' meterline explain acme calls --period 2026-11
meterline explain acme calls --period 2026-11
meterline credit acme 4 --reason "the outage of 4 December"

say "2 January: December is final, with what came late and what was granted"
clock 2027-01-02T09:00:00Z
until_final acme 2026-12
meterline invoice acme --period 2026-12
meterline credit acme

say "The books can be proved"
meterline verify
