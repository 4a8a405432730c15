"""The channels that a process remembers."""

import time
from dataclasses import replace
from datetime import UTC, datetime

from core.channels.targets import WEBHOOK
from core.deliveries.writes.claims import ClaimedDelivery
from worker.deliveries.channels import Channels

DELIVERY = ClaimedDelivery(
    id=1,
    channel_id=7,
    user_id=1,
    attempts=0,
    due_at=datetime.now(UTC),
    redelivered_at=None,
    kind=WEBHOOK,
    url_encrypted=b"before",
    secrets_encrypted=(),
    quiet_hours=None,
    time_zone="UTC",
    is_disabled=False,
    is_void=False,
    event="task.created",
    task_id=None,
    data="{}",
    created_at="2026-01-31T17:00:00+00:00",
    claimed_at=time.monotonic(),
    message_id="msg",
)


def test_a_channel_whose_new_address_could_not_be_opened_is_looked_for_again() -> None:
    channels = Channels()
    channels.add(DELIVERY, "https://hooks.example.com/before")
    moved = replace(DELIVERY, url_encrypted=b"after")
    assert channels.find(moved) is None
    assert channels.find(moved) is None  # nothing was added: its address could not be opened
    channel = channels.add(moved, "https://hooks.example.com/after")
    assert channels.find(moved) is channel
