"""Clients that others' generators make from the document compile, and do what they are for, on the real service."""

import asyncio
import os
import shutil
import sys
from pathlib import Path

import orjson
import pytest

from tests.conftest import MakeService
from tests.harness import Service

FLOWS = Path(__file__).parent / "generated"
PACKAGES = "cannot be had here"
# The newest compilers are not known to the generator yet.
NODE_PACKAGES = ("openapi-typescript@7", "openapi-fetch@0.17", "typescript@5", "@types/node@20")
PYTHON_PACKAGES = ("openapi-python-client>=0.29",)
TS_OPTIONS = {
    "strict": True,
    "noUncheckedIndexedAccess": True,
    "target": "es2022",
    "module": "esnext",
    "moduleResolution": "bundler",
    "lib": ["es2022", "dom", "dom.iterable"],
    "types": ["node"],
    "outDir": "out",
}

pytestmark = pytest.mark.timeout(600)


async def run(*command: str | Path, cwd: Path, seconds: float = 240, **variables: str) -> tuple[int, str]:
    """The status and all that a command says."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        cwd=cwd,
        env={**os.environ, **variables},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), seconds)
    except TimeoutError:
        process.kill()
        await process.wait()
        return -1, f"it took longer than {seconds} s"
    return process.returncode or 0, said.decode(errors="replace")


async def must_run(*command: str | Path, cwd: Path, **variables: str) -> str:
    status, said = await run(*command, cwd=cwd, **variables)
    assert status == 0, said
    return said


@pytest.fixture
async def working(make_service: MakeService) -> Service:
    """A service with workers for writes and files."""
    return await make_service(queues=("writes", "bulk"))


async def document_of(service: Service, folder: Path) -> None:
    answer = await service.anonymous.get("/openapi.json")
    (folder / "openapi.json").write_bytes(answer.body)


async def test_a_typescript_client_compiles_strictly_and_passes_the_flow(working: Service, tmp_path: Path) -> None:
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("there is no node with npm to make a TypeScript client with")
    status, said = await run(npm, "install", "--no-audit", "--no-fund", "--no-save", *NODE_PACKAGES, cwd=tmp_path)
    if status:
        pytest.skip(f"npm packages {PACKAGES}: {said[-300:]}")
    await document_of(working, tmp_path)
    programs = tmp_path / "node_modules" / ".bin"
    await must_run(programs / "openapi-typescript", "openapi.json", "-o", "schema.d.ts", cwd=tmp_path)
    shutil.copy(FLOWS / "flow.ts", tmp_path)
    (tmp_path / "package.json").write_bytes(orjson.dumps({"type": "module"}))
    (tmp_path / "tsconfig.json").write_bytes(orjson.dumps({"compilerOptions": TS_OPTIONS, "files": ["flow.ts"]}))
    await must_run(programs / "tsc", cwd=tmp_path)
    said = await must_run("node", "out/flow.js", cwd=tmp_path, TENFOLD_URL=str(working.base))
    assert said.strip() == "the flow passed"


async def test_a_python_client_compiles_and_passes_the_flow(working: Service, tmp_path: Path) -> None:
    # An environment of its own: what the generator needs must not meet what we run with.
    await must_run(sys.executable, "-m", "venv", "venv", cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    status, said = await run(python, "-m", "pip", "install", "-q", *PYTHON_PACKAGES, cwd=tmp_path)
    if status:
        pytest.skip(f"openapi-python-client {PACKAGES}: {said[-300:]}")
    await document_of(working, tmp_path)
    (tmp_path / "config.yml").write_text("post_hooks: []\n")
    generator = tmp_path / "venv" / "bin" / "openapi-python-client"
    options = ("--path", "openapi.json", "--output-path", "made", "--config", "config.yml")
    said = await must_run(generator, "generate", *options, cwd=tmp_path)
    assert "Warning" not in said, "every operation and schema is understood"
    package = tmp_path / "made" / "tenfold_client"
    await must_run(python, "-m", "compileall", "-q", package, cwd=tmp_path)
    await must_run(
        *(
            sys.executable,
            "-m",
            "mypy",
            "--python-executable",
            python,
            "--no-incremental",
            "--config-file",
            "",
            package,
        ),
        cwd=tmp_path,
    )
    variables = {"TENFOLD_URL": str(working.base), "PYTHONPATH": str(tmp_path / "made")}
    assert (await must_run(python, FLOWS / "flow.py", cwd=tmp_path, **variables)).strip() == "the flow passed"
