"""`tenfold import` against a running server, over good connections and bad ones."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from ops.client.imports import import_file, mapping_of
from ops.faults import Fault
from tests.harness import Service
from tests.ops.connections import Link, connected, run


def test_a_mapping_is_json_or_a_file_that_holds_it(tmp_path: Path) -> None:
    file = tmp_path / "mapping.json"
    file.write_text('\ufeff{"columns": {"Übersicht": "title"}}')
    assert mapping_of(str(file)) == mapping_of(' {"columns":{"Übersicht":"title"}}')
    for given in (str(tmp_path / "nothing"), "{", "[]"):
        with pytest.raises(Fault, match="mapping"):
            mapping_of(given)


NDJSON = "".join(json.dumps({"title": f"task {number} ü", "priority": number % 10 + 1}) + "\n" for number in range(200))


async def titles(service: Service) -> list[str]:
    rows = await service.rows("SELECT title FROM tasks WHERE user_id = $1 ORDER BY id", service.alice.id)
    return [row["title"] for row in rows]


async def test_a_file_is_imported_and_told_of(serving: Service, tmp_path: Path) -> None:
    (tmp_path / "tasks.ndjson").write_text(NDJSON)
    ran = await run(serving, tmp_path, "import", "tasks.ndjson")
    assert ran.returncode == 0, ran.stderr
    lines = (line.split() for line in ran.stderr.splitlines())
    shown = {name: value for name, *_, value in filter(None, lines) if name in ("created", "failed")}
    assert shown == {"created": "200", "failed": "0"}
    assert await titles(serving) == [f"task {number} ü" for number in range(200)]
    [listed] = (await serving.alice.get("/imports")).items
    assert listed["filename"] == "tasks.ndjson"


async def test_standard_input_is_imported(serving: Service, tmp_path: Path) -> None:
    ran = await run(serving, tmp_path, "import", "-", "--format", "tenfold-ndjson", stdin=NDJSON)
    assert ran.returncode == 0, ran.stderr
    assert len(await titles(serving)) == 200


async def test_rows_that_failed_are_written_and_make_the_exit_status_1(serving: Service, tmp_path: Path) -> None:
    (tmp_path / "tasks.csv").write_text("title,priority\ngood,1\nbad,eleven\n")
    ran = await run(serving, tmp_path, "import", "tasks.csv", "--format", "tenfold-csv", "--errors", "errors.csv")
    assert ran.returncode == 1, ran.stderr
    [row] = csv.DictReader((tmp_path / "errors.csv").open())
    assert (row["title"], row["priority"]) == ("bad", "eleven")
    assert row["error"]
    assert await titles(serving) == ["good"]


async def test_a_dry_run_changes_nothing(serving: Service, tmp_path: Path) -> None:
    (tmp_path / "tasks.ndjson").write_text(NDJSON)
    ran = await run(serving, tmp_path, "import", "tasks.ndjson", "--dry-run")
    assert (ran.returncode, await titles(serving)) == (0, []), ran.stderr
    assert "nothing was changed" in ran.stderr


async def test_an_import_that_is_refused_or_fails_makes_the_exit_status_1(serving: Service, tmp_path: Path) -> None:
    (tmp_path / "tasks.bin").write_bytes(bytes(range(256)) * 10)
    ran = await run(serving, tmp_path, "import", "tasks.bin", "--format", "nonsense")
    assert (ran.returncode, "format" in ran.stderr) == (1, True)
    ran = await run(serving, tmp_path, "import", "tasks.bin")
    assert ran.returncode == 1
    ran = await run(serving, tmp_path, "import", "nothing.csv")
    assert (ran.returncode, ran.stderr) == (1, "tenfold: nothing.csv cannot be read: No such file or directory\n")


async def test_unwatched_it_prints_the_id_to_watch_later(serving: Service, tmp_path: Path) -> None:
    (tmp_path / "tasks.ndjson").write_text(NDJSON)
    ran = await run(serving, tmp_path, "import", "tasks.ndjson", "--no-watch")
    assert ran.returncode == 0, ran.stderr
    later = await run(serving, tmp_path, "import", "--id", ran.stdout.strip())
    assert later.returncode == 0, later.stderr
    assert len(await titles(serving)) == 200


@pytest.mark.parametrize("cuts", [{"sent": [200_000, 300_000]}, {"received": [1, 1]}], ids=["upload", "answer"])
async def test_an_upload_over_a_bad_connection_is_imported_once(
    serving: Service, tmp_path: Path, cuts: dict[str, Any]
) -> None:
    file = tmp_path / "tasks.ndjson"
    file.write_text(
        "".join(json.dumps({"title": f"task {number}", "description": "x" * 5000}) + "\n" for number in range(200))
    )
    async with Link(serving) as link, connected(link.url, serving) as server:
        link.cut_after_sent[:] = cuts.get("sent", [])
        link.cut_after_received[:] = cuts.get("received", [])
        assert await import_file(server, str(file), {}, watch=True, errors=None) == 0
        assert link.cut_after_sent == link.cut_after_received == []
    assert len(await titles(serving)) == 200
    assert len((await serving.alice.get("/imports")).items) == 1


async def test_the_file_and_the_password_cannot_both_be_standard_input(serving: Service, tmp_path: Path) -> None:
    for arguments in (("-", "--password-stdin", "--username", "alice"), (), ("x", "--id", "y")):
        ran = await run(serving, tmp_path, "import", *arguments)
        assert (ran.returncode, ran.stderr.startswith("tenfold: ")) == (1, True)
