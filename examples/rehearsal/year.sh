#!/usr/bin/env bash
# A leap year's ends in some seconds, with a clock of our own: README.md tells the story.
set -euo pipefail
. "$(dirname "$0")/common.sh"
export METERLINE_CONFIG=year.toml

month_end() { # MONTH, THE NEXT ONE: go to the 3rd, and wait until all have their invoice
  clock "$2-03T12:00:00Z"
  for customer in $customers; do
    until_final "$customer" "$1"
  done
}

due() { # CUSTOMER MONTH: what the invoice comes to
  local found
  found=$(ask "/v1/customers/$1/invoice?period=$2")
  found=${found#*\"due\":\"}
  echo "$1, $2: ${found%%\"*} usd"
}

change() { # SED COMMAND: edit the files, and load them
  sed --in-place "$1" year.toml
  meterline reload
}

customers="acme hayashi lark"
clock 2028-01-01T20:00:00Z
start

say "January to March: a leap day, and a night with an hour less in Berlin"
use acme_key 3000 2028-01-01T19:00:00Z jan
month_end 2028-01 2028-02
clock 2028-02-29T22:59:00Z
use acme_key 1500 2028-02-29T22:58:00Z feb   # 23:58 in Berlin: the last day of February
use hayashi_key 1500 2028-02-29T22:58:00Z h-mar # 1 March in Tokyo
month_end 2028-02 2028-03
due acme 2028-02
due hayashi 2028-02
clock 2028-03-31T22:30:00Z
use acme_key 1200 2028-03-31T21:59:00Z mar   # 23:59 in Berlin, by its summer time
use acme_key 1300 2028-03-31T22:00:00Z apr   # April there
month_end 2028-03 2028-04
due acme 2028-03
due hayashi 2028-03

say "April: Acme goes from basic to pro on the 16th"
clock 2028-04-16T10:00:00Z
change '/id = "acme"/,/^$/ { s/plan = "basic"/plan = "pro"/; s/^starts/from = 2028-04-16\nstarts/ }'
clock 2028-04-20T10:00:00Z
use acme_key 2000 2028-04-20T09:00:00Z apr-pro
month_end 2028-04 2028-05
meterline invoice acme --period 2028-04

say "May: 600 calls of April come late, and are on May's invoice"
use acme_key 600 2028-04-25T00:00:00Z apr-late
month_end 2028-05 2028-06
meterline invoice acme --period 2028-05

say "June: 5,000 calls were a test; they are void, and then they are not"
use hayashi_key 5000 2028-06-02T00:00:00Z h-jun
month_end 2028-06 2028-07
due hayashi 2028-06
test_calls=(--customer hayashi --period 2028-06 --external-id h-jun)
meterline correct "${test_calls[@]}" --reason "a test of ours"
meterline correct --revert 1 --reason "no, it was Hayashi"
meterline correct "${test_calls[@]}" --reason "a test of ours, as it turned out"

say "July: Hayashi's June is void, and invoiced again"
number=$(ask '/v1/invoices?customer=hayashi&period=2028-06&kind=invoice')
number=${number#*\"number\":\"}
meterline invoice "${number%%\"*}" --void --reason "it billed a test"
meterline close --customer hayashi --period 2028-06
due hayashi 2028-06
month_end 2028-07 2028-08

say "August: a credit for an outage"
meterline credit acme 75 --reason "the outage of 1 August"
month_end 2028-08 2028-09
due acme 2028-08

say "September: Lark leaves after the 10th, and pays a third of the fee"
change '/id = "lark"/,$ s/^starts/ends = 2028-09-10\nstarts/'
month_end 2028-09 2028-10
due lark 2028-09
due acme 2028-09
customers="acme hayashi"

say "October: a night with an hour more in Berlin"
clock 2028-10-31T22:59:30Z
use acme_key 1000 2028-10-31T22:59:00Z oct   # 23:59 in Berlin, by its winter time
clock 2028-10-31T23:00:30Z
use acme_key 1000 2028-10-31T23:00:00Z nov   # November there
month_end 2028-10 2028-11
due acme 2028-10
month_end 2028-11 2028-12
due acme 2028-11

say "The year ends"
clock 2028-12-31T23:30:00Z
use acme_key 1000 2028-12-31T22:59:00Z dec
use acme_key 1000 2028-12-31T23:00:00Z jan-29 # 2029 in Berlin
month_end 2028-12 2029-01
due acme 2028-12
meterline statement hayashi

say "The books can be proved"
meterline verify --invoices
