"""No invoice goes to another account than the ledger's, whatever key is put in place."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from meterline_sidecar.clock import SystemClock
from meterline_sidecar.errors import ConfigError
from tests.web.test_collected import Till, till_at

OTHER = "sk_test_of_another"


@pytest.fixture
async def till(tmp_path: Path) -> AsyncGenerator[Till]:
    async with till_at(tmp_path) as till:
        yield till


async def roll(till: Till, folder: Path, new: str, old: str) -> None:
    """Put another key into the file, and let Stripe refuse the old one."""
    (folder / "stripe.key").write_text(new)
    till.server.keys -= {old}
    till.server.keys |= {new}
    with pytest.raises(Exception, match="Invalid API Key"):
        await till.parts.stripe.api.call("get", "/v1/invoices")


async def problems(till: Till, code: str) -> list[str]:
    status: Any = await till.desk.web.get("/status")
    return [p["text"] for p in status["problems"] if p["code"] == code]


async def test_an_invoice_does_not_go_to_another_account_of_the_same_mode(
    till: Till, tmp_path: Path
) -> None:
    await till.close()
    await till.tell()
    await till.close("2026-11")
    till.server.owners[OTHER] = "acct_2Other"
    await roll(till, tmp_path, OTHER, "sk_test_meterline")

    with pytest.raises(ConfigError, match="acct_2Other"):
        await till.tell()
    answer = await till.desk.web.http.post(
        "/v1/reconcile", params={"period": "2026-10"}
    )

    assert till.only()["status"] == "open"  # the one of October
    (first, *_) = await till.calls(2)
    assert (first.state, first.doubt_ms) == ("pending", None)
    assert "acct_2Other" in str(first.reason)
    assert (answer.status_code, "acct_2Other" in answer.text) == (409, True)
    till.server.keys |= {"sk_test_meterline"}
    (tmp_path / "stripe.key").write_text("sk_test_meterline")
    till.wall.time_ms += 61_000
    await till.tell()
    assert len(till.at_stripe.invoices) == 2


async def test_a_key_that_is_missing_for_a_moment_leaves_no_call_half_made(
    till: Till, tmp_path: Path
) -> None:
    """As when its file is replaced while a call is being made."""
    await till.close()
    await till.parts.at_stripe.run()
    await till.stop_before("/invoiceitems")
    till.wall.time_ms = (
        SystemClock().now_ms()
    )  # its key is not forgotten: no looking first
    invoicer = till.invoicer()
    key = (tmp_path / "stripe.key").read_text()
    till.server.keys.discard(key)
    with pytest.raises(Exception, match="Invalid API Key"):
        await invoicer.run()
    (tmp_path / "stripe.key").unlink()
    till.wall.time_ms += 61_000
    with pytest.raises(ConfigError):
        await invoicer.run()

    (tmp_path / "stripe.key").write_text(key)
    till.server.keys.add(key)
    till.wall.time_ms += 61_000
    await invoicer.run()

    assert till.amounts() == [("fee", 100), ("calls", 103)]
    assert till.only()["status"] == "open"


async def test_a_key_that_hides_whose_it_is_is_told_of(
    till: Till, tmp_path: Path
) -> None:
    till.server.owners[OTHER] = "(hidden)"
    till.server.restricted.add(OTHER)
    await roll(till, tmp_path, OTHER, "sk_test_meterline")
    await till.close()

    await till.tell()

    assert till.only()["status"] == "open"
    (text,) = await problems(till, "stripe_may_not_read")
    assert "a key of another account of the same mode would not be noticed" in text
