"""Deliveries over HTTP: what is sent to channels, signed, told of, and delivered again."""

import orjson
from standardwebhooks import Webhook

from tests.api.hooks import SLACK, delivery_of, make_channel
from tests.conftest import MakeService
from tests.factories import create_task
from tests.harness import Service, WorkerInProcess, eventually
from tests.receivers import Receiver


async def test_a_test_arrives_signed_as_the_standard_says(open_service: Service, hook: Receiver) -> None:
    made = await make_channel(open_service.alice, f"{hook.url}/in")
    answer = await open_service.alice.post(f"/channels/{made['id']}/test")
    assert (answer.status, answer.json["event"], answer.json["state"]) == (201, "channel.test", "pending")
    delivered = await delivery_of(open_service.alice, answer.json["id"])
    assert (delivered["attempts"], delivered["next_attempt_at"], delivered["last_error"]) == (1, None, None)
    [received] = hook.received
    assert received.path == "/in"
    assert received.headers["content-type"] == "application/json"
    body = Webhook(made["secret"]).verify(received.body, received.headers)
    assert (body["type"], body["data"]["channel"]["id"]) == ("channel.test", made["id"])


async def test_an_event_of_a_task_goes_to_the_channels_that_want_it(open_service: Service, hook: Receiver) -> None:
    wanting = await make_channel(open_service.alice, f"{hook.url}/wanting", events=["task.created", "task.completed"])
    await make_channel(open_service.alice, f"{hook.url}/other", events=["task.deleted"])
    await make_channel(open_service.bob, f"{hook.url}/bobs", events=["task.created"])
    task = await create_task(open_service.alice)
    await open_service.alice.patch(f"/tasks/{task['id']}", {"title": "another"})
    await open_service.alice.patch(f"/tasks/{task['id']}", {"status": "completed"})

    async def both() -> bool:
        return len(hook.received) >= 2

    await eventually(both)
    bodies = [orjson.loads(received.body) for received in hook.received]
    assert [received.path for received in hook.received] == ["/wanting", "/wanting"]
    assert [body["type"] for body in bodies] == ["task.created", "task.completed"]
    assert bodies[0]["data"]["task"]["id"] == task["id"]
    found = (await open_service.alice.get(f"/deliveries?channel_id={wanting['id']}")).items
    assert [delivery["event"] for delivery in found] == ["task.completed", "task.created"]
    assert (await open_service.bob.get("/deliveries")).items == []


async def test_during_a_rotation_both_secrets_verify(open_service: Service, hook: Receiver) -> None:
    made = await make_channel(open_service.alice, hook.url)
    rotated = await open_service.alice.post(f"/channels/{made['id']}/secret")
    assert rotated.status == 200
    assert rotated.json["secret"] != made["secret"]
    tried = await open_service.alice.post(f"/channels/{made['id']}/test")
    await delivery_of(open_service.alice, tried.json["id"])
    for secret in (made["secret"], rotated.json["secret"]):
        Webhook(secret).verify(hook.received[0].body, hook.received[0].headers)


async def test_only_webhooks_have_a_secret_to_change(service: Service) -> None:
    made = await make_channel(service.alice, SLACK)
    assert (await service.alice.post(f"/channels/{made['id']}/secret")).status == 409


async def test_what_failed_is_told_and_can_be_delivered_again(open_service: Service, hook: Receiver) -> None:
    hook.answers(500)
    made = await make_channel(open_service.alice, hook.url)
    tried = await open_service.alice.post(f"/channels/{made['id']}/test")
    failed = await delivery_of(open_service.alice, tried.json["id"], "failed")
    assert (failed["attempts"], failed["last_error"]) == (1, "The receiver answered 500.")
    assert failed["next_attempt_at"] is not None
    [listed] = (await open_service.alice.get("/deliveries?state=failed,dead")).items
    assert listed == failed
    assert (await open_service.alice.get("/deliveries?state=delivered")).items == []
    assert (await open_service.bob.post(f"/deliveries/{failed['id']}/redeliver")).status == 404
    hook.answers(204)
    again = await open_service.alice.post(f"/deliveries/{failed['id']}/redeliver")
    assert (again.status, again.json["state"], again.json["attempts"]) == (200, "pending", 0)
    await delivery_of(open_service.alice, failed["id"])
    assert hook.received[0].id == hook.received[1].id


async def test_a_disabled_channel_sends_nothing(service: Service) -> None:
    made = await make_channel(service.alice)
    tried = await service.alice.post(f"/channels/{made['id']}/test")
    await service.alice.patch(f"/channels/{made['id']}", {"state": "disabled"})
    for path in (f"/channels/{made['id']}/test", f"/deliveries/{tried.json['id']}/redeliver"):
        answer = await service.alice.post(path)
        assert (answer.status, answer.json["type"]) == (409, "/problems/channel-disabled")


async def test_a_delivery_outlives_the_worker_that_was_to_make_it(make_service: MakeService, hook: Receiver) -> None:
    service = await make_service(queues=("writes",), ALLOW_PRIVATE_TARGETS="true")
    made = await make_channel(service.alice, hook.url)
    tried = await service.alice.post(f"/channels/{made['id']}/test")
    async with service.queue() as queue:
        await queue.flushdb()
    worker = WorkerInProcess(service.settings, ("time",))
    await worker.start()
    try:
        await delivery_of(service.alice, tried.json["id"])
    finally:
        await worker.stop()
    assert len(hook.received) == 1
