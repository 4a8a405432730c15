"""The requests of the load: many users with tokens of their own, believable tasks, random lists."""

import asyncio
import random
import secrets
from dataclasses import replace
from typing import Any

import asyncpg
import orjson

from api.tokens import Tokens
from core import clock
from ops.bench.client import Request
from ops.bench.dataset import SEED
from ops.bench.rig import HOST, Rig
from ops.dev.demo import demo_tasks
from ops.faults import Fault

REQUESTS = 4096
"""How many different requests there are of one kind; after the last the load begins again."""
CACHED_REQUESTS = 500
"""How many there are of what is to be cached: so few that the warm-up asks for each."""
LARGEST_PAGE = 100
SENT_FIELDS = ("title", "description", "priority", "status", "due_date")

_OWNERS = "SELECT user_id FROM tasks WHERE user_id < $1 GROUP BY user_id HAVING count(*) >= $2"
_TASKS = "SELECT id, user_id FROM tasks ORDER BY random() LIMIT $1"


class Traffic:
    """Renders requests; the same rig and seed give the same but for the tokens."""

    def __init__(self, rig: Rig) -> None:
        self._dice = random.Random(SEED)
        self._dataset = rig.dataset
        tokens, now = Tokens(rig.settings), clock.now()
        self._tokens = {
            user: tokens.issue_access(
                user,
                "admin" if user == rig.dataset.admin else "user",
                token_id=secrets.token_hex(16),
                issued_at=now,
            )
            for user in range(1, rig.dataset.admin + 1)
        }
        self._owners, self._tasks = asyncio.run(_sample(rig))

    def creates(self) -> list[Request]:
        return [
            self._request("POST", "/tasks", self._dice.choice(self._owners), body, status=201, tasks=1)
            for body in self._bodies(REQUESTS)
        ]

    def updates(self) -> list[Request]:
        return [
            self._request("PATCH", f"/tasks/{task}", user, {"priority": self._dice.randint(1, 10)}, tasks=1)
            for task, user in self._tasks
        ]

    def pages(self, limit: int, *, count: int = REQUESTS) -> list[Request]:
        path = f"/tasks?sort_by_priority=true&limit={limit}"
        # In turn, so that few requests are of many users.
        return [self._request("GET", path, self._owners[n % len(self._owners)], tasks=limit) for n in range(count)]

    def compressed_pages(self, limit: int, *, count: int) -> list[Request]:
        """The same, for clients that take them compressed; what is in them is not looked at."""
        plain = "Accept: application/json\r\n"
        return [
            replace(page, text=page.text.replace(plain, f"{plain}Accept-Encoding: gzip\r\n", 1), tasks=None)
            for page in self.pages(limit, count=count)
        ]

    def single_tasks(self, *, count: int = REQUESTS) -> list[Request]:
        return [self._request("GET", f"/tasks/{task}", user, tasks=1) for task, user in self._tasks[:count]]

    def admin_pages(self) -> list[Request]:
        """Over all users by priority: the first page, and pages that begin after any task."""
        path = f"/tasks?sort_by_priority=true&limit={LARGEST_PAGE}"
        first = self._request("GET", path, self._dataset.admin, tasks=LARGEST_PAGE)
        deep = [
            # A page after one of the last tasks is not full, so its tasks are not counted.
            self._request("GET", f"{path}&last_id={task}", self._dataset.admin)
            for task, _ in self._tasks
        ]
        return [request for pair in zip([first] * len(deep), deep, strict=True) for request in pair]

    def mixed(self) -> list[Request]:
        """What a crowd does: of ten requests eight pages, one task, one create."""
        kinds = [self.pages(20), self.single_tasks(), self.creates()]
        chosen = self._dice.choices(range(3), (8, 1, 1), k=REQUESTS)
        return [kinds[kind][place % len(kinds[kind])] for place, kind in enumerate(chosen)]

    def empty(self) -> list[Request]:
        return [_render("GET", "/", "", None, 200, None)]

    def _bodies(self, count: int) -> list[dict[str, Any]]:
        tasks = demo_tasks(count, clock.now(), seed=SEED)
        return [{name: task[name] for name in SENT_FIELDS if task[name] is not None} for task in tasks]

    def _request(
        self,
        method: str,
        path: str,
        user: int,
        body: dict[str, Any] | None = None,
        *,
        status: int = 200,
        tasks: int | None = None,
    ) -> Request:
        authorization = f"Authorization: Bearer {self._tokens[user]}\r\n"
        return _render(method, path, authorization, body, status, tasks)


def _render(
    method: str, path: str, headers: str, body: dict[str, Any] | None, status: int, tasks: int | None
) -> Request:
    content = b"" if body is None else orjson.dumps(body)
    if body is not None:
        headers += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
    head = f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nAccept: application/json\r\n{headers}\r\n"
    return Request(head + content.decode("latin-1"), status, tasks)


async def _sample(rig: Rig) -> tuple[list[int], list[tuple[int, int]]]:
    """Users who can fill a page, and tasks with their owners."""
    connection = await asyncpg.connect(rig.database_url)
    try:
        owners = [row["user_id"] for row in await connection.fetch(_OWNERS, rig.dataset.admin, LARGEST_PAGE)]
        tasks = [(row["id"], row["user_id"]) for row in await connection.fetch(_TASKS, REQUESTS)]
    finally:
        await connection.close()
    if not owners:
        raise Fault(f"no user has {LARGEST_PAGE} tasks: use more --tasks, or fewer --users")
    return owners, tasks
