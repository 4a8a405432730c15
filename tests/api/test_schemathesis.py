"""The service keeps to its own document, whatever is asked of it."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.harness import Service

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]


def strict(document: dict[str, Any]) -> dict[str, Any]:
    """The document with closed answers, so that a field which is answered but not described is found."""
    for name, schema in document["components"]["schemas"].items():
        if "properties" in schema and name != "OpenApi":
            schema.setdefault("additionalProperties", False)
    return document


@pytest.mark.timeout(240)  # takes half a minute where nothing else runs
async def test_every_answer_is_as_the_document_says(service: Service, tmp_path: Path) -> None:
    document = tmp_path / "openapi.json"
    document.write_bytes(orjson.dumps(strict((await service.anonymous.get("/openapi.json")).json)))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"),
        *("--config-file", str(FOLDER / "schemathesis.toml")),
        *("run", str(document), "--url", str(service.base)),
        cwd=tmp_path,
        env={
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            "PYTHONPATH": str(ROOT),
            "SCHEMATHESIS_HOOKS": "tests.api.schemathesis_hooks",
            "TENFOLD_TOKEN": service.alice.token,
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
