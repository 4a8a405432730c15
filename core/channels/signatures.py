"""Signatures of webhooks (Standard Webhooks, https://github.com/standard-webhooks/standard-webhooks)."""

import base64
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import orjson

SECRET_PREFIX = "whsec_"  # noqa: S105
OVERLAP = timedelta(hours=24)
"""How long the secret before the newest still signs."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A webhook's secret.

    Attributes:
        text: `whsec_` and base64, as its owner knows it.
        made_at: when it began to sign.
    """

    text: str
    made_at: datetime

    @classmethod
    def of(cls, key: bytes, made_at: datetime) -> "Secret":
        return cls(SECRET_PREFIX + base64.b64encode(key).decode(), made_at)

    @property
    def key(self) -> bytes:
        return base64.b64decode(self.text.removeprefix(SECRET_PREFIX))

    def dump(self) -> str:
        return orjson.dumps({"text": self.text, "made_at": self.made_at}).decode()

    @classmethod
    def load(cls, dumped: str) -> "Secret":
        content = orjson.loads(dumped)
        return cls(content["text"], datetime.fromisoformat(content["made_at"]))


def signing_secrets(secrets: Sequence[Secret], moment: datetime) -> list[Secret]:
    """The secrets that sign at a moment: the newest first, and for a day the one before it."""
    newest, *earlier = secrets
    return [newest, *earlier[:1]] if moment < newest.made_at + OVERLAP else [newest]


def signed_headers(secrets: Sequence[Secret], message_id: str, moment: datetime, body: bytes) -> dict[str, str]:
    """The headers that let a receiver verify a message; one signature for each secret.

    Args:
        secrets: that sign.
        message_id: the same for each attempt at a message.
        moment: of the attempt.
        body: as it is sent.
    """
    timestamp = str(int(moment.timestamp()))
    content = f"{message_id}.{timestamp}.".encode() + body
    signatures = [base64.b64encode(hmac.digest(secret.key, content, "sha256")).decode() for secret in secrets]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
