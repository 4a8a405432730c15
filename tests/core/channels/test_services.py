"""Addresses that services give out are known by their hosts, and what is sent is what each receiver reads."""

import importlib
import json
from typing import Any

import pytest
import requests
from yarl import URL

from core.channels.services import NATIVE_HOSTS, SERVICES, open_notifier
from core.channels.targets import WEBHOOK, read_target
from core.errors import TargetRefused

SLACK = "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"
DISCORD = "https://discord.com/api/webhooks/123456789012345678/abcdefghijklmnop-_QRSTUVWXYZ"
WORKFLOW = "/workflows/3c8f7a/triggers/manual/paths/invoke?api-version=2016-06-01&sp=%2Ftriggers&sv=1.0&sig=iNxW"
TEAMS = f"https://prod-12.westeurope.logic.azure.com:443{WORKFLOW}"
POWER_AUTOMATE = (
    f"https://default3c.8f.environment.api.powerplatform.com:443/powerautomate/automations/direct{WORKFLOW}"
)


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        (SLACK, "slack"),
        (SLACK.replace("hooks.slack.com", "HOOKS.slack.com."[:-1]), "slack"),
        ("https://hooks.slack.com/triggers/T1JJ3T3L2/123456/abcdef", "slack"),
        (DISCORD, "discord"),
        (DISCORD.replace("discord.com", "discordapp.com"), "discord"),
        (DISCORD.replace("discord.com", "ptb.discord.com"), "discord"),
        (DISCORD.replace("discord.com", "canary.discord.com"), "discord"),
        (DISCORD.replace("/api/", "/api/v10/"), "discord"),
        (TEAMS, "workflows"),
        (POWER_AUTOMATE, "workflows"),
        ("https://chat.googleapis.com/v1/spaces/AAAA/messages?key=abc&token=def", "gchat"),
        ("https://ntfy.sh/my-topic", "ntfys"),
        ("https://mattermost.example.com/hooks/3ccdd113474722377935511fc85d3dd4", "mmosts"),
        ("https://webexapis.com/v1/webhooks/incoming/" + "a" * 80, "webex"),
        ("https://example.com/services/T1/A1/X", WEBHOOK),
        ("https://slack.com.example.com/services/T1/A1/X", WEBHOOK),
        ("https://discord.com.example.com/api/webhooks/1/a", WEBHOOK),
    ],
)
def test_the_host_tells_the_service(url: str, kind: str) -> None:
    assert read_target(url).kind == kind
    assert read_target(url, WEBHOOK).kind == WEBHOOK, "whoever says so has a receiver of their own"


@pytest.mark.parametrize("url", ["https://discord.com/channels/1/2", "https://ntfy.sh/", "https://x.logic.azure.com/a"])
def test_of_a_service_an_address_that_is_none_of_its_receivers_is_refused_with_the_cure(url: str) -> None:
    with pytest.raises(TargetRefused, match='If it is a receiver of your own, say so: "kind": "webhook"'):
        read_target(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://outlook.office.com/webhook/a@b/IncomingWebhook/c/d",
        "https://example.webhook.office.com/webhookb2/a@b/IncomingWebhook/c/d",
    ],
)
def test_an_address_that_microsoft_has_retired_is_refused_with_the_cure(url: str) -> None:
    with pytest.raises(TargetRefused, match="make a workflow in Teams"):
        read_target(url)


@pytest.mark.parametrize("kind", sorted({*NATIVE_HOSTS.values(), "workflows", "mmosts"}))
def test_a_service_whose_hosts_are_known_reads_addresses_that_it_gives_out(kind: str) -> None:
    service = SERVICES[kind]
    notifier = getattr(importlib.import_module(f"apprise.plugins.{service.module}"), service.name)
    assert "parse_native_url" in vars(notifier)


@pytest.mark.parametrize(
    ("url", "kind", "sent_to", "path"),
    [
        (SLACK, "slack", SLACK, ("attachments", 0, "text")),
        (DISCORD, "discord", DISCORD, ("content",)),
        (DISCORD.replace("discord.com", "ptb.discord.com"), "discord", DISCORD, ("content",)),
        (TEAMS, "workflows", TEAMS.partition("?")[0], ("attachments", 0, "content", "body", -1, "text")),
        (POWER_AUTOMATE, "workflows", POWER_AUTOMATE.partition("?")[0],
         ("attachments", 0, "content", "body", -1, "text")),
    ],
)  # fmt: skip
def test_each_receiver_gets_what_it_reads(
    monkeypatch: pytest.MonkeyPatch, url: str, kind: str, sent_to: str, path: tuple[Any, ...]
) -> None:
    sent: list[tuple[str, Any]] = []

    def take(_: Any, method: str, url: str, *, data: Any, **__: Any) -> requests.Response:
        assert method.upper() == "POST"
        sent.append((url, json.loads(data)))
        response = requests.Response()
        response.status_code = 204 if kind == "discord" else 200
        response._content = b"ok"
        return response

    monkeypatch.setattr(requests.Session, "request", take)
    assert open_notifier(kind, url).notify(title="Reminder: Pack", body="Due: today", body_format="text")
    [(to, payload)] = sent
    assert URL(to) == URL(sent_to)
    found = payload
    for step in path:
        found = found[step]
    assert "Due: today" in found
    assert "Reminder: Pack" in json.dumps(payload)
