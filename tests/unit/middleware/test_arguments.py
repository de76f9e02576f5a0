"""What an app gives wrongly is answered in words, and makes nothing that fails later."""

import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, cast

import pytest

import meterline
import meterline.llm
from meterline.complaints import troubles
from meterline.meter import CLOSE_TIMEOUT_S
from meterline.options import WAIT_S_MAX
from meterline.portal import portal_customer
from meterline.retries import retry_header
from meterline.shipper import Shipper
from tests.patience import PATIENCE_S

KEY: Final = b"k" * 32
SECRET: Final = "a secret of the installation"


def test_a_portal_key_is_read_from_a_path_of_either_kind(tmp_path: Path) -> None:
    file = tmp_path / "portal-key"
    file.write_bytes(KEY + b"\n")

    assert meterline.read_portal_key(file) == KEY
    assert meterline.read_portal_key(str(file)) == KEY


@pytest.mark.parametrize("wrong", [None, 42, b"portal-key"])
def test_what_is_no_path_of_a_portal_key_is_told(wrong: Any) -> None:
    with pytest.raises(ValueError, match="path must be the path of the sidecar's"):
        meterline.read_portal_key(wrong)


@pytest.mark.parametrize("wrong", [KEY.decode(), Path("portal-key"), None, 42])
def test_a_key_that_is_no_bytes_is_told_without_showing_it(wrong: Any) -> None:
    with pytest.raises(ValueError, match="key must be the bytes that read_por") as told:
        meterline.portal_token("acme", key=wrong)

    assert f"is of type {type(wrong).__name__}" in str(told.value)
    assert KEY.decode() not in str(told.value)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"customer": 42}, "customer must be a customer's id"),
        ({"customer": None}, "customer must be a customer's id"),
        ({"customer": ""}, "customer must be a customer's id"),
        ({"customer": "a" * 101}, "customer must be a customer's id"),
        ({"ttl_s": 900.5}, "ttl_s must be a whole number of seconds, not 900.5"),
        ({"ttl_s": timedelta(hours=1)}, "ttl_s must be a whole number of seconds"),
        ({"ttl_s": True}, "ttl_s must be a whole number of seconds"),
        ({"ttl_s": None}, "ttl_s must be a whole number of seconds, not None"),
        ({"customer": "\ud800"}, "customer must be a customer's id"),
        ({"now_s": -1}, "now_s=-1 is not a time in UTC seconds"),
        ({"now_s": 2**40}, "now_s=1099511627776 is not a time in UTC seconds"),
        ({"now_s": 1.5e9}, "now_s must be a whole number of seconds"),
        ({"now_s": datetime(2026, 11, 28)}, "now_s must be a whole number of"),  # noqa: DTZ001
    ],
)
def test_a_token_that_would_open_nothing_is_not_made(
    wrong: dict[str, Any], words: str
) -> None:
    given: dict[str, Any] = {"customer": "acme", "key": KEY, "now_s": 10} | wrong

    with pytest.raises(ValueError, match=words):
        meterline.portal_token(given.pop("customer"), **given)


def test_an_id_of_a_class_of_the_apps_is_the_text_that_it_is() -> None:
    class Markup(str):
        __slots__ = ()

    token = meterline.portal_token(Markup("acme"), key=KEY, now_s=10)

    assert portal_customer(token, key=KEY, now_s=10) == "acme"


def test_the_longest_id_is_let_in() -> None:
    token = meterline.portal_token("a" * 100, key=KEY, now_s=10)

    assert portal_customer(token, key=KEY, now_s=10) == "a" * 100


@pytest.mark.parametrize("wrong", [None, 42, b"x-user", "", " ", "x-üser", ["x-user"]])
def test_what_can_be_no_header_makes_no_resolver(wrong: Any) -> None:
    with pytest.raises(ValueError, match="header must be the name of one"):
        meterline.from_trusted_header(wrong)
    with pytest.raises(ValueError, match="header must be the name of one"):
        meterline.from_api_key(wrong, key=SECRET)


@pytest.mark.parametrize("wrong", [None, 42, b"user", ""])
def test_what_can_be_no_attribute_makes_no_resolver(wrong: Any) -> None:
    with pytest.raises(ValueError, match="name must be that of an attribute"):
        meterline.from_state(wrong)


@pytest.mark.parametrize("wrong", [42, Path("key"), ["key"]])
def test_a_secret_that_is_neither_text_nor_bytes_is_told(wrong: Any) -> None:
    with pytest.raises(ValueError, match="key must be the secret of the digest"):
        meterline.from_api_key(key=wrong)


def test_a_secret_that_is_no_unicode_is_told() -> None:
    with pytest.raises(ValueError, match="key must be valid Unicode, or bytes"):
        meterline.from_api_key(key="k" * 16 + "\udcff")


@pytest.mark.parametrize("wrong", [None, 42, b"sk_live_1", "", "sk_live_€"])
def test_an_api_key_that_no_client_can_send_has_no_subject(wrong: Any) -> None:
    with pytest.raises(ValueError, match="api_key must be an API key as clients") as it:
        meterline.api_key_subject(wrong, key=SECRET)

    assert "sk_live" not in str(it.value)


@pytest.mark.parametrize("wrong", [42, b"Idempotency-Key", ["Idempotency-Key"]])
def test_what_can_be_no_header_of_retries_is_told(wrong: Any) -> None:
    with pytest.raises(ValueError, match="idempotency_header: no header can be called"):
        retry_header(wrong)


NO_TIME: Final = ("x", None, True, float("nan"), b"2", [2], object())


@pytest.fixture
def meter(tmp_path: Path) -> Iterator[meterline.Meter]:
    troubles.counts.clear()
    made = meterline.Meter(socket=tmp_path / "nobody", spool_dir=tmp_path / "spool")
    made.record("tokens", 1)
    yield made
    made.close(timeout_s=0)


@pytest.mark.parametrize("wrong", NO_TIME)
def test_a_meter_is_closed_whatever_its_timeout_is(
    monkeypatch: pytest.MonkeyPatch, meter: meterline.Meter, wrong: Any
) -> None:
    monkeypatch.setattr("meterline.shipper.END_S", PATIENCE_S)  # of a busy machine
    first = meter.shipper
    meter.close(timeout_s=wrong)
    meter.record("tokens", 1)

    assert meter.shipper is not first
    meter.close(timeout_s=0.5)
    assert (meter.stats.recorded, meter.stats.dropped) == (2, 0)
    assert meter.stats.troubles == {
        "timeout_s must be a number of seconds, and one of type"
        f" {type(wrong).__name__} is none: 2 s are taken": 1
    }


@pytest.mark.parametrize("wrong", NO_TIME)
def test_whoever_waits_for_no_time_waits_as_usual(
    monkeypatch: pytest.MonkeyPatch, meter: meterline.Meter, wrong: Any
) -> None:
    waited: list[float] = []

    def flush(_shipper: Shipper, *, timeout_s: float) -> bool:
        waited.append(timeout_s)
        return True

    monkeypatch.setattr(Shipper, "flush", flush)

    assert meter.flush(timeout_s=wrong)
    assert meter.flush(timeout_s=0.5)
    assert meter.flush(timeout_s=-3)
    assert meter.flush(timeout_s=float("inf"))
    assert waited == [CLOSE_TIMEOUT_S, 0.5, 0, WAIT_S_MAX]
    assert sum(meter.stats.troubles.values()) == 1


def test_the_longest_wait_is_one_that_a_lock_can_take() -> None:
    assert WAIT_S_MAX + time.monotonic() < threading.TIMEOUT_MAX


def test_what_can_take_nothing_is_told_and_nobody_pays_for_it() -> None:
    troubles.counts.clear()
    answer = {"model": "m", "usage": {"input_tokens": 3, "output_tokens": 5}}

    assert meterline.llm.metered(answer, to=cast("Any", "acct_42")) is answer

    (told,) = troubles.counts
    assert told.startswith("to must be a handle or a meter, and one of type str is")
