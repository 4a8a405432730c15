"""`tenfold export` against a running server, over good connections and bad ones."""

import asyncio
import codecs
import csv
import signal
from pathlib import Path

import orjson
import pytest

from ops.client import server as server_module
from ops.client.exports import export, format_of
from ops.client.server import Credentials, Server
from ops.faults import Fault
from tests.conftest import MakeService
from tests.factories import create_tasks
from tests.harness import PASSWORD, Service, WorkerInProcess
from tests.ops.connections import Link, connected, names_in, run
from tests.ops.running import TENFOLD, environment


async def test_tasks_are_exported_to_a_file_whose_name_tells_the_format(serving: Service, tmp_path: Path) -> None:
    tasks = await create_tasks(serving.alice, [{"priority": 1}, {"priority": 2, "status": "blocked"}])
    for name, read in (("t.json", orjson.loads), ("t.ndjson", lambda text: [*map(orjson.loads, text.splitlines())])):
        ran = await run(serving, tmp_path, "export", "-o", name)
        assert (ran.returncode, ran.stdout) == (0, ""), ran.stderr
        assert read((tmp_path / name).read_bytes()) == tasks
        assert "exported" in ran.stderr
    ran = await run(serving, tmp_path, "export", "-o", "t.csv", "--status", "blocked,completed", "--priority-min", "2")
    assert [row["id"] for row in csv.DictReader((tmp_path / "t.csv").open())] == [str(tasks[1]["id"])], ran.stderr
    assert names_in(tmp_path) == {"t.json", "t.ndjson", "t.csv"}, "nothing else is left"


async def test_an_export_to_standard_output_is_the_file_alone(serving: Service, tmp_path: Path) -> None:
    tasks = await create_tasks(serving.alice, [{"title": "Ü"}])
    ran = await run(serving, tmp_path, "export", "-o", "-", "--format", "json")
    assert orjson.loads(ran.stdout) == tasks, ran.stderr


async def test_a_csv_for_spreadsheets_has_a_byte_order_mark_where_that_is_asked_for(
    serving: Service, tmp_path: Path
) -> None:
    await create_tasks(serving.alice, [{"title": "Ü"}])
    for options, begin in (((), b"id,"), (("--bom",), codecs.BOM_UTF8 + b"id,")):
        ran = await run(serving, tmp_path, "export", "-o", "t.csv", *options)
        assert ran.returncode == 0, ran.stderr
        assert (tmp_path / "t.csv").read_bytes().startswith(begin)
    ran = await run(serving, tmp_path, "export", "-o", "t.json", "--bom")
    assert ran.returncode == 1
    assert "bom" in ran.stderr


async def test_a_password_will_do_instead_of_a_token(serving: Service, tmp_path: Path) -> None:
    who = ("--username", "alice", "--password-stdin")
    ran = await run(
        serving, tmp_path, "export", "-o", "-", "--format", "ndjson", *who, stdin=f"{PASSWORD}\n", TENFOLD_TOKEN=""
    )
    assert (ran.returncode, ran.stdout) == (0, ""), ran.stderr
    ran = await run(serving, tmp_path, "export", "-o", "t.csv", *who, stdin="wrong\n", TENFOLD_TOKEN="")
    assert (ran.returncode, ran.stderr) == (1, "tenfold: The username or the password is wrong.\n")


async def test_an_access_token_that_expires_on_the_way_is_renewed(
    serving: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = Credentials(username="alice", password=PASSWORD)
    async with Server(str(serving.base), credentials, say=print) as server:
        assert (await server.ask("GET", "/user/me"))["username"] == "alice"
        for _ in range(2):
            server._token = "expired"
            assert (await server.ask("GET", "/user/me"))["username"] == "alice"
        server._token, server._refresh_token = "expired", "revoked"
        assert (await server.ask("GET", "/user/me"))["username"] == "alice"


async def test_without_a_token_it_says_how_to_get_one(serving: Service, tmp_path: Path) -> None:
    ran = await run(serving, tmp_path, "export", "-o", "t.csv", TENFOLD_TOKEN="")
    assert ran.returncode == 1
    assert "--username" in ran.stderr
    assert f"curl -s {str(serving.base).rstrip('/')}/auth/login" in ran.stderr
    ran = await run(serving, tmp_path, "export", "-o", "t.csv", TENFOLD_TOKEN="nonsense")
    assert (ran.returncode, "--username" in ran.stderr) == (1, True)
    assert not (tmp_path / "t.csv").exists()


async def test_what_the_server_refuses_is_told_field_by_field(serving: Service, tmp_path: Path) -> None:
    ran = await run(serving, tmp_path, "export", "-o", "t.csv", "--priority", "11", "--sort", "title")
    assert ran.returncode == 1
    assert "priority: Must be greater than or equal to 1 and less than or equal to 10." in ran.stderr
    assert "sort: Must be one of" in ran.stderr


def test_a_format_that_nothing_tells_is_asked_for() -> None:
    assert format_of("-", "ics") == "ics"
    assert format_of("a/B.NDJSON", None) == "ndjson"
    for output, named in (("-", None), ("tasks", None), ("tasks.xml", None), ("t.csv", "xml")):
        with pytest.raises(Fault, match="csv, ndjson, json, ics"):
            format_of(output, named)


async def test_a_file_that_cannot_be_written_is_said_so(serving: Service, tmp_path: Path) -> None:
    ran = await run(serving, tmp_path, "export", "-o", "nowhere/t.csv")
    assert (ran.returncode, ran.stderr.splitlines()[-1]) == (
        1,
        "tenfold: nowhere/t.csv cannot be written: there is no folder nowhere",
    )


async def test_a_download_goes_on_where_the_connection_broke(serving: Service, tmp_path: Path) -> None:
    tasks = await create_tasks(serving.alice, [{"description": "x" * 5000} for _ in range(100)])
    output = tmp_path / "t.json"
    async with Link(serving) as link, connected(link.url, serving) as server:
        link.cut_after_received[:] = [100_000, 250_000]
        assert await export(server, str(output), "json", {}) == 0
        assert link.cut_after_received == []
    assert orjson.loads(output.read_bytes()) == tasks


async def test_an_order_whose_answer_was_lost_is_not_carried_out_twice(serving: Service, tmp_path: Path) -> None:
    async with Link(serving) as link, connected(link.url, serving) as server:
        link.cut_after_received[:] = [1]
        assert await export(server, str(tmp_path / "t.csv"), "csv", {}) == 0
        assert link.connections >= 2
    assert len((await serving.alice.get("/exports")).items) == 1


async def test_a_server_that_was_never_there_is_not_waited_for_long(
    serving: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "FIRST_PATIENCE_SECONDS", 0.5)
    async with connected("http://127.0.0.1:1", serving) as server:
        with pytest.raises(Fault, match="cannot be reached"):
            await server.ask("GET", "/user/me")


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x", "", "http://"])
def test_an_address_that_is_none_is_said_so(url: str) -> None:
    with pytest.raises(Fault, match="no address of a server"):
        Server(url, Credentials(), say=print)


async def test_something_that_is_no_tenfold_server_is_said_so(serving: Service) -> None:
    async with connected(f"{str(serving.base).rstrip('/')}/docs/nothing", serving) as server:
        with pytest.raises(Fault, match="nothing at this address"):
            await server.ask("GET", "/exports")


async def test_a_busy_server_is_asked_again_when_it_says_so(make_service: MakeService) -> None:
    service = await make_service(RATE_LIMIT_PER_MINUTE="1")
    async with connected(str(service.base), service) as server:
        assert await server.ask("GET", "/user/me")
        asking = asyncio.create_task(server.ask("GET", "/user/me"))
        done, _ = await asyncio.wait({asking}, timeout=1)
        assert not done, "it waits as long as Retry-After says"
        asking.cancel()
        await asyncio.wait({asking})


async def test_ctrl_c_says_that_the_export_goes_on_and_how_to_fetch_it(
    make_service: MakeService, tmp_path: Path
) -> None:
    service = await make_service()  # which carries no exports out
    process = await asyncio.create_subprocess_exec(
        *(*TENFOLD, "export", "-o", "t.csv"),
        cwd=tmp_path,
        env=environment(TENFOLD_URL=str(service.base), TENFOLD_TOKEN=service.alice.token),
        stderr=asyncio.subprocess.PIPE,
    )
    for _ in range(500):
        exports = (await service.alice.get("/exports")).items
        if exports:
            break
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, said = await process.communicate()
    assert process.returncode == 130
    assert f"tenfold export --id {exports[0]['id']} -o t.csv" in said.decode()
    assert "-X DELETE" in said.decode()
    assert names_in(tmp_path) == set()
    worker = WorkerInProcess(service.settings, ("bulk",))
    await worker.start()
    ran = await run(service, tmp_path, "export", "--id", exports[0]["id"], "-o", "t.csv")
    await worker.stop()
    assert (ran.returncode, names_in(tmp_path)) == (0, {"t.csv"}), ran.stderr
