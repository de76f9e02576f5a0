"""Imports over HTTP: put aside, looked at, counted; each step with who took it."""

import gzip
import json
from typing import Any

import pytest

from meterline_sidecar.ingest.import_chunks import ImportRefused
from tests.sidecar_process import METERLINE
from tests.web.conftest import OpenWeb, Web, form
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
        assert (bad.status_code, "1 bad line in" in bad.text) == (409, True)
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
            ("import march", "local"),
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


async def upload(web: Web, file: str, content: bytes, /, **fields: str) -> Any:
    """Send a file by the form, and return where that leads, or why not."""
    answer = await web.http.post(
        "/imports", data=form(**fields), files={"file": (file, content)}
    )
    return answer.headers.get("location") or (answer.status_code, answer.text)


async def test_a_file_of_a_form_is_put_aside_looked_at_and_counted(
    open_web: OpenWeb,
) -> None:
    async with open_web(meterline=METERLINE + TOKENS) as web:
        events = [plain(n, time=LONG_AGO) for n in range(2_500)]
        content = gzip.compress(text(*events))

        where = await upload(web, "old.jsonl.gz", content, name="old", reason="<b>")

        assert where == "/imports/old?diff=yes"
        html = (await web.http.get(where)).text
        assert "2,500 events would count" in html
        assert all(part in html for part in ("2024-03", "12,500", "&lt;b&gt;"))
        assert (await web.get("/status"))["events"]["ingested"] == 0
        assert await upload(web, "old.jsonl.gz", content, name="old") == where
        other = await upload(web, "x.jsonl", text(events[0]), name="old")
        assert other[0] == 409
        done = await web.http.post("/imports/old", data=form(decision="commit"))
        assert (done.status_code, done.headers["location"]) == (303, "/imports/old")
        await web.parts.imports.run()
        found = await web.get("/v1/imports/old")
        assert (found["state"], found["accepted"]) == ("committed", 2_500)
        assert (found["file"], found["author"]) == ("old.jsonl.gz", "local")
        html = (await web.http.get("/imports")).text
        assert "committed" in html
        assert "<form" not in (await web.http.get("/imports/old?diff=yes")).text
        late = await web.http.post("/imports/old", data=form(decision="discard"))
        assert late.status_code == 409


async def test_a_file_with_bad_lines_waits_until_they_are_left_out(
    open_web: OpenWeb,
) -> None:
    async with open_web() as web:
        rows = b"id,time\n1,2024-03-01T08:00:00Z\n2,yesterday\n"

        where = await upload(web, "march.csv", rows)

        assert where.startswith("/imports/march.csv-")
        html = (await web.http.get(where)).text
        assert "Leave the bad lines out" in html
        assert "or milliseconds since 1970" in html
        left = await web.http.post(where, data=form(decision="leave_out"))
        assert left.headers["location"] == f"{where}?diff=yes"
        gone = await web.http.post(where, data=form(decision="discard"))
        assert gone.headers["location"] == where
        assert "discarded" in (await web.http.get(where)).text


@pytest.mark.parametrize(
    ("name", "content", "status", "said"),
    [
        ("x.csv", b"", 400, "is empty"),
        ("x.csv", b"name\n", 400, "unknown column"),
        ("x.txt", b"{}", 400, "does not show its format"),
        ("x.jsonl.gz", b"no gzip at all", 400, "cannot be unpacked"),
        ("x.jsonl.gz", gzip.compress(b"\n" * 9_000)[:-9], 400, "cannot be unpacked"),
        ("x.parquet", b"PAR1", 400, "meterline import"),
        ("x.jsonl.gz", gzip.compress(b" " * (33 << 20)), 400, "more than 16,777,216"),
        ("x.jsonl", b"x" * ((8 << 20) + 1), 413, "at most 8388608 bytes"),
    ],
    ids=range(8),
)
async def test_what_is_no_file_of_events_leaves_nothing_behind(
    open_web: OpenWeb, name: str, content: bytes, status: int, said: str
) -> None:
    async with open_web() as web:
        found = await upload(web, name, content)

        assert found[0] == status
        assert said in found[1]
        left = [one["state"] for one in (await web.get("/v1/imports"))["page"]]
        assert left in ([], ["discarded"])


KEY_PART = b'--a\r\nContent-Disposition: form-data; name="once"\r\n\r\n1\r\n'


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/x-www-form-urlencoded", b"once=1&file=x"),
        ("multipart/form-data; boundary=a", b""),
        ("multipart/form-data; boundary=a", b"--a\r\n\r\nx\r\n--a--"),
        ("multipart/form-data; boundary=a", b"--a\r\n" * 99 + b"--a--"),
        (
            "multipart/form-data; boundary=a",
            KEY_PART
            + b'--a\r\nContent-Disposition: form-data; name="file"; filename=""\r\n\r\n'
            b"\r\n--a--\r\n",
        ),
        (
            "multipart/form-data; boundary=a",
            KEY_PART
            + b'--a\r\nContent-Disposition: form-data; name="nome"\r\n\r\nx\r\n--a\r\n'
            b'Content-Disposition: form-data; name="file"; filename="x.csv"\r\n\r\n'
            b"id\r\n--a--\r\n",
        ),
    ],
    ids=range(6),
)
async def test_what_is_no_form_is_told(web: Web, kind: str, body: bytes) -> None:
    answer = await web.http.post(
        "/imports", content=body, headers={"Content-Type": kind}
    )

    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(("this is no form", "choose", "there is"))


async def test_an_import_that_cannot_go_on_says_so(open_web: OpenWeb) -> None:
    async with open_web() as web:
        await begin(web, "march")
        await put(web, "march", text(plain(1, time=LONG_AGO)))
        await post(web, "/march/stage")
        async with web.parts.database.transaction() as tx:
            await tx.execute("UPDATE import_chunks SET mac = ?", (b"\0",))
        await post(web, "/march/commit")

        with pytest.raises(ImportRefused, match="has been changed since"):
            await web.parts.imports.run()

        assert "has been changed" in (await web.get("/v1/imports/march"))["trouble"]
        (told,) = [
            one
            for one in (await web.get("/status"))["problems"]
            if one["code"] == "import_stuck"
        ]
        assert "lines 1 to 1 of import 1 has been changed" in told["text"]
