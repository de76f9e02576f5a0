"""Tells a webhook of alerts: signed, from the outbox, again until it is heard.

The receiver sees an alert's id in ``webhook-id`` and counts it once, however often a
lost answer made us send it again.

Source: Standard Webhooks 1.0.0, github.com/standard-webhooks/standard-webhooks.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from meterline_sidecar.access.secret import Secret
from meterline_sidecar.clock import HOUR_MS, MINUTE_MS, Clock
from meterline_sidecar.errors import ConfigError
from meterline_sidecar.later import later
from meterline_sidecar.store import alerts as store
from meterline_sidecar.store.alerts import AlertRow
from meterline_sidecar.store.port import Database

if TYPE_CHECKING:
    import httpx

PREFIX: Final = "whsec_"
TIMEOUT_S: Final = 10.0
ALERTS_PER_RUN: Final = 50
EVERY_S: Final = 5
GONE: Final = 410  # the receiver wants no more of these
PAUSES_MS: Final = (
    *(5_000, 5 * MINUTE_MS, 30 * MINUTE_MS, 2 * HOUR_MS),
    *(5 * HOUR_MS, 10 * HOUR_MS, 14 * HOUR_MS, 20 * HOUR_MS, 24 * HOUR_MS),
)
"""After each attempt that failed; three days in all, then it is given up."""


_library = later("httpx")
"""6 MiB, which a sidecar that tells nobody of alerts does without."""


def signature(secret: str, *, message_id: str, timestamp_s: int, body: str) -> str:
    """Return the ``webhook-signature`` of a message.

    Raises:
        ValueError: the secret is not base64.
    """
    key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    signed = f"{message_id}.{timestamp_s}.{body}".encode()
    return "v1," + base64.b64encode(hmac.digest(key, signed, sha256)).decode()


class AlertDelivery:
    """Sends what is due to one URL.

    Args:
        secret: returns the signing secret; read again each time, so that a rotated
            one needs no restart.
    """

    def __init__(
        self,
        database: Database,
        url: str,
        *,
        secret: Callable[[], Secret | None],
        clock: Clock,
    ) -> None:
        self._database = database
        self._url = url
        self._secret = secret
        self._clock = clock

    async def run(self) -> None:
        """Tell of every alert that is due, one after the other.

        Raises:
            ConfigError: there is no secret to sign with, whether or not one is due:
                the first alert is no time to learn it.
        """
        secret = self._secret()
        if secret is None:
            raise ConfigError(
                "alerts.webhook_url is set, but there is no secret to sign with: name"
                " a file in alerts.secret_file, or set METERLINE_ALERTS_SECRET"
            )
        async with self._database.reading() as tx:
            rows = await store.due(
                tx, now_ms=self._clock.now_ms(), limit=ALERTS_PER_RUN
            )
        if not rows:
            return
        async with _library().AsyncClient(timeout=TIMEOUT_S, trust_env=False) as http:
            for row in rows:
                await self._settle(row, await self._send(http, secret, row))

    async def _send(
        self, http: httpx.AsyncClient, secret: Secret, row: AlertRow
    ) -> str | int:
        """Return the answer's status, or why there was none."""
        timestamp_s = self._clock.now_ms() // 1000
        message_id = f"alert_{row.id}_{row.raised_ms}"
        headers = {
            "content-type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp_s),
            "webhook-signature": signature(
                secret.reveal(),
                message_id=message_id,
                timestamp_s=timestamp_s,
                body=row.body,
            ),
        }
        try:
            answer = await http.post(self._url, content=row.body, headers=headers)
        except _library().HTTPError as error:
            return f"{type(error).__name__}: {error}"[:200]
        return answer.status_code

    async def _settle(self, row: AlertRow, outcome: str | int) -> None:
        now_ms = self._clock.now_ms()
        state: store.State = "pending"
        next_ms, error = 0, None
        if isinstance(outcome, int) and 200 <= outcome < 300:
            state = "delivered"
        else:
            error = outcome if isinstance(outcome, str) else f"answered {outcome}"
            if outcome == GONE or row.attempts >= len(PAUSES_MS):
                state = "failed"
            else:
                next_ms = now_ms + PAUSES_MS[row.attempts]
        async with self._database.transaction() as tx:
            await store.settle(
                tx,
                row.id,
                state=state,
                next_ms=next_ms,
                delivered_ms=now_ms if state == "delivered" else None,
                error=error,
            )
