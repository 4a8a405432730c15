"""What the tiers write of a request: one id leads from the client's answer through both of them."""

from typing import Any

import orjson
import pytest

from tests.factories import task_fields
from tests.harness import Service, eventually


async def test_both_tiers_log_a_write_with_its_request_its_job_and_its_user(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    told: dict[str, dict[str, Any]] = {}

    async def both_tiers_wrote() -> bool:
        for line in capsys.readouterr().out.splitlines():
            record = orjson.loads(line) if line.startswith("{") else {}
            if record.get("request_id") == "trace-1":
                told[record["tier"]] = record
        return told.keys() == {"api", "worker"}

    headers = {"X-Request-Id": "trace-1", "Prefer": "respond-async"}
    answer = await service.alice.post("/tasks", task_fields(title="nobody's business"), headers=headers)
    await eventually(both_tiers_wrote)
    job_id = answer.json["id"]
    api, worker = told["api"], told["worker"]
    assert (api["event"], api["status"], api["job"], api["user"]) == ("request", 202, job_id, service.alice.id)
    assert (worker["event"], worker["status"], worker["job"]) == ("write", 201, job_id)
    assert (worker["kind"], worker["user"], worker["replayed"]) == ("task.create", service.alice.id, False)
    assert "business" not in str(told)


async def test_a_read_is_logged_without_a_job(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    async def was_logged() -> bool:
        lines = [line for line in capsys.readouterr().out.splitlines() if "trace-2" in line]
        return bool(lines) and orjson.loads(lines[0])["job"] is None

    await service.alice.get("/tasks", headers={"X-Request-Id": "trace-2"})
    await eventually(was_logged)
