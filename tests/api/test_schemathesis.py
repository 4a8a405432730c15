"""The service keeps to its own document, whatever is asked of it."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.conftest import MakeService
from tests.harness import Service, User

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]


def strict(document: dict[str, Any]) -> dict[str, Any]:
    """The document with closed answers, so that a field which is answered but not described is found."""
    for name, schema in document["components"]["schemas"].items():
        if "properties" in schema and name != "OpenApi":
            schema.setdefault("additionalProperties", False)
    return document


async def check(service: Service, user: User, folder: Path, *options: str) -> None:
    """Schemathesis, as that user, finds nothing."""
    document = folder / "openapi.json"
    document.write_bytes(orjson.dumps(strict((await service.anonymous.get("/openapi.json")).json)))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"),
        *("--config-file", str(FOLDER / "schemathesis.toml")),
        *("run", str(document), "--url", str(service.base), *options),
        cwd=folder,
        env={
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            "PYTHONPATH": str(ROOT),
            "SCHEMATHESIS_HOOKS": "tests.api.schemathesis_hooks",
            "TENFOLD_TOKEN": user.token,
            "NO_COLOR": "1",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), 220)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, output.decode()


@pytest.mark.timeout(240)  # takes three quarters of a minute where nothing else runs
async def test_every_answer_is_as_the_document_says(make_service: MakeService, tmp_path: Path) -> None:
    service = await make_service()  # of its own, because of the files that it leaves behind
    await check(service, service.alice, tmp_path)


@pytest.mark.timeout(240)
async def test_every_answer_to_an_admin_is_as_the_document_says(make_service: MakeService, tmp_path: Path) -> None:
    service = await make_service(queues=("writes", "maintenance"))
    # No links lead from one of these operations to another.
    await check(service, service.admin, tmp_path, "--include-tag", "admin", "--phases", "examples,coverage,fuzzing")
    ended = await service.rows("SELECT DISTINCT state FROM jobs WHERE kind = 'maintenance' AND state <> 'processing'")
    assert {"succeeded", "rejected"} <= {row["state"] for row in ended}, "it got as far as to order something"
