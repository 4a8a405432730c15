"""Rows of two users in the tables that the API reads."""

import uuid
from typing import Any

import asyncpg
import pytest

from tests.core.conftest import Cast


@pytest.fixture
async def rows(owner: asyncpg.Connection, cast: Cast) -> dict[int, dict[str, Any]]:
    """A task, a session and a job of alice's and of bob's: user id → their ids."""
    made: dict[int, dict[str, Any]] = {}
    for user_id in (cast.alice, cast.bob):
        task = await owner.fetchval("INSERT INTO tasks (user_id, title) VALUES ($1, 'a title') RETURNING id", user_id)
        session, job = uuid.uuid4(), uuid.uuid4()
        await owner.execute("INSERT INTO sessions (id, user_id, expires_at) VALUES ($1, $2, now())", session, user_id)
        await owner.execute(
            "INSERT INTO jobs (id, user_id, kind, state, status_code) VALUES ($1, $2, 'x', 'succeeded', 200)",
            job,
            user_id,
        )
        await owner.execute(
            "INSERT INTO imports (id, user_id, options, digest, bytes) VALUES ($1, $2, '{}', '', 0)", job, user_id
        )
        await owner.execute(
            "INSERT INTO import_errors (import_id, user_id, row, number, message) VALUES ($1, $2, 1, 1, 'wrong')",
            job,
            user_id,
        )
        await owner.execute(
            "INSERT INTO import_warnings (import_id, user_id, row, number, message) VALUES ($1, $2, 1, 1, 'odd')",
            job,
            user_id,
        )
        await owner.execute(
            "INSERT INTO imported_tasks (user_id, key, task_id, import_id) VALUES ($1, $2, $3, $2)", user_id, job, task
        )
        await owner.execute(
            "INSERT INTO exports (id, user_id, format, filters) VALUES ($1, $2, 'csv', '{}')", job, user_id
        )
        made[user_id] = {"task": task, "session": session, "job": job}
    return made
