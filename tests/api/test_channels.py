"""Channels over HTTP: what may be made of them, who sees them, and what is never told."""

from typing import Any

import pytest

from tests.api.hooks import SLACK, make_channel
from tests.conftest import MakeService
from tests.harness import Service

PASTED = "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"

# -- making channels


async def test_a_webhook_is_told_with_its_secret_once_and_its_address_masked(service: Service) -> None:
    answer = await service.alice.post(
        "/channels", {"url": "https://user:pass@example.com:8443/hook/token?key=value", "events": ["task.created"]}
    )
    assert answer.status == 201
    made = answer.json
    assert made["secret"].startswith("whsec_")
    assert {name: made[name] for name in ("kind", "url", "events", "quiet_hours", "state", "failing_since")} == {
        "kind": "webhook",
        "url": "https://example.com:8443/***",
        "events": ["task.created"],
        "quiet_hours": None,
        "state": "active",
        "failing_since": None,
    }
    read = (await service.alice.get(f"/channels/{made['id']}")).json
    del made["secret"]
    assert read == made
    assert (await service.alice.get("/channels")).items == [made]


async def test_a_channel_is_told_of_reminders_unless_it_says_otherwise(service: Service) -> None:
    assert (await make_channel(service.alice))["events"] == ["task.reminder"]


async def test_nothing_that_is_stored_shows_an_address_or_a_secret(service: Service) -> None:
    made = await make_channel(service.alice, "https://example.com/hook/very-private-token")
    answer = await service.alice.patch(f"/channels/{made['id']}", {"url": "https://example.com/other-private-token"})
    assert answer.status == 200
    async with service.queue() as queue:
        keys = [key async for key in queue.scan_iter(match="*")]
        queued = b"".join(
            [await queue.dump(key) or b"" for key in keys if await queue.type(key) in (b"stream", b"hash", b"string")]
        )
    for table in ("jobs", "channels"):
        rows = await service.rows(f"SELECT row_to_json(t)::text AS row FROM {table} AS t")
        queued += b"".join(row["row"].encode() for row in rows)
    for secret in (b"very-private-token", b"other-private-token", made["secret"].removeprefix("whsec_").encode()):
        assert secret not in queued
        assert secret.hex().encode() not in queued


async def test_a_repeat_with_its_key_gets_the_same_channel_and_the_same_secret(service: Service) -> None:
    bodies = [
        await service.alice.post("/channels", {"url": "https://example.com/"}, headers={"Idempotency-Key": "one"})
        for _ in range(2)
    ]
    assert bodies[0].json == bodies[1].json
    assert bodies[1].headers["Idempotent-Replayed"] == "true"
    assert len((await service.alice.get("/channels")).items) == 1


async def test_two_webhooks_have_two_secrets(service: Service) -> None:
    made = [await make_channel(service.alice) for _ in range(2)]
    assert made[0]["secret"] != made[1]["secret"]


async def test_a_service_of_apprise_is_a_channel_without_a_secret(service: Service) -> None:
    made = await make_channel(service.alice, SLACK)
    assert (made["kind"], made["url"], "secret" in made) == ("slack", "slack://***", False)


async def test_the_address_that_a_service_gives_out_is_known_by_its_host(service: Service) -> None:
    for given in ({}, {"kind": "slack"}):
        made = await make_channel(service.alice, PASTED, **given)
        assert (made["kind"], made["url"], "secret" in made) == ("slack", "slack://***", False)
    raw = await make_channel(service.alice, PASTED, kind="webhook")
    assert (raw["kind"], raw["url"]) == ("webhook", "https://hooks.slack.com/***")
    hook = await make_channel(service.alice, "https://example.com/hook")
    answer = await service.alice.patch(f"/channels/{hook['id']}", {"url": PASTED})
    assert (answer.status, list(answer.json["errors"])) == (422, ["url"])
    assert "address of slack" in answer.json["errors"]["url"][0]
    assert (await service.alice.patch(f"/channels/{raw['id']}", {"url": PASTED})).status == 200


async def test_a_channel_has_a_name_which_its_deliveries_tell(service: Service) -> None:
    made = await make_channel(service.alice, "https://example.com/hook", name="  On call ")
    assert made["name"] == "On call"
    path = f"/channels/{made['id']}"
    assert (await service.alice.get(path)).json["name"] == "On call"
    assert (await service.alice.post(f"{path}/test")).json["channel_name"] == "On call"
    assert (await service.alice.patch(path, {"name": "Night"})).json["name"] == "Night"
    assert (await service.alice.patch(path, {"events": ["task.created"]})).json["name"] == "Night"
    assert [item["name"] for item in (await service.alice.get("/channels")).items] == ["Night"]
    [delivery] = (await service.alice.get("/deliveries")).items
    assert delivery["channel_name"] == "Night"
    assert (await service.alice.patch(path, {"name": None})).json["name"] is None
    for name in ("", " ", "x" * 101, 7, "a\0b"):
        answer = await service.alice.patch(path, {"name": name})
        assert (answer.status, list(answer.json["errors"])) == (422, ["name"]), name


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "dbus://",
        "exec://ls",
        "json://example.com/",
        "syslog://",
        "example.com",
        "https://",
        "https://exa mple.com/",
        "https://example.com:99999/",
        "slack://nonsense",
        "discord://123456789012345678/abcdefghijklmnop?template=/etc/passwd",
        "mailto://user:pass@example.com?pgp=yes",
    ],
)
async def test_an_address_that_is_not_allowed_or_not_understood_is_refused(service: Service, url: str) -> None:
    answer = await service.alice.post("/channels", {"url": url})
    assert answer.status == 422
    assert list(answer.json["errors"]) == ["url"]


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://localhost:8000/",
        "http://10.1.2.3/",
        "http://192.168.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://0177.0.0.1/",
        "http://[::1]/",
        "http://[::ffff:10.0.0.1]/",
        "http://[fd00::1]/",
        "http://[64:ff9b::7f00:1]/",
        "gotify://127.0.0.1/AbCdEfGhIjKlMnO",
        "mailto://user:pass@10.0.0.1/?to=a@example.com&from=b@example.com",
    ],
)
async def test_an_address_in_a_private_network_is_refused(service: Service, url: str) -> None:
    answer = await service.alice.post("/channels", {"url": url})
    assert answer.status == 422
    assert "private network" in answer.json["errors"]["url"][0]


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"events": []}, "events"),
        ({"events": ["task.sneezed"]}, "events.0"),
        ({"events": ["task.created", "task.created"]}, "events"),
        ({"quiet_hours": {"start": "22:00"}}, "quiet_hours.end"),
        ({"quiet_hours": {"start": "24:00", "end": "07:00"}}, "quiet_hours.start"),
        ({"quiet_hours": {"start": "07:00", "end": "07:00"}}, "quiet_hours.end"),
        ({"kind": "carrier-pigeon"}, "kind"),
        ({"kind": "slack"}, "url"),
        ({"secret": "whsec_mine"}, "secret"),
    ],
)
async def test_what_is_not_valid_is_refused_by_its_name(service: Service, fields: dict[str, Any], wrong: str) -> None:
    answer = await service.alice.post("/channels", {"url": "https://example.com/", **fields})
    assert (answer.status, list(answer.json["errors"])) == (422, [wrong])


async def test_a_user_may_have_fifty_channels_and_no_more(service: Service) -> None:
    await service.rows(
        "INSERT INTO channels (user_id, kind, url_encrypted, url_masked)"
        " SELECT $1, 'webhook', '', '' FROM generate_series(1, 50)",
        service.alice.id,
    )
    answer = await service.alice.post("/channels", {"url": "https://example.com/"})
    assert (answer.status, answer.json["type"]) == (409, "/problems/quota-exceeded")
    assert (answer.json["quota"], answer.json["limit"], answer.json["used"]) == ("channels", 50, 50)
    await make_channel(service.bob)


async def test_without_a_key_no_channel_can_be_made(make_service: MakeService) -> None:
    service = await make_service(SECRETS_KEY="")
    answer = await service.alice.post("/channels", {"url": "https://example.com/"})
    assert (answer.status, answer.json["type"]) == (503, "/problems/channels-unavailable")


# -- whose they are, and how they change


async def test_another_users_channel_is_not_there(service: Service) -> None:
    path = f"/channels/{(await make_channel(service.alice))['id']}"
    answers = [
        await service.bob.get(path),
        await service.bob.patch(path, {"state": "disabled"}),
        await service.bob.patch(path, {"url": "https://example.com/mine"}),
        await service.bob.delete(path),
        await service.bob.post(f"{path}/test"),
        await service.bob.post(f"{path}/secret"),
        await service.admin.get(path),
    ]
    assert [answer.status for answer in answers] == [404] * 7
    assert (await service.bob.get("/channels")).items == []
    assert (await service.alice.get(path)).json["state"] == "active"


async def test_a_patch_changes_what_it_names(service: Service) -> None:
    quiet = {"start": "22:00", "end": "07:00"}
    made = await make_channel(service.alice, quiet_hours=quiet)
    path = f"/channels/{made['id']}"
    changed = (await service.alice.patch(path, {"events": ["import.finished"]})).json
    assert (changed["events"], changed["quiet_hours"], changed["url"]) == (["import.finished"], quiet, made["url"])
    changed = (await service.alice.patch(path, {"quiet_hours": None, "url": "http://example.org/x"})).json
    assert (changed["events"], changed["quiet_hours"]) == (["import.finished"], None)
    assert changed["url"] == "http://example.org/***"


async def test_a_channel_does_not_change_its_kind(service: Service) -> None:
    made = await make_channel(service.alice)
    answer = await service.alice.patch(f"/channels/{made['id']}", {"url": SLACK})
    assert (answer.status, list(answer.json["errors"])) == (422, ["url"])


async def test_a_channel_that_is_switched_on_again_has_not_failed_yet(service: Service) -> None:
    made = await make_channel(service.alice)
    await service.rows("UPDATE channels SET state = 'disabled', failing_since = now(), held_until = now()")
    changed = (await service.alice.patch(f"/channels/{made['id']}", {"state": "active"})).json
    assert (changed["state"], changed["failing_since"]) == ("active", None)


async def test_a_deleted_channel_is_gone_with_its_deliveries(service: Service) -> None:
    made = await make_channel(service.alice)
    assert (await service.alice.post(f"/channels/{made['id']}/test")).status == 201
    assert (await service.alice.delete(f"/channels/{made['id']}")).status == 204
    assert (await service.alice.get(f"/channels/{made['id']}")).status == 404
    assert (await service.alice.get("/deliveries")).items == []


async def test_the_list_is_paged(service: Service) -> None:
    made = [(await make_channel(service.alice))["id"] for _ in range(3)]
    first = await service.alice.get("/channels?limit=2")
    second = await service.alice.get(f"/channels?limit=2&cursor={first.json['next_cursor']}")
    assert [channel["id"] for channel in first.items + second.items] == made
    assert second.json["next_cursor"] is None
    assert (await service.alice.get(f"/deliveries?cursor={first.json['next_cursor']}")).status == 400
