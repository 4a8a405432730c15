"""What admins order of partitions and maintenance, asked for in ways that no admin should."""

from typing import Any

import orjson
import pytest
from yarl import URL

from core import clock, lanes
from core.ids import new_job_id
from tests.api.problems import assert_problem
from tests.api.test_admin import ended
from tests.api.test_time_hostile import everything_of
from tests.harness import Service, eventually


@pytest.mark.parametrize(
    "name",
    ["tasks_2021;DROP%20TABLE%20users", "tasks_2021'--", 'tasks_2021"', "%22%3BDROP%20TABLE%20tasks%3B--", "%00",
     "tasks_2021%00", "%FF", "%ED%A0%80", "..", "%2e%2e", "users", "tasks", "pg_class", "public.tasks_2021",
     "information_schema.tables", "TASKS_2021", "tasks_2021%20", "tasks_2021%0a", "%", "$1", "%25s", "{name}",
     "t" * 4000, "tasks_99999", "tasks_-1", "tasks_%D9%A2"],
)  # fmt: skip
async def test_a_name_that_no_partition_or_job_has_is_404(service: Service, name: str) -> None:
    before = await everything_of(service)
    for path in (f"/admin/partitions/{name}/detach", f"/admin/partitions/{name}/attach", f"/admin/maintenance/{name}"):
        for headers in ({}, {"Idempotency-Key": "k"}):
            answer = await service.admin.request("POST", URL(path, encoded=True), headers=headers)
            assert_problem(answer, 404, "not-found")
    assert await everything_of(service) == before
    assert await service.rows("SELECT id FROM jobs WHERE kind = 'maintenance'") == []


@pytest.mark.parametrize(
    "body",
    [
        *(
            {"year": year}
            for year in (99999, -1, 0, 2019, 2089, 1 << 63, -(1 << 63), 2028.0, True, "2028", None, [2028])
        ),
        *(
            {"from": day, "to": "2028-01-01"}
            for day in ("99999-01-01", "-001-01-01", "0000-01-01", "0001-01-01", "2027-02-30", "2027-13-01", "2027-1-1",
                        "20270101", "2027-W01-1", "2027-001", "2027-01-01\x00", " 2027-01-01", "2027-01-01\n",
                        "2027-01-01T00:00:00Z", "٢٠٢٧-01-01", "infinity", "today", "", 2027, None, ["2027-01-01"], True)
        ),
        {"from": "2028-02-01", "to": "2028-01-01"},
        {"from": "2028-01-01", "to": "2028-01-01"},
        {"from": "2028-01-01", "to": "9999-12-31"},
        {"from": "2019-12-31", "to": "2020-01-02"},
        {"from": "2088-12-31", "to": "2089-01-02"},
        {"year": 2028, "to": "2029-01-01"},
    ],
)  # fmt: skip
async def test_a_range_that_is_none_orders_nothing(service: Service, body: dict[str, Any]) -> None:
    assert_problem(await service.admin.post("/admin/partitions", body), 422, "validation-error")
    assert await service.rows("SELECT id FROM jobs") == []


async def ordered(service: Service, path: str, body: Any = None) -> dict[str, Any]:
    """The job that an admin has ordered, when it has ended."""
    return await ended(service, await service.admin.post(path, body))


async def test_ranges_that_overlap_are_rejected_whatever_they_overlap_with(maintained: Service) -> None:
    for start, end in (("2021-03-07", "2021-05-19"), ("2021-08-01", "2021-08-02")):  # aligned with nothing
        made = await ordered(maintained, "/admin/partitions", {"from": start, "to": end})
        assert made["state"] == "succeeded", made
    assert (await ordered(maintained, "/admin/partitions/tasks_20210801_20210802/detach"))["state"] == "succeeded"
    before = await everything_of(maintained)
    for start, end in (
        ("2021-03-07", "2021-05-19"),  # the same
        ("2021-03-08", "2021-03-09"),  # inside
        ("2021-01-01", "2022-01-01"),  # around
        ("2021-05-18", "2021-06-01"),  # its last day
        ("2021-07-31", "2021-08-02"),  # a detached one
        ("2020-01-01", "2089-01-01"),  # all there is
    ):
        job = await ordered(maintained, "/admin/partitions", {"from": start, "to": end})
        assert (job["state"], job["error"]["type"]) == ("rejected", "/problems/partition-conflict"), (start, end)
    assert await everything_of(maintained) == before
    beside = await ordered(maintained, "/admin/partitions", {"from": "2021-05-19", "to": "2021-08-01"})
    assert beside["state"] == "succeeded"


async def test_a_table_that_only_looks_like_a_partition_is_none(maintained: Service) -> None:
    await maintained.rows("CREATE TABLE tasks_1066 (id bigint)")
    await maintained.rows("CREATE TABLE tasks_1067 (id bigint)")
    await maintained.rows("COMMENT ON TABLE tasks_1067 IS 'FOR VALUES FROM (1) TO (2); DROP TABLE users'")
    try:
        names = [item["name"] for item in (await maintained.admin.get("/admin/partitions")).json["items"]]
        assert "tasks_1066" not in names
        for name in ("tasks_1066", "tasks_1067"):
            for what in ("attach", "detach"):
                answer = await maintained.admin.post(f"/admin/partitions/{name}/{what}")
                assert answer.status in (202, 404, 409), answer
        assert await maintained.rows("SELECT id FROM users") != []
    finally:
        await maintained.rows("DROP TABLE tasks_1066, tasks_1067")


async def test_a_forged_order_stops_neither_its_lane_nor_maintenance(maintained: Service) -> None:
    """Put into the lane itself, past all validation."""
    payloads: list[Any] = [
        {},
        {"name": None, "arguments": {}},
        {"name": 5},
        {"name": "a\x00b", "arguments": {}},
        {"name": "no_such_job", "arguments": {}},
        {"name": "keep_partitions", "arguments": "x"},
        {"name": "create_partition", "arguments": {}},
        {"name": "create_partition", "arguments": {"from": "x", "to": "y"}},
        {"name": "create_partition", "arguments": {"from": "0001-01-01", "to": "9999-12-31"}},
        {"name": "detach_partition", "arguments": {"name": "a\x00b"}},
        {"name": "detach_partition", "arguments": {"name": "tasks_2021; DROP TABLE users"}},
        {"name": "attach_partition", "arguments": {"name": ["users"]}},
    ]
    commands = [
        {"id": new_job_id(), "kind": "maintenance", "user_id": maintained.admin.id, "payload": payload,
         "created_at": clock.now().isoformat()}
        for payload in payloads
    ]  # fmt: skip
    before = await everything_of(maintained)
    commands.append({**commands[0], "id": new_job_id(), "payload": {"name": "sweep_lanes"}})
    async with maintained.queue() as queue:
        lane = lanes.lane_of_user(maintained.admin.id, maintained.settings.write_lanes)
        await queue.xadd(lanes.stream(lane), {"origin": "nobody", "commands": orjson.dumps(commands)})
        await lanes.call_drain(queue, lane)

    async def all_ended() -> Any:
        rows = await maintained.rows("SELECT state FROM jobs WHERE kind = 'maintenance'")
        states = [row["state"] for row in rows]
        return states if len(states) == len(commands) and not {"queued", "processing"} & set(states) else None

    states = await eventually(all_ended, timeout=60)  # each is a traceback in the log, which takes its time
    assert states.count("succeeded") == 1
    assert await everything_of(maintained) == before
