"""Create, read, update and delete single tasks."""

from tests.harness import Service


async def test_a_task_that_was_created_can_be_read(service: Service) -> None:
    created = await service.alice.post("/tasks", {"title": "Water the plants"})
    assert created.status == 201
    read = await service.alice.get(f"/tasks/{created.json['id']}")
    assert read.status == 200
    assert read.json == created.json
