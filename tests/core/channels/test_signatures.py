"""Signatures: verified by the package that receivers use."""

from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from core import clock
from core.channels.signatures import OVERLAP, Secret, signed_headers, signing_secrets

BODY = '{"type": "task.reminder", "data": {"title": "Überweisung"}}'.encode()


def test_a_receiver_verifies_what_was_signed() -> None:
    secret = Secret.of(b"k" * 32, clock.now())
    headers = signed_headers([secret], "msg_1", clock.now(), BODY)
    assert Webhook(secret.text).verify(BODY, headers)["type"] == "task.reminder"


def test_a_changed_body_is_not_verified() -> None:
    secret = Secret.of(b"k" * 32, clock.now())
    headers = signed_headers([secret], "msg_1", clock.now(), BODY)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret.text).verify(BODY + b" ", headers)


def test_another_id_is_not_verified() -> None:
    secret = Secret.of(b"k" * 32, clock.now())
    headers = {**signed_headers([secret], "msg_1", clock.now(), BODY), "webhook-id": "msg_2"}
    with pytest.raises(WebhookVerificationError):
        Webhook(secret.text).verify(BODY, headers)


def test_both_secrets_sign_for_a_day_and_then_the_newest_alone() -> None:
    made_at = datetime(2026, 1, 1, tzinfo=UTC)
    old, new = Secret.of(b"a" * 32, made_at - timedelta(days=9)), Secret.of(b"b" * 32, made_at)
    assert signing_secrets([new, old], made_at + OVERLAP - timedelta(seconds=1)) == [new, old]
    assert signing_secrets([new, old], made_at + OVERLAP) == [new]


def test_a_secret_is_kept_as_it_is() -> None:
    secret = Secret.of(bytes(range(32)), datetime(2026, 1, 1, tzinfo=UTC))
    assert Secret.load(secret.dump()) == secret
    assert secret.key == bytes(range(32))
