"""Writers who know what their tasks must look like, because they wait for each answer."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import aiohttp

from tests.faults.client import Answer, Client
from tests.faults.harness import User
from tests.faults.ledger import Expected, Ledger, State, Task, Write

RETRY_SECONDS = 0.1
STATUSES = ("pending", "in_progress", "blocked", "completed", "cancelled")


class Actor(Client):
    """One client that knows what its tasks must look like, because it waits for each answer."""

    def __init__(self, name: str, url: str, user: User, ledger: Ledger, session: aiohttp.ClientSession) -> None:
        super().__init__(url, user, ledger, session)
        self.name = name
        self._random = random.Random(name)
        self._tasks: list[Task] = []
        self._accepted: list[Write] = []
        self._number = 0
        self._settled = 0
        self._last_was_batch = False

    # -- writing ------------------------------------------------------------------------------------------

    async def write(self) -> None:
        """Sends one write and compares what comes of it."""
        write = self._next()
        if write.is_batch is not self._last_was_batch:
            await self._wait_for_promises()
            self._last_was_batch = write.is_batch
        self.ledger.writes.append(write)
        if self._random.random() < 0.04:
            # An impatient client: the same request twice at a time. Both are one.
            other = asyncio.create_task(self.send(write, prefer="respond-async" if write.is_async else None))
            self._take(write, await self.send(write, prefer="respond-async" if write.is_async else None))
            self._take(write, await other)
        else:
            self._take(write, await self.send(write, prefer="respond-async" if write.is_async else None))

    def _take(self, write: Write, answer: Answer) -> None:
        if answer.status == 202:
            self._take_promise(write, answer)
            return
        self.ledger.conclude(write, answer.status, answer.body, told_by="answer")
        # Its lane is worked through in order, so whatever was promised earlier has been carried out.
        self._settled = max(self._settled, write.number)

    def _take_promise(self, write: Write, answer: Answer) -> None:
        job = answer.body
        right = {"id": write.job_id, "kind": write.kind, "state": "queued"}
        if {name: job.get(name) for name in right} != right:
            self.ledger.blame(f"{write.key}: 202 with {job}, must have {right}")
        if answer.headers.get("Location") != f"/jobs/{write.job_id}" or "Retry-After" not in answer.headers:
            self.ledger.blame(f"{write.key}: 202 with {dict(answer.headers)}")
        if not write.accepted:
            write.accepted = True
            self._accepted.append(write)

    async def _wait_for_promises(self) -> None:
        """Single writes keep their order, and so do batches; between the two one waits for the outcome."""
        while self._accepted:
            write = self._accepted[0]
            answer = await self.attempt("GET", f"/jobs/{write.job_id}", Prefer="wait=5")
            if answer is None or answer.status == 503:
                await asyncio.sleep(RETRY_SECONDS)
            elif answer.status == 200:
                self._take_job(write, answer.body, self._settled)
            else:
                self.ledger.blame(f"{write.key} was promised, and its job answers {answer.status} {answer.body}")
                self._accepted.remove(write)

    async def look_at_a_job(self) -> None:
        """Asks what became of a write that was only promised."""
        if not self._accepted:
            return
        write = self._random.choice(self._accepted)
        settled = self._settled
        answer = await self.attempt("GET", f"/jobs/{write.job_id}")
        if answer is not None and answer.status == 200:
            self._take_job(write, answer.body, settled)
        elif answer is not None and answer.status != 503:
            self.ledger.blame(f"{write.key} was promised, and its job answers {answer.status} {answer.body}")

    def _take_job(self, write: Write, job: dict[str, Any], settled: int) -> None:
        if job["state"] == "queued":
            # Of two requests that were one, the second may be promised after the first was answered.
            if write.number < settled:
                self.ledger.blame(f"{write.key} is said to be queued, and a later write is done")
            return
        right = "rejected" if write.expected[0].status >= 400 and not write.is_batch else "succeeded"
        if job["state"] != right:
            self.ledger.blame(f"{write.key}: its job {job['state']}, must have {right}: {job}")
        self.ledger.conclude(write, job["status_code"], job["error"] or job["result"], told_by="job")
        self._settled = max(self._settled, write.number)
        if write in self._accepted:
            self._accepted.remove(write)

    async def settle(self) -> None:
        """Learns what became of everything that was promised."""
        for write in list(self._accepted):
            answer = await self.attempt("GET", f"/jobs/{write.job_id}", Prefer="wait=5")
            if answer is None or answer.status != 200 or answer.body["state"] == "queued":
                self.ledger.blame(f"{write.key} was promised and is not done: {answer}")
            else:
                self._take_job(write, answer.body, self._settled)

    # -- choosing -----------------------------------------------------------------------------------------

    def _next(self) -> Write:
        self._number += 1
        key = f"{self.name}-{self._number}"
        live = [task for task in self._tasks if task.id is not None and task.state is not None]
        dice = self._random.random()
        is_async = self._random.random() < 0.25
        if dice < 0.15:
            return self._batch(key, live, is_async)
        if dice < 0.45 or not live:
            task, expected = self._create(key)
            return self._write(key, "POST", "/tasks", self._content(expected.state), None, is_async, [expected])
        gone = [task for task in self._tasks if task.id is not None and task.state is None]
        task = self._random.choice(gone if gone and self._random.random() < 0.1 else live)
        version = self._condition(task)
        if_match = None if version is None else f'"{version}"'
        if dice < 0.9:
            fields = self._changes(key)
            expected = self._update(task, fields, version)
            method = self._random.choice(["PUT", "PATCH"])
            return self._write(key, method, f"/tasks/{task.id}", fields, if_match, is_async, [expected])
        expected = self._delete(task, version)
        return self._write(key, "DELETE", f"/tasks/{task.id}", None, if_match, is_async, [expected])

    def _write(
        self,
        key: str,
        method: str,
        path: str,
        body: dict[str, Any] | None,
        if_match: str | None,
        is_async: bool,
        expected: list[Expected],
    ) -> Write:
        is_batch = path == "/tasks/batch"
        return Write(
            self._number, self.user, self.name, key, method, path, body, if_match, is_async, expected, is_batch
        )

    def _batch(self, key: str, live: Sequence[Task], is_async: bool) -> Write:
        operations: list[dict[str, Any]] = []
        expected: list[Expected] = []
        for number in range(self._random.randint(1, 6)):
            part = f"{key}.{number}"
            dice = self._random.random()
            if dice < 0.4 or not live:
                _, one = self._create(part)
                operations.append({"op": "create", "fields": self._content(one.state)})
                expected.append(one)
                continue
            task = self._random.choice(live)  # which an earlier operation may have deleted
            version = self._condition(task)
            condition = {} if version is None else {"if_version": version}
            if dice < 0.85:
                fields = self._changes(part)
                operations.append({"op": "update", "id": task.id, "fields": fields, **condition})
                expected.append(self._update(task, fields, version))
            else:
                operations.append({"op": "delete", "id": task.id, **condition})
                expected.append(self._delete(task, version))
        return self._write(key, "POST", "/tasks/batch", {"operations": operations}, None, is_async, expected)

    def _condition(self, task: Task) -> int | None:
        """No version, the right one, or a wrong one."""
        dice = self._random.random()
        if task.state is None or dice < 0.6:
            return None
        return task.state.version if dice < 0.9 else task.state.version + 7

    def _changes(self, key: str) -> dict[str, Any]:
        fields: dict[str, Any] = {"description": key}
        if self._random.random() < 0.5:
            fields["priority"] = self._random.randint(1, 10)
        if self._random.random() < 0.3:
            fields["status"] = self._random.choice(STATUSES)
        return fields

    # -- foretelling --------------------------------------------------------------------------------------

    def _create(self, key: str) -> tuple[Task, Expected]:
        state = State(1, f"{key} ✓", key, self._random.randint(1, 10), self._random.choice(STATUSES))
        task = Task(state.title, states=[(self._number, state)])
        self._tasks.append(task)
        self.ledger.tasks[task.title] = task
        return task, Expected(201, task, state)

    @staticmethod
    def _content(state: State | None) -> dict[str, Any]:
        assert state is not None
        return {name: getattr(state, name) for name in ("title", "description", "priority", "status")}

    def _update(self, task: Task, fields: dict[str, Any], version: int | None) -> Expected:
        before = task.state
        if before is None:
            return Expected(404, task)
        if version is not None and version != before.version:
            return Expected(412, task, current_version=before.version)
        values = {**self._content(before), **fields}
        state = State(before.version + 1, **values)
        task.states.append((self._number, state))
        return Expected(200, task, state)

    def _delete(self, task: Task, version: int | None) -> Expected:
        before = task.state
        if before is None:
            return Expected(404, task)
        if version is not None and version != before.version:
            return Expected(412, task, current_version=before.version)
        task.states.append((self._number, None))
        return Expected(204, task)

    # -- reading ------------------------------------------------------------------------------------------

    async def read(self) -> None:
        """Reads a task of its own, or the list; what was acknowledged must be seen."""
        known = [task for task in self._tasks if task.id is not None]
        if not known or self._random.random() < 0.25:
            await self._read_list()
            return
        task = self._random.choice(known)
        answer = await self.attempt("GET", f"/tasks/{task.id}")
        if answer is None or answer.status == 503:
            return
        fault = self._fault_in_read(task, None if answer.status == 404 else answer.body)
        if fault is not None:
            self.ledger.blame(f"{self.name} reads task {task.id}: {fault}")

    async def _read_list(self) -> None:
        answer = await self.attempt("GET", "/user/tasks?limit=1000")
        if answer is None or answer.status == 503:
            return
        found = {task["title"]: task for task in answer.body["items"]}
        if len(found) != len(answer.body["items"]):
            self.ledger.blame(f"{self.name} lists a title twice")
        for task in self._tasks:
            told = found.get(task.title)
            may_be_missing = task.states[0][0] > self._settled or answer.body["next_cursor"] is not None
            fault = None if told is None and may_be_missing else self._fault_in_read(task, told)
            if fault is not None:
                self.ledger.blame(f"{self.name} lists task {task.id}: {fault}")

    def _fault_in_read(self, task: Task, told: dict[str, Any] | None) -> str | None:
        possible = task.possible(self._settled)
        if told is None:
            return None if None in possible else f"is not there, must be one of {possible}"
        faults = [state.differs_from(told) for state in possible if state is not None]
        return None if None in faults else f"stale or wrong: {told}, may be {possible}"
