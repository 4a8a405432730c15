"""`tenfold lanes`: an operator sees what waits, and takes out what should not be carried out."""

from pathlib import Path

from core import lanes
from tests.conftest import MakeService
from tests.harness import Answer, Service, eventually
from tests.ops.running import tenfold
from tests.ops.test_cli import variables

ASYNC = {"Prefer": "respond-async"}


def run(service: Service, tmp_path: Path, *arguments: str) -> str:
    done = tenfold("lanes", *arguments, cwd=tmp_path, **variables(service.settings))
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_what_waits_in_each_lane_is_listed(make_service: MakeService, tmp_path: Path) -> None:
    service = await make_service(with_worker=False)
    job = (await service.alice.post("/tasks", {"title": "x"}, headers=ASYNC)).json["id"]
    rows = {line.split()[0]: line.split() for line in run(service, tmp_path).splitlines()}
    assert {"accounts", "0", "batches-0"} <= rows.keys()
    assert (rows["0"][1], rows["batches-0"][1]) == ("1", "0")
    [_, row] = run(service, tmp_path, "0").splitlines()
    assert job in row
    assert "task.create" in row
    assert str(service.alice.id) in row


async def test_a_dropped_job_is_not_carried_out_its_user_is_told_why_and_its_neighbours_live(
    make_service: MakeService, tmp_path: Path
) -> None:
    service = await make_service(with_worker=False)
    jobs = [
        (await service.alice.post("/tasks", {"title": title}, headers=ASYNC)).json["id"] for title in ("bad", "good")
    ]
    assert jobs[0] in run(service, tmp_path, "--drop", jobs[0], "--reason", "it stops everybody")
    job = await service.alice.get(f"/jobs/{jobs[0]}")
    assert (job.json["state"], job.json["status_code"]) == ("rejected", 409)
    assert "it stops everybody" in job.json["error"]["detail"]
    async with service.queue() as queue:
        [(_, letter)] = await queue.xrange(lanes.DEAD_LETTERS)
        assert b"it stops everybody" in letter[b"error"]
        assert jobs[0].encode() in letter[b"commands"]
    await service.worker.start()

    async def good_is_done() -> Answer | None:
        found = await service.alice.get(f"/jobs/{jobs[1]}")
        return found if found.json["state"] == "succeeded" else None

    await eventually(good_is_done)
    assert [task["title"] for task in (await service.alice.get("/tasks")).items] == ["good"]


async def test_a_whole_entry_is_dropped_also_one_that_cannot_be_read(make_service: MakeService, tmp_path: Path) -> None:
    service = await make_service(with_worker=False)
    async with service.queue() as queue:
        entry = (await queue.xadd(lanes.stream("0"), {"nonsense": "x"})).decode()
        run(service, tmp_path, "--drop", entry, "--reason", "nonsense")
        assert await queue.xlen(lanes.stream("0")) == 0
        assert await queue.xlen(lanes.DEAD_LETTERS) == 1


async def test_a_lane_that_does_not_exist_is_told_with_those_that_do(make_service: MakeService, tmp_path: Path) -> None:
    service = await make_service(with_worker=False)
    for lane in ("7", "nonsense"):
        done = tenfold("lanes", lane, cwd=tmp_path, **variables(service.settings, WRITE_LANES="1"))
        assert (done.returncode, done.stdout) == (1, "")
        assert f"there is no lane {lane}: accounts, 0, batches-0" in done.stderr
    async with service.queue() as queue:
        entry = (await queue.xadd(lanes.stream("7"), {"nonsense": "x"})).decode()
    assert entry in run(service, tmp_path, "7"), "a higher WRITE_LANES has left it behind"


async def test_what_cannot_be_dropped_is_told_in_a_line(make_service: MakeService, tmp_path: Path) -> None:
    service = await make_service(with_worker=False)
    for arguments, told in (
        (("--drop", "x", "--reason", "y"), "give the id of a job"),
        (("--drop", "1-1", "--reason", "y"), "is in no lane"),
        (("--drop", "1-1"), "say why, with --reason"),
    ):
        done = tenfold("lanes", *arguments, cwd=tmp_path, **variables(service.settings))
        assert done.returncode == 1
        assert told in done.stderr
