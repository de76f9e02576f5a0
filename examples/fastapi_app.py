"""A FastAPI API that is sold in two plans: keys, work after the answer, and noise.

    pip install fastapi '.[sidecar]'
    uvicorn examples.fastapi_app:app
    meterline run --config examples/fastapi_app.toml

    curl -H "X-API-Key: key-of-acme" -d '{"text": "one two three"}' \
        -H "Content-Type: application/json" localhost:8000/reports

Requests without a key that is known are refused and not metered, nor are health checks
and the pages of the documentation.
"""

from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException
from fastapi.security import APIKeyHeader
from pydantic import BaseModel

import meterline
from meterline import NOISE, MeterMiddleware

app = FastAPI()
app.add_middleware(MeterMiddleware, exclude=[*NOISE, 401, 403])


@dataclass(frozen=True)
class Account:
    """Who has a key, and what was sold to them."""

    name: str
    plan: str


ACCOUNTS: Final = {
    "key-of-acme": Account("acme", "pro"),
    "key-of-bolt": Account("bolt", "free"),
}
Key = Annotated[str | None, Depends(APIKeyHeader(name="X-API-Key", auto_error=False))]


async def known(key: Key) -> Account:
    """Return whose key it is, and let them pay for the request."""
    account = ACCOUNTS.get(key or "")
    if account is None:
        raise HTTPException(401, "unknown key")
    meterline.set_subject(account.name)
    meterline.set_property("sold_as", account.plan)  # to look at usage by plan
    return account


def on_pro(account: Annotated[Account, Depends(known)]) -> Account:
    """Return the account, if its plan has what was asked for."""
    if account.plan != "pro":
        raise HTTPException(403, "not in your plan")
    return account


class Text(BaseModel):
    """What a report is made of."""

    text: str


def write_report(words: list[str]) -> None:
    """Do the work, after the answer: the request's account pays for its words."""
    meterline.record("words", len(words))


@app.get("/healthz")
async def healthz() -> dict[str, bool]:
    return {"ok": True}


@app.get("/words/{word}")
async def look_up(
    word: str, account: Annotated[Account, Depends(known)]
) -> dict[str, int]:
    return {"length": len(word)}


@app.post("/reports", status_code=202)
async def report(
    given: Text, after: BackgroundTasks, account: Annotated[Account, Depends(on_pro)]
) -> dict[str, str]:
    after.add_task(write_report, given.text.split())
    return {"report": "is being written", "for": account.name}
