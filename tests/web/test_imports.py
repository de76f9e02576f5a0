"""Imports over HTTP: put aside, looked at, counted; each step with who took it."""

import json
from typing import Any

import pytest

from meterline_sidecar.ingest.import_chunks import ImportRefused
from tests.sidecar_process import METERLINE
from tests.web.conftest import OpenWeb, Web
from tests.web.external import plain

TOKENS = """
[[meter]]
name = "tokens"
aggregation = "sum"
value = "quantities.tokens"
"""
LONG_AGO = "2024-03-01T08:00:00Z"


def text(*events: Any) -> bytes:
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


async def put(web: Web, name: str, content: bytes, first_line: int = 1) -> Any:
    response = await web.http.put(
        f"/v1/imports/{name}/lines",
        params={"first_line": first_line, "source": "old"},
        content=content,
    )
    return response.json() if response.status_code == 200 else response


async def post(web: Web, path: str, **params: Any) -> Any:
    response = await web.http.post(f"/v1/imports{path}", params=params)
    assert response.status_code == 200, response.text
    return response.json()


async def problems(web: Web) -> list[str]:
    """Return what is told of imports, without the times."""
    found = (await web.get("/status"))["problems"]
    return [one["text"].rpartition(" ")[0] for one in found if "import" in one["code"]]


async def begin(web: Web, name: str) -> Any:
    body = {"name": name, "file": "march.jsonl", "reason": "moved here"}
    return (await web.http.post("/v1/imports", json=body)).json()


async def test_a_file_of_long_ago_is_put_aside_then_counted(open_web: OpenWeb) -> None:
    async with open_web(meterline=METERLINE + TOKENS) as web:
        assert (await begin(web, "march"))["state"] == "loading"
        content = text(plain(1, time=LONG_AGO), plain(2, time=LONG_AGO), {"id": "x"})

        first = await put(web, "march", content)
        again = await put(web, "march", content)
        refused = await put(web, "march", text(plain(9)))

        assert first == {"lines": 3, "events": 2, "bad": 1, "is_known": False}
        assert again == {**first, "is_known": True}
        assert refused.status_code == 409
        bad = await web.http.post("/v1/imports/march/stage")
        assert (bad.status_code, "1 line of" in bad.text) == (409, True)
        assert await problems(web) == ["import march is loading since"]
        staged = await post(web, "/march/stage", skip_bad="true")
        assert await problems(web) == ["import march is staged since"]
        assert (staged["state"], staged["accepted"]) == ("staged", 0)
        assert (await post(web, "/march/commit"))["state"] == "committing"
        await web.parts.imports.run()
        await web.parts.aggregator.run()

        assert await problems(web) == []
        done = await web.get("/v1/imports/march")
        assert (done["state"], done["accepted"], done["bad"]) == ("committed", 2, 1)
        (left_out,) = done["left_out"]
        assert (left_out["line"], left_out["field"]) == (3, "time")
        (shown,) = (await web.get("/v1/imports"))["page"]
        assert shown == {**done, "left_out": []}
        usage = await web.get("/v1/usage", customer="acme", period="2024-03")
        assert {m["meter"]: m["quantity"] for m in usage["usage"][0]["meters"]}[
            "tokens"
        ] == 10
        acts = (await web.get("/v1/audit"))["acts"][:4]
        assert [(act["about"], act["author"]) for act in acts] == [
            ("import march", "schedule"),
            ("import march", "local"),
            ("import march", "local"),
            ("import march", "local"),
        ]
        assert acts[3]["reason"] == "moved here"


async def test_what_is_discarded_is_not_counted(open_web: OpenWeb) -> None:
    async with open_web() as web:
        await begin(web, "march")
        await put(web, "march", text(plain(1, time=LONG_AGO)))
        await post(web, "/march/stage")

        found = await post(web, "/march/discard")

        assert found["state"] == "discarded"
        await web.parts.imports.run()
        assert (await web.get("/status"))["events"]["ingested"] == 0
        late = await web.http.post("/v1/imports/march/commit")
        assert late.status_code == 409


async def test_what_is_no_import_is_refused(open_web: OpenWeb) -> None:
    async with open_web() as web:
        for path in ("/april", "/april/diff"):
            assert (await web.http.get(f"/v1/imports{path}")).status_code == 404
        assert (await put(web, "april", b"{}\n")).status_code == 404
        wrong = await web.http.post("/v1/imports", json={"name": "a b", "file": "x"})
        assert wrong.status_code == 400
        await begin(web, "march")
        many = await put(web, "march", b"\n" * 2_001)
        assert (many.status_code, "at most 2,000 lines" in many.text) == (400, True)
        long = await put(web, "march", b"x" * ((1 << 20) + 1))
        assert long.status_code == 413


async def test_a_token_that_may_only_read_changes_nothing(open_web: OpenWeb) -> None:
    async with open_web() as web:
        reader = web.tokens.create("reader", "read", now_ms=0).text
        writer = web.tokens.create("ann", "write", now_ms=0).text
        web.http.headers["Authorization"] = f"Bearer {reader}"
        assert (await web.http.get("/v1/imports")).status_code == 200
        assert (await web.http.post("/v1/imports", json={})).status_code == 403
        assert (await put(web, "march", b"{}\n")).status_code == 403
        web.http.headers["Authorization"] = f"Bearer {writer}"
        assert (await begin(web, "march"))["author"] == "ann"


async def test_an_import_that_cannot_go_on_says_so(open_web: OpenWeb) -> None:
    async with open_web() as web:
        await begin(web, "march")
        await put(web, "march", text(plain(1, time=LONG_AGO)))
        await post(web, "/march/stage")
        async with web.parts.database.transaction() as tx:
            await tx.execute("UPDATE import_chunks SET mac = x'00'")
        await post(web, "/march/commit")

        with pytest.raises(ImportRefused, match="was changed since"):
            await web.parts.imports.run()

        assert "was changed" in (await web.get("/v1/imports/march"))["trouble"]
        (told,) = [
            one
            for one in (await web.get("/status"))["problems"]
            if one["code"] == "import_stuck"
        ]
        assert "lines 1 to 1 of import 1 was changed" in told["text"]
