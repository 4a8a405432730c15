"""Input that nobody means well with: none of it is answered 500, and none of it disturbs the work of others."""

import asyncio
import gzip
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest
from yarl import URL

from core import lanes
from core.clock import now
from core.ids import new_job_id
from tests.api.problems import assert_problem
from tests.factories import create_task, task_fields
from tests.harness import Answer, RawAnswer, Service

JSON = {"Content-Type": "application/json"}
DEEP = 10_000

# Not JSON at all, or JSON that no two parsers agree about.
BROKEN = {
    "empty": b"",
    "spaces": b"   ",
    "a brace": b"{",
    "single quotes": b"{'title': 'x'}",
    "a comma too many": b'{"title": "x",}',
    "a comment": b'{"title": "x"} // done',
    "two documents": b'{"title": "x"}{"title": "y"}',
    "NaN": b'{"title": "x", "priority": NaN}',
    "Infinity": b'{"title": "x", "priority": Infinity}',
    "1e999": b'{"title": "x", "priority": 1e999}',
    "-1e999": b'{"title": "x", "priority": -1e999}',
    "a leading zero": b'{"title": "x", "priority": 01}',
    "arrays in arrays": b"[" * DEEP + b"]" * DEEP,
    "objects in objects": b'{"title":' * DEEP + b'"x"' + b"}" * DEEP,
    "arrays never closed": b"[" * 100_000,
    "deep under a field": b'{"title": "x", "description": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    "a lone high surrogate": b'{"title": "\\ud800"}',
    "a lone low surrogate": b'{"title": "\\udc00x"}',
    "surrogates reversed": b'{"title": "\\udc00\\ud800"}',
    "a surrogate as UTF-8": b'{"title": "\xed\xa0\x80"}',
    "no UTF-8": b'{"title": "\xff\xfe"}',
    "overlong UTF-8": b'{"title": "\xc0\xaf"}',
    "Latin-1": '{"title": "über"}'.encode("latin-1"),
    "UTF-16": '{"title": "x"}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"title": "x"}',
    "a raw NUL": b'{"title": "a\x00b"}',
    "a raw newline": b'{"title": "a\nb"}',
    "NULs": b"\x00" * 100,
    "a gzip that was not announced": gzip.compress(b'{"title": "x"}'),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_body_that_is_not_json_is_400(service: Service, name: str) -> None:
    for path in ("/tasks", "/tasks/batch", "/auth/register", "/auth/login", "/auth/refresh"):
        assert_problem(await service.alice.post(path, data=BROKEN[name], headers=JSON), 400, "invalid-json")
    for path in ("/tasks/4711", "/user/me"):
        assert_problem(await service.alice.patch(path, data=BROKEN[name], headers=JSON), 400, "invalid-json")


INVALID = {
    "NUL in a title": b'{"title": "a\\u0000b"}',
    "only a NUL": b'{"title": "\\u0000"}',
    "NUL in a description": b'{"title": "x", "description": "\\u0000"}',
    "NUL in a name": b'{"title": "x", "a\\u0000b": 1}',
    "the empty name": b'{"title": "x", "": 1}',
    "a prototype": b'{"title": "x", "__proto__": {"role": "admin"}}',
    "an inner name of ours": b'{"title": "x", "_schema": 1}',
    "a number beyond 2^63": b'{"title": "x", "priority": 9223372036854775808}',
    "a number beyond 2^64": b'{"title": "x", "priority": 99999999999999999999999999}',
    "a long number": b'{"title": "x", "priority": ' + b"9" * 300 + b"}",
    "a small fraction": b'{"title": "x", "priority": 1e-999}',
    "minus zero": b'{"title": "x", "priority": -0}',
    "500 levels under a field": b'{"title": ' + b"[" * 500 + b"]" * 500 + b"}",
    "500 levels under no field": b'{"title": "x", "y": ' + b'{"z":' * 500 + b"1" + b"}" * 500 + b"}",
    "SQL and no title": b'{"name": "\'; DROP TABLE tasks; --"}',
    "a million of one character": b'{"title": "' + b"x" * 1_000_000 + b'"}',
    "10,000 unknown fields": b'{"title": "x", ' + b", ".join(b'"f%d": 1' % n for n in range(10_000)) + b"}",
}


@pytest.mark.parametrize("name", INVALID)
async def test_json_that_is_no_task_is_422(service: Service, name: str) -> None:
    problem = assert_problem(
        await service.alice.post("/tasks", data=INVALID[name], headers=JSON), 422, "validation-error"
    )
    assert problem["errors"]
    assert_problem(await service.alice.patch("/tasks/4711", data=INVALID[name], headers=JSON), 422, "validation-error")
    assert await service.rows("SELECT id FROM tasks") == []


async def test_a_name_that_stands_twice_counts_once(service: Service) -> None:
    answer = await service.alice.post("/tasks", data=b'{"title": "one", "title": "two"}', headers=JSON)
    assert (answer.status, answer.json["title"]) == (201, "two")


@pytest.mark.parametrize(
    "text",
    ["'; DROP TABLE tasks; --", "$1", "%s %(x)s {0}", "\\", '"', "\u202e", "\ufeff", "\U0010ffff", "\u0001\u001f\u007f",
     "<script>alert(1)</script>", "é" * 5, "e\u0301", "👩‍👩‍👧‍👦", "null", "NaN"],
)  # fmt: skip
async def test_strange_text_is_text(service: Service, text: str) -> None:
    task = await create_task(service.alice, title=f"a{text}b", description=text)
    assert (task["title"], task["description"]) == (f"a{text}b", text)
    assert (await service.alice.get(f"/tasks/{task['id']}")).json == task
    assert (await service.alice.get("/tasks")).items == [task]
    assert (await service.alice.get("/tasks", params={"q": text.strip() or "a"})).status in (200, 422)


async def get_raw(service: Service, target: str) -> RawAnswer:
    """As alice, past any client library that would tidy the target up."""
    head = f"GET {target} HTTP/1.1\r\nHost: tests\r\nAuthorization: Bearer {service.alice.token}\r\n\r\n"
    return await service.raw(head.encode())


# -- addresses ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "task_id",
    ["0", "-1", "+1", "00", "1.0", "1e3", "x", "%00", "1%00", "%FF", "%ED%A0%80", "1%0a", "%20", "1%2F2", "..%2Fetc",
     "9223372036854775807", "9223372036854775808", "18446744073709551616", "9" * 400, "%EF%BC%91", "%D9%A1", "1_0",
     "0x1", "null", "true", "1;DROP", "'", "4711"],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
async def test_what_is_no_id_of_a_task_is_404(service: Service, method: str, task_id: str) -> None:
    url = URL(f"{service.base.origin()}/tasks/{task_id}", encoded=True)
    body = {"json": {"title": "x"}} if method == "PATCH" else {}
    answer = await service.alice.request(method, url, **body)
    assert_problem(answer, 404, "not-found")


@pytest.mark.parametrize(
    "path",
    ["/%00", "/tasks/%00/x", "/%FF", "/%ED%A0%80", "/..", "/../../etc/passwd", "/tasks/../../x", "//tasks", "/nothing/",
     "/Tasks", "/tasks/1/2", "/%2e%2e/%2e%2e/etc/passwd", "/" + "a/" * 2000, "/;", "/%", "/%zz", "/tasks%2F1"],
)  # fmt: skip
async def test_an_address_of_nothing_is_404(service: Service, path: str) -> None:
    answer = await get_raw(service, path)
    assert_problem(answer, 404, "not-found")


@pytest.mark.parametrize(
    "query",
    ["%00=1", "%FF=1", "=", "=1", "&", "&&&", "a", "a=%00", "q=%ED%A0%80%00", "%", "%zz=1", "limit", "limit=%00",
     "limit[]=1", "limit[$gt]=1", "cursor=%FF%00", "__proto__=1", "&".join(f"f{n}=1" for n in range(900))],
)  # fmt: skip
async def test_a_hostile_query_is_never_500(service: Service, query: str) -> None:
    for path in ("/tasks", "/user/tasks", "/jobs"):
        answer = await get_raw(service, f"{path}?{query}")
        assert answer.status in (200, 400, 422), answer
        if answer.status != 200:
            assert_problem(answer, answer.status, {400: "invalid-cursor", 422: "validation-error"}[answer.status])


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/tasks?colour=red"),
        ("GET", "/jobs?colour=red"),
        ("GET", "/user/me?x"),
        ("GET", "/tasks/1?expand=user"),
        ("POST", "/tasks?dry_run=true"),
        ("DELETE", "/tasks/1?force=1"),
        ("POST", "/auth/login?username=alice"),
    ],
)
async def test_a_query_parameter_that_nobody_knows_is_422(service: Service, method: str, path: str) -> None:
    answer = await service.alice.request(method, path, json={"title": "x"})
    assert_problem(answer, 422, "validation-error")


# -- headers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "text/html", "application/xml", "multipart/form-data; boundary=x",
     "application/x-www-form-urlencoded", "application/jsonp", "application/json5", "image/png"],
)  # fmt: skip
async def test_another_content_type_is_415(service: Service, content_type: str) -> None:
    for path in ("/tasks", "/tasks/batch", "/auth/login"):
        answer = await service.alice.post(path, data=b'{"title": "x"}', headers={"Content-Type": content_type})
        assert_problem(answer, 415, "unsupported-media-type")


@pytest.mark.parametrize(
    "content_type",
    ["application/json; charset=utf-8", "APPLICATION/JSON", "application/json;", 'application/json; x="y'],
)
async def test_json_is_known_by_its_type_whatever_follows(service: Service, content_type: str) -> None:
    answer = await service.alice.post("/tasks", data=b'{"title": "x"}', headers={"Content-Type": content_type})
    assert answer.status == 201


async def test_a_body_that_is_not_encoded_as_it_says_is_the_clients_fault_and_no_error_in_the_logs(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await service.alice.post("/tasks", data=b"no gzip", headers={**JSON, "Content-Encoding": "gzip"})
    assert_problem(answer, 400, "bad-request")
    assert (await service.alice.get("/user/me")).status == 200
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_bomb_is_413_before_it_has_gone_off(service: Service, encoding: str) -> None:
    spaces = b" " * (64 << 20)
    bomb = gzip.compress(spaces) if encoding == "gzip" else zlib.compress(spaces)
    assert len(bomb) < 1 << 20
    answer = await service.alice.post("/tasks", data=bomb, headers={**JSON, "Content-Encoding": encoding})
    assert_problem(answer, 413, "payload-too-large")


async def test_headers_with_strange_bytes_are_never_500(service: Service) -> None:
    for name in ("Authorization", "If-Match", "If-None-Match", "Prefer", "Idempotency-Key", "X-Request-Id",
                 "Content-Type", "X-Forwarded-For", "Accept", "Cookie"):  # fmt: skip
        for value in (b"\xff\xfe", b"\xed\xa0\x80", "ü🔑".encode(), b"a" * 8000, b",,,;;;===", b'"', b"%00"):
            answer = await service.raw(
                b"PATCH /tasks/4711 HTTP/1.1\r\nHost: tests\r\nContent-Length: 2\r\n"
                + name.encode() + b": " + value + b"\r\n"
                + (b"" if name == "Authorization" else f"Authorization: Bearer {service.alice.token}\r\n".encode())
                + b"\r\n{}"
            )  # fmt: skip
            assert 400 <= answer.status < 500, (name, value, answer)
            assert answer.headers["content-type"] == "application/problem+json"


async def test_a_content_length_that_lies_does_not_reach_the_next_request(service: Service) -> None:
    token = f"Authorization: Bearer {service.alice.token}\r\n".encode()
    smuggled = b'GET /user/me HTTP/1.1\r\nHost: tests\r\n\r\n{"title": "x"}'
    answer = await service.raw(
        b"POST /tasks HTTP/1.1\r\nHost: tests\r\n" + token
        + b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" % len(smuggled)
        + smuggled
    )  # fmt: skip
    assert_problem(answer, 400, "bad-request")


# -- neighbours -----------------------------------------------------------------------------------------------


async def test_the_bad_do_not_disturb_the_good(service: Service) -> None:
    """Well-meant writes, in among everything above, all succeed."""
    bad: list[Callable[[], Awaitable[Answer]]] = [
        *((lambda body=body: service.bob.post("/tasks", data=body, headers=JSON)) for body in BROKEN.values()),
        *((lambda body=body: service.bob.post("/tasks", data=body, headers=JSON)) for body in INVALID.values()),
        lambda: service.bob.patch(f"/tasks/{(1 << 63) - 1}", {"title": "x"}),
        lambda: service.bob.delete("/tasks/1", headers={"If-Match": '"99999999"'}),
        lambda: service.bob.post("/tasks", task_fields(), headers=[("Idempotency-Key", "a"), ("Idempotency-Key", "b")]),
        lambda: service.with_token("nonsense").post("/tasks", task_fields()),
    ]
    requests = [request for call in bad for request in (call(), service.alice.post("/tasks", task_fields()))]
    answers = await asyncio.gather(*requests)
    assert {answer.status for answer in answers[1::2]} == {201}
    assert {answer.status for answer in answers[0::2]} <= {400, 401, 404, 412, 422}


async def test_what_only_the_database_refuses_is_refused_alone(service: Service) -> None:
    """Forged in the lane itself, past all validation: the neighbours in the batch live."""

    def command(payload: dict[str, Any], kind: str = "task.create") -> dict[str, Any]:
        return {"id": new_job_id(), "kind": kind, "user_id": service.alice.id, "payload": payload,
                "created_at": now().isoformat()}  # fmt: skip

    poison = [
        command({"fields": {"title": "a\x00b"}}),
        command({"fields": {"title": "x" * 300}}),
        command({"fields": {"title": "x", "priority": 99}}),
        command({"fields": {"title": "x", "status": "asleep"}}),
        command({"fields": {"title": "x", "due_date": "no day"}}),
        command({"fields": {}}),
        command({}),
        command({"fields": None}),
        command({"id": "x", "fields": {"title": "x"}, "if_versions": None}, "task.update"),
        command({"id": 1 << 63, "fields": {"title": "x"}, "if_versions": None}, "task.update"),
        command({"operations": 5}, "task.batch"),
        command({}, "no.such.kind"),
    ]
    good = [command({"fields": {"title": f"good {number}"}}) for number in range(len(poison))]
    commands = [one for pair in zip(good, poison, strict=True) for one in pair]
    lane = lanes.lane_of_user(service.alice.id, service.settings.write_lanes)
    async with service.queue() as queue:
        await queue.xadd(lanes.stream(lane), {"origin": "nobody", "commands": orjson.dumps(commands)})
        await queue.xadd(lanes.stream(lane), {"origin": "nobody", "commands": b"nonsense"})
        await queue.xadd(lanes.stream(lane), {"nothing": "of it"})
        await lanes.call_drain(queue, lane)
        after = await create_task(service.alice, title="after")
        assert await queue.xlen(lanes.DEAD_LETTERS) >= 2
    titles = [task["title"] for task in (await service.alice.get("/tasks")).items]
    assert titles == [*(f"good {number}" for number in range(len(good))), after["title"]]
    states = {str(row["id"]): row["state"] for row in await service.rows("SELECT id, state FROM jobs")}
    assert {states[one["id"]] for one in good} == {"succeeded"}
    assert {states[one["id"]] for one in poison} <= {"rejected", "failed"}
