"""Language models from the provider to the invoice, all of it as it is run."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.integration.test_servers import Server, running
from tests.llm_server import PRIVATE, Provider, provider
from tests.sidecar_process import SidecarProcess, unix_client, until

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
METERS, PRICES = (
    (ROOT / "examples" / f"{name}.toml").read_text() for name in ("llm", "llm_pricing")
)
MODEL = {"provider": "openai", "model": "gpt-5-mini-2025-08-07"}


@pytest.fixture
def model() -> Iterator[Provider]:
    with provider() as server:
        yield server


def sidecar_in(folder: Path) -> SidecarProcess:
    meters = METERS.partition("[[meter]]")
    return SidecarProcess(folder, meterline="".join(meters[1:]), pricing=PRICES)


def uvicorn(name: str) -> list[str]:
    return [sys.executable, "-m", "uvicorn", f"{name}:app", "--uds"]


def client(server: Server) -> httpx.Client:
    return unix_client(server.path, headers={"x-account": "acme_1"})


def environment(model: Provider) -> dict[str, str]:
    return {
        "OPENAI_API_KEY": "x",
        "OPENAI_BASE_URL": f"{model.url}/v1",
        "ANTHROPIC_API_KEY": "x",
        "ANTHROPIC_BASE_URL": model.url,
    }


def test_a_streaming_endpoint_is_billed_by_model_and_nothing_of_it_is_stored(
    tmp_path: Path, model: Provider
) -> None:
    with sidecar_in(tmp_path) as sidecar:
        where = {"METERLINE_SOCKET": str(sidecar.socket), **environment(model)}
        with running(uvicorn("examples.llm"), tmp_path, **where) as server:
            with client(server) as http:
                for name in ("chat", "chat", "chat_without_usage"):
                    answer = http.post(f"/chat?model={name}", content=f"{PRIVATE} ask")
                    assert answer.text == f"{PRIVATE}-ANSWER"
            sidecar.until_counted(3)
        invoice = sidecar.get("/v1/customers/acme/invoice")
        events = sidecar.meterline("events", "--json").stdout
        status = sidecar.get("/status")
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert [path for path in files if PRIVATE.encode() in path.read_bytes()] == []

    drawn = invoice["invoice"]
    assert (drawn["unpriced"], drawn["unpriced_groups"]) == ([], [])
    used = {usage["meter"]: usage for usage in invoice["usage"]}
    assert [
        (name, group["labels"], group["quantity"])
        for name in ("tokens_in", "tokens_cached", "tokens_out", "tokens_reasoning")
        for group in used[name]["groups"]
    ] == [
        ("tokens_in", MODEL, 352),
        ("tokens_cached", MODEL, 2048),
        ("tokens_out", MODEL, 316),
        ("tokens_reasoning", MODEL, 384),
    ]
    assert PRIVATE not in events
    assert status["events"]["bad_quantities"] == 1


def test_tokens_of_a_stream_whose_worker_is_killed_are_in_the_ledger(
    tmp_path: Path, model: Provider
) -> None:
    with (
        running(uvicorn("tests.served_llm"), tmp_path, **environment(model)) as server,
        client(server) as http,
        http.stream("POST", "/chat?model=slow:messages") as answer,
    ):
        words = answer.iter_lines()
        assert [next(words), next(words)] == ["word", "word"]
        spool = tmp_path / "spool"
        until(
            lambda: any(
                b"tokens_cache_write_1h" in path.read_bytes()
                for path in spool.rglob("*")
                if path.is_file()
            )
        )
        server.end(signal.SIGKILL)

    with sidecar_in(tmp_path) as sidecar:
        sidecar.until_counted(1)
        (event,) = sidecar.get("/v1/events")["events"]

    assert event["subject"] == "acme_1"
    assert event["quantities"] == {
        "tokens_in": 176,
        "tokens_cached": 1024,
        "tokens_cache_write": 200,
        "tokens_cache_write_1h": 100,
        "tokens_out": 4,
    }
