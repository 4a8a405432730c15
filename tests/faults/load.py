"""Clients that write, read and insist: a key is repeated until it is answered, as the contract tells clients to do."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from tests.faults.harness import LANES, Installation, User
from tests.faults.ledger import Expected, Ledger, State, Task, Write

ACTORS = 12
PAUSE_SECONDS = (0.005, 0.03)
REQUEST_SECONDS = 15.0
INSIST_SECONDS = 100.0
STATUSES = ("pending", "in_progress", "blocked", "completed", "cancelled")
# What a client may be told instead of an outcome, and must then repeat.
UNAVAILABLE = {"/problems/queue-unavailable", "/problems/database-unavailable"}


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, the headers, and the body as read."""

    status: int
    headers: Any
    body: Any


class Client:
    """Sends requests for the ledger; each attempt is noted."""

    def __init__(self, url: str, user: User, ledger: Ledger, session: aiohttp.ClientSession) -> None:
        self._url = url
        self.user = user
        self.ledger = ledger
        self._session = session

    async def attempt(
        self, method: str, path: str, *, body: Any = None, is_write: bool = False, **headers: str | None
    ) -> Answer | None:
        """One request; None if the connection broke or nothing came in time."""
        started = time.monotonic()
        sent = {"Authorization": f"Bearer {self.user.token}"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items() if value is not None}
        data = None if body is None else orjson.dumps(body)
        if data is not None:
            sent["Content-Type"] = "application/json"
        try:
            timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
            async with self._session.request(
                method, self._url + path, data=data, headers=sent, timeout=timeout
            ) as response:
                raw = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self.ledger.note(self.user, f"{method} {path}", started, type(error).__name__, is_write=is_write)
            return None
        self.ledger.note(self.user, f"{method} {path}", started, response.status, is_write=is_write)
        answer = Answer(response.status, response.headers, orjson.loads(raw) if raw else None)
        if path != "/health/ready":  # whose 503 is a report
            self._check_refusal(f"{method} {path}", answer)
        return answer

    def _check_refusal(self, what: str, answer: Answer) -> None:
        if answer.status < 500:
            return
        kind = answer.body.get("type") if isinstance(answer.body, dict) else None
        if answer.status != 503 or kind not in UNAVAILABLE or "Retry-After" not in answer.headers:
            self.ledger.blame(f"{what}: {answer.status} {answer.body} {dict(answer.headers)}")

    async def send(self, write: Write, *, prefer: str | None = None) -> Answer:
        """Repeats a write with its key until it is answered.

        Raises:
            AssertionError: that took too long.
        """
        deadline = time.monotonic() + INSIST_SECONDS
        while True:
            answer = await self.attempt(
                write.method,
                write.path,
                body=write.body,
                is_write=True,
                Idempotency_Key=write.key,
                If_Match=write.if_match,
                Prefer=prefer,
            )
            if answer is not None and answer.status < 500:
                return answer
            assert time.monotonic() < deadline, f"{write.key} was never answered"
            await asyncio.sleep(0.1 if answer is None else float(answer.headers.get("Retry-After", 1)))


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

    # -- writing ------------------------------------------------------------------------------------------

    async def write(self) -> None:
        """Sends one write and compares what comes of it."""
        write = self._next()
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
            if write.number <= settled:
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


class Load:
    """Actors at work in the background."""

    def __init__(self, actors: Sequence[Actor], ledger: Ledger) -> None:
        self.actors = actors
        self.ledger = ledger
        self._stop = asyncio.Event()
        self._running = [asyncio.create_task(self._act(actor)) for actor in actors]

    async def _act(self, actor: Actor) -> None:
        chance = random.Random(f"{actor.name} acts")
        while not self._stop.is_set():
            dice = chance.random()
            if dice < 0.6:
                await actor.write()
            elif dice < 0.7:
                await actor.look_at_a_job()
            else:
                await actor.read()
            await asyncio.sleep(chance.uniform(*PAUSE_SECONDS))

    async def run_for(self, seconds: float) -> None:
        """Lets the load go on; ends early, with its exception, where an actor has failed."""
        done, _ = await asyncio.wait(self._running, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()

    async def finish(self) -> None:
        """Lets each actor come to the answer that it waits for."""
        self._stop.set()
        await asyncio.gather(*self._running)

    async def cancel(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)


@contextlib.asynccontextmanager
async def load(system: Installation, *, actors: int = ACTORS) -> AsyncIterator[Load]:
    """Load from here on; `finish()` it before its ledger is checked."""
    ledger = Ledger()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        running = Load(
            [
                Actor(f"actor{number}", system.url, system.users[number % len(system.users)], ledger, session)
                for number in range(actors)
            ],
            ledger,
        )
        try:
            yield running
        finally:
            await running.cancel()


async def wait_for_all_lanes(running: Load, since: float, *, within: float) -> dict[int, float]:
    """Goes on with the load until each lane has told an outcome after `since`; lane → seconds that it took."""
    while True:
        found = running.ledger.seconds_until_written(since)
        if len(found) == LANES:
            return found
        assert time.monotonic() - since < within, f"lanes that run again after {within:g} s: {found}"
        await running.run_for(0.1)
