"""What a person reads who got ``meterline.toml`` wrong."""

import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from meterline_pricing.toml import source as source_module
from meterline_pricing.toml.lines import KeyPath, line_index
from meterline_sidecar.clock import parse_time_ms
from meterline_sidecar.config.prices import shown
from meterline_sidecar.config.read import read_config
from meterline_sidecar.config.reference import schema, sections
from meterline_sidecar.config.shape import Config
from meterline_sidecar.errors import ConfigError
from meterline_sidecar.where import StatusRange

METER = '[[meter]]\nname = "api_calls"\naggregation = "count"\n'
PLAN = '[[plan]]\nname = "starter"\ncurrency = "usd"\n'


def read(
    folder: Path, text: str, *, pricing: str | None = None, **environment: str
) -> Config:
    (folder / "meterline.toml").write_text(text)
    if pricing is not None:
        (folder / "pricing.toml").write_text(pricing)
    return read_config(folder / "meterline.toml", environment=environment)


def problems(
    folder: Path, text: str, *, pricing: str | None = None, **environment: str
) -> list[str]:
    """Return the lines of the error, without the folder."""
    with pytest.raises(ConfigError) as caught:
        read(folder, text, pricing=pricing, **environment)
    return str(caught.value).replace(f"{folder}/", "").splitlines()


MISTAKES = {
    "[[customer]]\nid = 42": (
        ":2: customer[0].id: expected an id in quotes, of up to 100 letters, digits"
        " and any of _ . - : @ + = ~ |, not the integer 42"
    ),
    '[[customer]]\nid = "a/b"': (
        ":2: customer[0].id: expected an id in quotes, of up to 100 letters, digits"
        ' and any of _ . - : @ + = ~ |, not the text "a/b"'
    ),
    '[[customer]]\nid = "a"\nsubjects = ["ac*me"]': (
        ":3: customer[0].subjects[0]: `ac*me` would match nothing: `*` stands at the"
        " end only, for all that begins with what is before it"
    ),
    '[[customer]]\nid = "a"\nsubjects = ["ac**"]': (
        ":3: customer[0].subjects[0]: `ac**` would match nothing: `*` stands at the"
        " end only, for all that begins with what is before it"
    ),
    '[[customer]]\nid = "a"\nstarts = 2026-02-01\nends = 2026-01-31': (
        ":4: customer[0].ends: is before the first day, 2026-02-01"
    ),
    '[[customer]]\nid = "a"\nfrom = "soon"': (
        ':3: customer[0].from: expected a date such as 2026-01-31, not the text "soon"'
    ),
    '[[customer_rule]]\nmatch = "acct_1"\nplan = "starter"': (
        ":2: customer_rule[0].match: expected what subjects begin with, and `*`, not"
        ' the text "acct_1"'
    ),
    '[[customer_rule]]\nmatch = "*"\nplan = "startr"': (
        ":3: customer_rule[0].plan: unknown plan `startr`; did you mean `starter`?"
    ),
    '[[customer_rule]]\nmatch = "*"': (
        ":1: customer_rule[0].plan: missing: expected a text"
    ),
    '[sidecar]\nsockett = "a"': (
        ":2: sidecar.sockett: unknown key `sockett`; did you mean `socket`?"
    ),
    "[sidecar]\nsocket = 5": ":2: sidecar.socket: expected a text, not the integer 5",
    "[sidecar]\nsocket = ''": (
        ":2: sidecar.socket: expected a text, not an empty text"
    ),
    '[sidecar]\nhttp = "localhost"': (
        ':2: sidecar.http: expected HOST:PORT, or unix:PATH, not the text "localhost"'
    ),
    '[sidecar]\nhttp = "127.0.0.1:99999"': (
        ":2: sidecar.http: expected HOST:PORT, or unix:PATH,"
        ' not the text "127.0.0.1:99999"'
    ),
    '[sidecar]\nallowed_uids = [0, "1"]': (
        ":2: sidecar.allowed_uids[1]: expected an integer from 0 to 4294967294,"
        ' not the text "1"'
    ),
    '[sidecar]\ntakes_over = ["3F9A1C0B7E22"]': (
        ":2: sidecar.takes_over[0]: expected a ledger's number in quotes, such as"
        ' 3f9a1c0b7e22, not the text "3F9A1C0B7E22"'
    ),
    "[sidecar]\naggregate_every_s = 0": (
        ":2: sidecar.aggregate_every_s: expected an integer from 1 to 3600,"
        " not the integer 0"
    ),
    "[sidecar]\naggregate_every_s = true": (
        ":2: sidecar.aggregate_every_s: expected an integer from 1 to 3600, not true"
    ),
    "sidecar = 1": ":1: sidecar: expected a table, not the integer 1",
    "[sidecars]": ":1: sidecars: unknown key `sidecars`; did you mean `sidecar`?",
    "[meter]": (":1: meter: expected an array of tables [[meter]], not a table"),
    '[[meter]]\naggregation = "count"': (
        ":1: meter[0].name: missing: expected a name of letters, digits, `_`, `.`"
        " and `-`"
    ),
    '[[meter]]\nname = "api calls"\naggregation = "count"': (
        ":2: meter[0].name: expected a name of letters, digits, `_`, `.` and `-`,"
        ' not the text "api calls"'
    ),
    '[[meter]]\nname = "a"\naggregation = "cuont"': (
        ":3: meter[0].aggregation: unknown aggregation `cuont`; did you mean `count`?"
    ),
    '[[meter]]\nname = "a"\naggregation = "sum"': (
        ":1: meter[0].value: missing: a sum meter needs one of bytes_in,"
        " bytes_out, duration_us, units, quantities.NAME"
    ),
    '[[meter]]\nname = "a"\naggregation = "min"': (
        ":1: meter[0].value: missing: a min meter needs one of bytes_in,"
        " bytes_out, duration_us, units, quantities.NAME"
    ),
    '[[meter]]\nname = "a"\naggregation = "min"\nvalue = "route"': (
        ":4: meter[0].value: `route` is a text: only `count` and `unique` meters"
        " take it, not `min`"
    ),
    '[[meter]]\nname = "a"\naggregation = "sum"\nvalue = "byte_in"': (
        ":4: meter[0].value: unknown value `byte_in`; did you mean `bytes_in`?"
    ),
    '[[meter]]\nname = "a"\naggregation = "max"\nvalue = "subject"': (
        ":4: meter[0].value: `subject` is a text: only `count` and `unique` meters"
        " take it, not `max`"
    ),
    f"{METER}where = {{ status = 200 }}": (
        ":4: meter[0].where.status: expected statuses from 100 to 599, such as"
        ' "200-499" or "200,304", not the integer 200'
    ),
    f'{METER}where = {{ status = "400-200" }}': (
        ":4: meter[0].where.status: nothing is in 400-200; write 200-400"
    ),
    f'{METER}where = {{ status = "200-600" }}': (
        ":4: meter[0].where.status: expected statuses from 100 to 599, such as"
        ' "200-499" or "200,304", not the text "200-600"'
    ),
    f'{METER}where = {{ status = "099" }}': (
        ":4: meter[0].where.status: expected statuses from 100 to 599, such as"
        ' "200-499" or "200,304", not the text "099"'
    ),
    f'{METER}where = {{ method = ["GTE"] }}': (
        ":4: meter[0].where.method[0]: unknown method `GTE`; did you mean `GET`?"
    ),
    f'{METER}title = " "': (
        ":4: meter[0].title: expected a title of 1 to 100 characters in one line, not"
        ' the text " "'
    ),
    f'{METER}unit = "{"x" * 31}"': (
        ":4: meter[0].unit: expected a unit of 1 to 30 characters, such as bytes, not"
        f' the text "{"x" * 31}"'
    ),
    f"{METER}hiden = true": (
        ":4: meter[0].hiden: unknown key `hiden`; did you mean `hidden`?"
    ),
    f'{METER}title = "b"\n[[meter]]\nname = "b"\naggregation = "count"': (
        ":6: meter[1].name: a second meter is shown as `b`"
    ),
    f'{METER}[[meter]]\nname = "b"\naggregation = "count"\ntitle = "api_calls"': (
        ":7: meter[1].title: a second meter is shown as `api_calls`"
    ),
    f'{METER}where = {{ method = ["!GTE"] }}': (
        ":4: meter[0].where.method[0]: unknown method `GTE`; did you mean `GET`?"
    ),
    f'{METER}where = {{ method = ["GET", "!get"] }}': (
        ":4: meter[0].where: its methods leave out all that they name: GET, !GET"
    ),
    f'{METER}where = {{ method = ["!GET"], kind = ["websocket"] }}': (
        ":4: meter[0].where: every websocket is opened by GET, which is left out"
    ),
    f'{METER}where = {{ status = "!6xx" }}': (
        ":4: meter[0].where.status: expected statuses from 100 to 599, such as"
        ' "200-499" or "200,304", not the text "!6xx"'
    ),
    f'{METER}where = {{ status = "200,!2xx" }}': (
        ":4: meter[0].where: its statuses leave out all that they name"
    ),
    f'{METER}where = {{ route = ["!health"] }}': (
        ":4: meter[0].where: `!health` leaves out no request: a route begins with `/`,"
        " as in `!/health`; where no route was found, it is `unmatched`"
    ),
    f'{METER}where = {{ route = ["/v1/items", "!/v1/*"] }}': (
        ":4: meter[0].where: its routes leave out all that they name: /v1/items, !/v1/*"
    ),
    f'{METER}where = {{ kind = ["requests"] }}': (
        ":4: meter[0].where.kind[0]: unknown kind `requests`; did you mean `request`?"
    ),
    f'{METER}where = {{ kind = ["websocket"], method = ["POST"] }}': (
        ":4: meter[0].where: no websocket is opened by POST: only by GET"
    ),
    f'{METER}where = {{ route = ["v1/*"] }}': (
        ":4: meter[0].where: the route `v1/*` can match no request: a route begins with"
        " `/`, as in `/v1/*`. If it is one that your code gives to Meter.record, say so"
        ' with kind = ["use"]; where no route was found, it is `unmatched`'
    ),
    '[[meter]]\nname = "a"\naggregation = "sum"\nvalue = "quantities.a b"': (
        ":4: meter[0].value: no event has a quantity called `a b`: a name is of 1 to 64"
        " letters, digits and any of _ . : -"
    ),
    f'[[meter]]\nname = "a"\naggregation = "sum"\nvalue = "quantities.{"a" * 99}"': (
        f":4: meter[0].value: no event has a quantity called `{'a' * 65}`: a name is of 1"
        " to 64 letters, digits and any of _ . : -"
    ),
    f'[[meter]]\nname = "a"\naggregation = "sum"\nvalue = "{"a" * 101}"': (
        f":4: meter[0].value: unknown value `{'a' * 100}...` of 101 characters"
    ),
    f'{METER}where = {{ routes = ["/"] }}': (
        ":4: meter[0].where.routes: unknown key `routes`; did you mean `route`?"
    ),
    f"{METER}where = {{ route = 1 }}": (
        ":4: meter[0].where.route: expected an array: a text, not the integer 1"
    ),
    f'{METER}where = {{ Model = "large" }}': (
        ":4: meter[0].where.Model: a property is called by at most 64 of a-z, 0-9 and _,"
        " not by a digit first; unknown key `Model`; known are: PROPERTY, kind, method,"
        " route, status"
    ),
    f'{METER}where = {{ subject = "acct_*" }}': (
        ":4: meter[0].where.subject: `subject` is no property: events have something of"
        " that name"
    ),
    f'{METER}where = {{ model = ["large", 3] }}': (
        ":4: meter[0].where.model[1]: expected a value, a pattern such as gpt-*, or"
        " `(none)`, not the integer 3"
    ),
    f'{METER}where = {{ model = "!" }}': (
        ":4: meter[0].where.model: `!` leaves out what it stands before, and nothing is"
        " there"
    ),
    f'{METER}where = {{ model = "!(other)" }}': (
        ":4: meter[0].where.model: values are compared as they were recorded, before"
        " those beyond the limit are added up as `(other)`"
    ),
    f'{METER}where = {{ model = "{"x" * 129}" }}': (
        ":4: meter[0].where.model: no value is longer than 128 characters"
    ),
    f'{METER}where = {{ model = ["gpt-4", "!gpt-*"] }}': (
        ":4: meter[0].where: its `model` leaves out all that it names: gpt-4, !gpt-*"
    ),
    f'{METER}group_by = ["subject"]': (
        ":4: meter[0].group_by[0]: `subject` is no property: events have something of"
        " that name"
    ),
    "[properties]\nvalues_max = 0": (
        ":2: properties.values_max: expected an integer from 1 to 10000, not the integer"
        " 0"
    ),
    f'{METER}group_by = ["rout"]': (
        ":4: meter[0].group_by[0]: unknown dimension `rout`; did you mean `route`?"
    ),
    f'{METER}bill_through = "meters"': (
        ":4: meter[0].bill_through: unknown bill_through `meters`; did you mean"
        " `meter`?"
    ),
    f'{METER}bill_through = "invoice"': (
        ":4: meter[0].bill_through: `invoice` is reserved for invoices that are priced"
        " here, which are not sent to Stripe yet; use `meter` or `none`"
    ),
    '[[meter]]\nname = "a"\naggregation = "unique"\nvalue = "subject"\n'
    'bill_through = "meter"': (
        ":5: meter[0].bill_through: the unique of a month cannot be had from that of"
        " its hours, so Stripe cannot add it up; use count, sum or latest"
    ),
    f'{METER}bill_through = "meter"\n[[meter]]\nname = "b"\naggregation = "count"\n'
    'bill_through = "meter"\nstripe_event_name = "api_calls"': (
        ":9: meter[1].stripe_event_name: a second meter is `api_calls` at Stripe, which"
        " would add them up as one"
    ),
    f"{METER}{METER}": ":5: meter[1].name: a second meter is called `api_calls`",
    "[[customer]]\nname = 'Acme'": (
        ":1: customer[0].id: missing: expected an id in quotes, of up to 100 letters,"
        " digits and any of _ . - : @ + = ~ |"
    ),
    '[[customer]]\nid = "a"\n[[customer]]\nid = "a"': (
        ":4: customer[1].id: `a` is of customer `a` already"
    ),
    '[[customer]]\nid = "a"\nsubjects = ["s"]\n'
    '[[customer]]\nid = "b"\nsubjects = ["s"]': (
        ":6: customer[1].subjects: `s` is of customer `a` already"
    ),
    '[[customer]]\nid = "a"\nplan = "startr"': (
        ":3: customer[0].plan: unknown plan `startr`; did you mean `starter`?"
    ),
    '[[customer]]\nid = "a"\ntime_zone = "Europe/Berlinn"': (
        ":3: customer[0].time_zone: unknown time zone `Europe/Berlinn`;"
        " did you mean `Europe/Berlin`?"
    ),
    '[[customer]]\nid = "a"\nstarts = "2026-01-01"': (
        ":3: customer[0].starts: expected a date such as 2026-01-31, not the text"
        ' "2026-01-01"'
    ),
    '[[customer]]\nid = "a"\nstarts = 0001-01-01': (
        ":3: customer[0].starts: 0001-01-01 is before 1900, when nothing was metered"
    ),
    '[[customer]]\nid = "a"\ntime_zone = "localtime"': (
        ":3: customer[0].time_zone: `localtime` is not the same everywhere: name a"
        " place, such as Europe/Berlin"
    ),
    # What could not be read makes nothing else wrong.
    '[[meter]]\nname = "a"\naggregation = "latest"\nvalue = "units"\n'
    'bill_through = "meter"\nstripe_mode = "sett"': (
        ":6: meter[0].stripe_mode: unknown stripe_mode `sett`; did you mean `set`?"
    ),
    '[[alert]]\nname = "a"\nkind = "jump"\nmeter = 5': (
        ":4: alert[0].meter: expected a name of letters, digits, `_`, `.` and `-`, not"
        " the integer 5"
    ),
    "[sidecar]\npricing = 5": (
        ":2: sidecar.pricing: expected a text, not the integer 5"
    ),
    '[[alert]]\nname = "a"\nkind = "silence"': (
        ":1: alert[0].meter: missing: a silence is of a meter's usage"
    ),
    '[[alert]]\nname = "a"\nincluded = true': (
        ":3: alert[0].included: only a limit on a meter can have it, instead of "
        "`amount`"
    ),
    '[[alert]]\nname = "a"\namount = 1\nplan = "startr"': (
        ":4: alert[0].plan: unknown plan `startr`; did you mean `starter`?"
    ),
    '[portal]\nframe_origins = ["app.example.com"]': (
        ":2: portal.frame_origins[0]: expected an origin such as"
        ' https://app.example.com, not the text "app.example.com"'
    ),
    '[stripe]\napi_base = "api.stripe.com"': (
        ":2: stripe.api_base: expected a URL such as https://ops.example.com/hook,"
        ' not the text "api.stripe.com"'
    ),
    '[stripe]\nmode = "live"': (
        ":2: stripe.mode: unknown mode `live`; did you mean `send`?"
    ),
    '[stripe]\napi_key = "sk_live_1"': (
        ":2: stripe.api_key: a key does not belong into this file; put it into a file"
        " that only the sidecar can read and name that in `api_key_file`"
    ),
    "[sidecar\n": ":1: not TOML: expected ']' at the end of a table declaration",
    "[[customer]]\nid = acme\n": (
        ':2: not TOML: invalid value; a text stands in straight quotes, such as "acme"'
    ),
    '[meter]\nname = "a"\n[[meter]]\n': (
        ":3: not TOML: cannot overwrite a value; it stands twice, or one table of a"
        " list has [one] bracket, not [[two]]"
    ),
}


@pytest.mark.parametrize("text", MISTAKES, ids=repr)
def test_a_mistake_is_told_with_its_line_and_key_and_what_was_expected(
    tmp_path: Path, text: str
) -> None:
    assert problems(tmp_path, text, pricing=PLAN) == [f"meterline.toml{MISTAKES[text]}"]


def test_a_price_list_with_a_mistake_still_names_its_plans(tmp_path: Path) -> None:
    told = problems(
        tmp_path,
        '[[meter]]\nname = "a"\naggregation = "count"\n'
        '[[customer]]\nid = "acme"\nplan = "startr"\n',
        pricing='[[plan]]\nname = "starter"\ncurrency = "usdd"\n',
    )

    assert told[0].endswith("unknown plan `startr`; did you mean `starter`?")
    assert told[1].startswith("pricing.toml:3: plan[0].currency: ")


def test_every_mistake_of_both_files_and_the_environment_is_told_at_once(
    tmp_path: Path,
) -> None:
    told = problems(
        tmp_path,
        '[sidecar]\nsockett = "a"\n[[meter]]\nname = "api_calls"\nvalue = "x"\n',
        pricing='[[plan]]\nname = "starter"\n[[plan.price]]\nmeter = "a"\nmodel = "gradated"\n',
        METERLINE_HTTP="8270",
    )

    assert told == [
        "meterline.toml:2: sidecar.sockett: unknown key `sockett`;"
        " did you mean `socket`?",
        "meterline.toml:3: meter[0].aggregation: missing: expected one of count, sum,"
        " max, min, unique, latest",
        "meterline.toml:5: meter[0].value: unknown value `x`; known are: bytes_in,"
        " bytes_out, duration_us, method, quantities.NAME, route, subject, units; what"
        " your code records as `x` is `quantities.x`",
        "METERLINE_HTTP: expected HOST:PORT, or unix:PATH, not 8270",
        'pricing.toml:1: plan[0].currency: missing: expected a currency such as "usd"',
        # Taken for the nearest model, so that what else is wrong is told as well.
        "pricing.toml:3: plan[0].price[0].tiers: missing: expected an array of tables"
        " [[tiers]]",
        "pricing.toml:5: plan[0].price[0].model: unknown model `gradated`;"
        " did you mean `graduated`?",
        "pricing.toml:4: plan[0].price[0].meter: unknown meter `a`; known are:"
        " api_calls",
    ]


def test_a_price_list_with_a_mistake_does_not_make_every_plan_unknown(
    tmp_path: Path,
) -> None:
    told = problems(
        tmp_path,
        '[[customer]]\nid = "a"\nplan = "starter"',
        pricing=PLAN.replace("usd", "usdd"),
    )

    assert len(told) == 1
    assert "currency" in told[0]


def test_a_plan_that_charges_for_a_meter_that_nobody_measures_is_told(
    tmp_path: Path,
) -> None:
    price = '[[plan.price]]\nmeter = "api_call"\nmodel = "flat"\namount = 1\n'

    assert problems(tmp_path, METER, pricing=PLAN + price) == [
        "pricing.toml:5: plan[0].price[0].meter: unknown meter `api_call`; did you mean"
        " `api_calls`?"
    ]


def test_a_price_list_that_can_never_be_charged_by_is_told(tmp_path: Path) -> None:
    text = METER + 'group_by = ["route"]\n[[customer]]\nid = "acme"\n'
    prices = """[[plan.price]]
meter = "api_calls"
model = "matrix"
dimensions = ["route", "region"]
cells = [{ values = { region = "eu" }, model = "percentage", rate = 1, fixed = 2 }]
default = { unit_amount = 1 }
[[override]]
customer = "amce"
plan = "starter"
[[override.price]]
meter = "api_calls"
model = "per_group"
by = ["method"]
price = { model = "per_unit", unit_amount = 1 }
"""

    assert problems(tmp_path, text, pricing=PLAN + prices) == [
        "pricing.toml:4: plan[0].price[0]: `region` is not in the group_by of meter"
        " `api_calls`",
        "pricing.toml:4: plan[0].price[0]: `api_calls` is a total, and this price needs"
        " the amount of every event: leave out fixed, free_events, minimum and maximum",
        "pricing.toml:11: override[0].customer: unknown customer `amce`; did you mean"
        " `acme`?",
        "pricing.toml:13: override[0].price[0]: `method` is not in the group_by of meter"
        " `api_calls`",
    ]


def test_what_is_no_table_in_a_price_list_is_told_once(tmp_path: Path) -> None:
    told = problems(tmp_path, METER, pricing=PLAN + 'price = ["x"]\n')

    assert len(told) == 1
    assert "expected a table" in told[0]


def test_a_dimension_is_told_by_its_own_word(tmp_path: Path) -> None:
    assert problems(tmp_path, f'{METER}group_by = ["X"]') == [
        "meterline.toml:4: meter[0].group_by[0]: a property is called by at most 64 of"
        " a-z, 0-9 and _, not by a digit first; unknown dimension `X`; known are:"
        " PROPERTY, method, route, status"
    ]


def test_any_other_name_is_that_of_a_property(tmp_path: Path) -> None:
    text = (
        f'{METER}group_by = ["model", "route", "__proto__"]\n'
        'where = { route = "/v1/*", method = "get", model = "gpt-*", tier = ["a", "!b"] }'
    )

    (config,) = read(tmp_path, text).meters

    assert config.meter.told_apart == ("model", "__proto__")
    assert config.meter.where.route == ("/v1/*",)
    assert config.meter.where.method == ("GET",)
    assert config.meter.where.properties == {"model": ("gpt-*",), "tier": ("a", "!b")}


CUSTOMER = '[[customer]]\nid = "acme"\nplan = "starter"\n'
ALERT = '[[alert]]\nname = "a"\namount = 1\nplan = "starter"\n'
PRICE = '[[plan.price]]\nmeter = "api_calls"\nmodel = "flat"\namount = 1\n'
OVERRIDE = '[[override]]\ncustomer = "acme"\nplan = "starter"\n'


@pytest.mark.parametrize("text", ["", METER, CUSTOMER, ALERT])
@pytest.mark.parametrize("name", ["prices.toml", "pricing.toml"])
def test_a_named_price_list_that_is_not_there_is_told(
    tmp_path: Path, text: str, name: str
) -> None:
    told = problems(tmp_path, f'[sidecar]\npricing = "{name}"\n{text}')

    assert told == [f"meterline.toml:2: sidecar.pricing: no such file: {name}"]


def test_at_the_root_a_file_is_named_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    at_the_root = shown(tmp_path / "meterline.toml")
    monkeypatch.chdir(tmp_path)

    assert at_the_root == str(tmp_path / "meterline.toml")
    assert shown(tmp_path / "meterline.toml") == "meterline.toml"


def test_a_price_list_that_the_environment_names_and_that_is_not_there_is_told(
    tmp_path: Path,
) -> None:
    assert problems(tmp_path, CUSTOMER, METERLINE_PRICING="prices.toml") == [
        "METERLINE_PRICING: no such file: prices.toml"
    ]


@pytest.mark.parametrize(
    "text",
    [
        METER + CUSTOMER + "[sidecar\n",
        METER.replace("[[meter]]", "[meter]") + CUSTOMER,
        METER.replace("[[meter]]", "[[meterr]]") + CUSTOMER,
        METER.replace('"api_calls"', "5") + CUSTOMER,
        METER.replace('name = "api_calls"\n', "") + CUSTOMER,
        METER + CUSTOMER.replace("[[customer]]", "[[custmer]]"),
        METER + CUSTOMER.replace('id = "acme"\n', ""),
    ],
)
def test_a_mistake_makes_nothing_unknown_that_may_well_be_meant(
    tmp_path: Path, text: str
) -> None:
    told = problems(tmp_path, text, pricing=PLAN + PRICE + OVERRIDE)

    assert len(told) == 1
    assert told[0].startswith("meterline.toml:")


def test_a_price_list_that_is_no_toml_makes_no_plan_unknown(tmp_path: Path) -> None:
    told = problems(tmp_path, METER + CUSTOMER + ALERT, pricing="[[plan]\n")

    assert len(told) == 1
    assert told[0].startswith("pricing.toml:1: not TOML: ")


def test_a_price_list_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "prices").mkdir()

    told = problems(tmp_path, f'[sidecar]\npricing = "prices"\n{CUSTOMER}')

    assert told == ["prices: cannot be read: is a directory"]


def test_an_unknown_currency_names_the_nearest(tmp_path: Path) -> None:
    (near,) = problems(tmp_path, METER, pricing=PLAN.replace("usd", "eurr"))
    (far,) = problems(tmp_path, METER, pricing=PLAN.replace("usd", "moneybags"))

    assert near.endswith("unknown currency `eurr`; did you mean `eur`?")
    assert "unknown currency `moneybags`; expected a code of ISO 4217" in far
    assert len(far) < 150


def test_a_socket_whose_path_is_too_long_is_told(tmp_path: Path) -> None:
    name = "a" * 108

    told = problems(
        tmp_path, f'[sidecar]\nhttp = "unix:/{name}"', METERLINE_SOCKET=f"/{name}"
    )

    assert [line.partition(" not ")[0] for line in told] == [
        f"sidecar.{key}: the path of a Unix socket has at most 107 bytes,"
        for key in ("socket", "http")
    ]
    assert told[0].endswith(" a shorter one, and METERLINE_SOCKET for the apps")
    assert told[1].endswith("; set sidecar.http to a shorter one")


def test_a_missing_file_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="`meterline init` writes a first one"):
        read_config(tmp_path / "nothing.toml", environment={})


def test_a_file_that_is_not_text_is_told_with_the_place(tmp_path: Path) -> None:
    (tmp_path / "meterline.toml").write_bytes(b"[sidecar]\n\xff")

    with pytest.raises(ConfigError, match="not UTF-8 at byte 10"):
        read_config(tmp_path / "meterline.toml", environment={})


def test_a_byte_order_mark_before_a_file_is_passed_over(tmp_path: Path) -> None:
    mark = b"\xef\xbb\xbf"
    (tmp_path / "meterline.toml").write_bytes(
        mark + b'[sidecar]\npricing = "pricing.toml"\n'
    )
    (tmp_path / "pricing.toml").write_bytes(
        mark + b'[[plan]]\nname = "basic"\ncurrency = "usd"\n'
    )

    config = read_config(tmp_path / "meterline.toml", environment={})

    assert config.catalogue.names == ("basic",)


def test_the_environment_stands_above_the_file_and_the_file_above_the_default(
    tmp_path: Path,
) -> None:
    text = '[sidecar]\nsocket = "file.sock"\ndatabase = "file.db"\n'

    config = read(tmp_path, text, METERLINE_SOCKET="environment.sock")

    assert config.sidecar.socket == tmp_path / "environment.sock"
    assert config.sidecar.database == tmp_path / "file.db"
    assert config.sidecar.http == "127.0.0.1:8270"


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    text = '[sidecar]\nhttp = "unix:http.sock"\nspool_dir = "/spool"\n'

    config = read(tmp_path, text)

    assert config.sidecar.http == f"unix:{tmp_path}/http.sock"
    assert config.sidecar.spool_dir == Path("/spool")


@pytest.mark.parametrize("header", [section.header for section in sections()])
def test_the_reference_names_every_key_that_is_read(
    tmp_path: Path, header: str
) -> None:
    (section,) = (section for section in sections() if section.header == header)
    inside = {"[meter.where]": METER, "[[customer.plans]]": '[[customer]]\nid = "a"\n'}
    table = inside.get(header, "") + header

    told = problems(tmp_path, f"{table}\nq-q-q-q-q = 1")

    (unknown,) = (line for line in told if "unknown key" in line)
    known = unknown.partition("known are: ")[2].split(", ")
    assert sorted(known) == sorted(key.name for key in section.keys)


def test_the_schema_knows_the_tables_and_what_is_required() -> None:
    made = schema()
    meter = made["$defs"]["meter"]

    assert sorted(made["properties"]) == [
        *("alert", "alerts", "archive", "billing", "centre", "collect", "customer"),
        "customer_rule",
        *("grace", "meter", "portal", "properties", "retention", "seller"),
        *("sidecar", "stripe"),
    ]
    assert made["properties"]["meter"]["items"] == {"$ref": "#/$defs/meter"}
    assert meter["required"] == ["name", "aggregation"]
    assert meter["properties"]["where"]["$ref"] == "#/$defs/where"
    assert made["$defs"]["where"]["type"] == "object"
    assert made["$defs"]["where"]["additionalProperties"]["anyOf"]


def test_the_schema_has_the_bounds_of_what_is_read() -> None:
    keys = schema()["$defs"]["sidecar"]["properties"]

    assert keys["aggregate_every_s"]["minimum"] == 1
    assert keys["aggregate_every_s"]["maximum"] == 3600


@pytest.mark.parametrize(
    ("page", "command"),
    [
        ("configuration.md", ["meterline_sidecar", "config", "reference"]),
        (
            "price-list.md",
            ["meterline_sidecar", "config", "reference", "--pricing"],
        ),
        ("commands.md", ["meterline_sidecar.cli.manual"]),
    ],
)
def test_a_page_is_what_the_code_says(page: str, command: list[str]) -> None:
    path = Path(__file__).parents[3] / "docs" / page

    # In a process of its own: what other tests did to the commands shows in them.
    made = subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, check=True
    )

    assert path.read_text() == made.stdout, "run: make docs"


def test_a_method_in_lower_case_is_the_method(tmp_path: Path) -> None:
    file = tmp_path / "meterline.toml"
    file.write_text(f'{METER}where = {{ method = ["get", "Head", "unmatched"] }}\n')

    (meter,) = read_config(file, environment={}).meters

    assert meter.meter.where.method == ("GET", "HEAD", "unmatched")


@pytest.mark.parametrize(
    "where",
    [
        'route = ["/v1/*", "*/items", "*", "unmatched"]',
        'kind = ["use"], route = ["nightly"]',
        'kind = ["request", "use"], route = ["nightly"]',
        'kind = ["websocket"], method = ["GET"]',
        'status = "100-599"',
        'route = ["/v1/*", "!/v1/health"], status = "!5xx"',
        'route = ["!unmatched"], method = ["!OPTIONS", "!unmatched"]',
        'kind = ["use"], route = ["!nightly"], status = "!100-599"',
    ],
)
def test_a_filter_that_can_match_is_taken(tmp_path: Path, where: str) -> None:
    file = tmp_path / "meterline.toml"
    file.write_text(f"{METER}where = {{ {where} }}\n")

    assert read_config(file, environment={}).meters


@pytest.mark.parametrize(
    "id_",
    [
        "42",
        "3f2b8c1e-9d5a-4c1e-8a55-0b6f1f2f3a4b",
        "urn:org:7",
        "ops@acme.example",
        "auth0|5f7c8ec7c33c6c004bbafe82",
        "2026=",
    ],
)
def test_ids_that_others_gave_are_taken_as_they_are(tmp_path: Path, id_: str) -> None:
    config = read(tmp_path, f'[[customer]]\nid = "{id_}"\nsubjects = ["acct_*"]\n')

    assert [customer.id for customer in config.customers] == [id_]


def test_a_customer_and_a_meter_may_say_from_when_a_change_holds(
    tmp_path: Path,
) -> None:
    config = read(
        tmp_path,
        METER
        + "from = 2026-12-01\n"
        + '[[customer]]\nid = "acme"\nfrom = 2026-12-02\nends = 2026-12-31\n'
        + 'address = ["1 High Street", "London"]\n'
        + 'tax_id = "VAT GB1"\nemail = "pay@acme.example"\n'
        + '[[customer_rule]]\nmatch = "acct_*"\nplan = "starter"\n',
        pricing=PLAN,
    )

    (customer,) = config.customers
    assert config.meters[0].from_day == date(2026, 12, 1)
    assert (customer.from_day, customer.ends) == (date(2026, 12, 2), date(2026, 12, 31))
    assert customer.address == ("1 High Street", "London")
    assert (customer.tax_id, customer.email) == ("VAT GB1", "pay@acme.example")
    assert [(r.match, r.plan) for r in config.customer_rules] == [("acct_*", "starter")]


def test_who_sends_invoices_is_read(tmp_path: Path) -> None:
    seller = read(
        tmp_path,
        '[seller]\nname = "Example GmbH"\naddress = ["Hauptstr. 1", "Berlin"]\n'
        'payment = ["IBAN DE02"]\ninvoice_prefix = "2026-RE-"\ndue_days = 0\n',
    ).seller

    assert seller.name == "Example GmbH"
    assert seller.address == ("Hauptstr. 1", "Berlin")
    assert seller.payment == ("IBAN DE02",)
    assert (seller.invoice_prefix, seller.credit_note_prefix) == ("2026-RE-", "CN-")
    assert seller.due_days == 0


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('invoice_prefix = "RE1"', "the last one no digit"),
        ('invoice_prefix = ""', "the last one no digit"),
        ('invoice_prefix = "RE/"', "the last one no digit"),
        ('name = "a\\tb"', "in one line"),
        ('email = "billing"', "billing@example.com"),
        ("due_days = 366", "from 0 to 365"),
        ("due_days = -1", "from 0 to 365"),
    ],
)
def test_a_seller_that_cannot_stand_on_a_document_is_told(
    tmp_path: Path, line: str, said: str
) -> None:
    (problem,) = problems(tmp_path, f"[seller]\n{line}\n")

    assert problem.startswith(f"meterline.toml:2: seller.{line.split()[0]}: ")
    assert said in problem


def test_a_pattern_that_two_rules_have_is_told(tmp_path: Path) -> None:
    rule = '[[customer_rule]]\nmatch = "acct_*"\nplan = "starter"\n'

    assert problems(tmp_path, rule + rule, pricing=PLAN) == [
        "meterline.toml:5: customer_rule[1].match: a second rule is for `acct_*`"
    ]


def test_a_filter_says_what_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "meterline.toml"
    file.write_text(
        f'{METER}where = {{ method = ["!options"], status = "200-499, !404,! 410-419,!3xx" }}\n'
    )

    (meter,) = read_config(file, environment={}).meters

    assert meter.meter.where.method == ("!OPTIONS",)
    assert meter.meter.where.status == (
        StatusRange(200, 499),
        StatusRange(404, 404, is_left_out=True),
        StatusRange(410, 419, is_left_out=True),
        StatusRange(300, 399, is_left_out=True),
    )


def test_a_price_list_that_cannot_be_looked_at_is_told_with_the_reason(
    tmp_path: Path,
) -> None:
    (told,) = problems(tmp_path, f'[sidecar]\npricing = "{"a" * 5_000}"\n')

    assert "file name too long" in told


def test_lines_are_looked_up_only_where_something_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up: list[str] = []

    def counted(text: str) -> dict[KeyPath, int]:
        looked_up.append(text)
        return line_index(text)

    monkeypatch.setattr(source_module, "line_index", counted)
    customer = '[[customer]]\nid = "acme"\n'

    read(tmp_path, METER + customer)
    assert looked_up == []

    (told,) = problems(tmp_path, METER + customer + "plain = 1\n")
    assert told.startswith("meterline.toml:6: customer[0].plain")
    assert len(looked_up) == 1


def test_of_very_many_unknown_names_the_first_come_with_what_is_near(
    tmp_path: Path,
) -> None:
    customers = "".join(f'[[customer]]\nid = "cust{i}"\n' for i in range(40))
    overrides = "".join(
        f'[[override]]\ncustomer = "kust{i}"\nplan = "starter"\n' for i in range(40)
    )

    told = problems(tmp_path, customers, pricing=PLAN + overrides)

    unknown = [line.partition("customer: ")[2] for line in told if "kust" in line]
    assert len(unknown) == 40
    assert unknown[0] == "unknown customer `kust0`; did you mean `cust0`?"
    assert sum("did you mean" in line for line in unknown) == 20
    assert unknown[-1] == "unknown customer `kust39`"


@pytest.mark.parametrize(
    ("said", "before"),
    [
        ("13 months", "2025-10-30"),
        ("1 month", "2026-10-30"),
        ("9 months", "2026-02-28"),
        ("1 year", "2025-11-30"),
        ("31 days", "2026-10-30"),
        ("1201 days", "2023-08-17"),
        ("36524 days", "1926-12-01"),
        ("1200 months", "1926-11-30"),
    ],
)
def test_a_retention_is_counted_back_from_the_day(
    tmp_path: Path, said: str, before: str
) -> None:
    config = read(tmp_path, f'[retention]\nevents = "{said}"\n[archive]\nurl = "cold"')

    retention = config.retention.events
    assert retention is not None
    assert str(retention) == said
    at_noon = parse_time_ms("2026-11-30T12:00:00Z")
    assert retention.before(at_noon) == parse_time_ms(f"{before}T00:00:00Z")
    assert config.archive.url == str(tmp_path / "cold")


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ('"30 days"', "events stay for at least 31 days"),
        ('"101 years"', "is more than 100 years"),
        ('"1201 months"', "is more than 100 years"),
        ('"36525 days"', "is more than 100 years"),
        ('"soon"', 'expected a time such as "13 months"'),
        ('"13 months"', "events that leave the ledger need a place: set archive.url"),
    ],
)
def test_a_retention_that_cannot_be_is_told(
    tmp_path: Path, said: str, message: str
) -> None:
    (told,) = problems(tmp_path, f"[retention]\nevents = {said}")

    assert message in told


def test_a_bucket_is_no_path(tmp_path: Path) -> None:
    config = read(tmp_path, '[archive]\nurl = "s3://cold/ledger"')

    assert config.archive.url == "s3://cold/ledger"


def test_a_centre_reads_files_of_edges_where_it_says_or_at_its_own_place(
    tmp_path: Path,
) -> None:
    centre = (
        '[sidecar]\nrole = "centre"\n[centre]\nlisten = "127.0.0.1:8271"\n'
        'tls_certificate = "c.pem"\ntls_key = "k.pem"\n[archive]\n'
    )

    def places(keys: str) -> tuple[str, ...]:
        return read(tmp_path, centre + keys).archive.of_edges

    assert places("") == ()
    assert places('url = "cold"') == (str(tmp_path / "cold"),)
    assert places('url = "cold"\nedges = []') == ()
    assert places('edges = ["theirs", "s3://cold/edges"]') == (
        str(tmp_path / "theirs"),
        "s3://cold/edges",
    )
    with pytest.raises(ConfigError, match=r"archive.edges\[0\].* is no bucket"):
        places('edges = ["ftp://cold"]')


def test_where_files_of_edges_lie_only_a_centre_says(tmp_path: Path) -> None:
    (told,) = problems(tmp_path, '[archive]\nurl = "cold"\nedges = ["theirs"]')

    assert "archive.edges: is a centre's; this sidecar has role" in told


@pytest.mark.parametrize(
    "url",
    ["file:///srv/cold", "memory:///", "s4://cold", "s3://", "http://k:pw@cold/x"],
)
def test_a_url_of_no_bucket_is_told(tmp_path: Path, url: str) -> None:
    (told,) = problems(tmp_path, f'[archive]\nurl = "{url}"')

    assert "is no bucket: write a directory as its path" in told
    assert "pw" not in told
