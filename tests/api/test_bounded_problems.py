"""However much is wrong with a request, its problem is short: 50 fields and 16 KiB at the most."""

import contextlib
import gzip
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import Schema, fields, validate

from api import bodies
from api.app import ENDPOINTS
from api.errors import PROBLEM_MAXIMUM_BYTES, Problem, problem_response
from api.field_errors import FIELDS_MAXIMUM, Room
from api.http import CommaSeparated, WholeNumber
from api.import_schemas import Mapping
from core.bounds import OMITTED, Email, List, RequestSchema, String, maximum_of
from core.tasks.schemas import BATCH_OPERATIONS
from core.tasks.values import CalendarDay, Timestamp
from tests.api.problems import assert_problem
from tests.harness import Service

JSON = {"Content-Type": "application/json"}


def unknown(count: int) -> dict[str, int]:
    return {f"f{number:x}": 1 for number in range(count)}


@pytest.mark.parametrize(("count", "omitted"), [(50, None), (51, 1), (90_000, 89_950)])
async def test_fifty_unknown_fields_are_named_and_the_others_counted(
    service: Service, count: int, omitted: int | None
) -> None:
    answer = await service.anonymous.post("/auth/login", {"username": "x", "password": "y", **unknown(count)})
    problem = assert_problem(answer, 422, "validation-error")
    assert len(problem["errors"]) == 50
    assert set(problem["errors"]) <= set(unknown(count))
    assert problem.get("errors_omitted") == omitted


async def test_what_is_wrong_with_known_fields_is_named_before_what_is_unknown(service: Service) -> None:
    answer = await service.alice.post("/tasks", {**unknown(1000), "title": "", "priority": 11})
    problem = assert_problem(answer, 422, "validation-error")
    assert {"title", "priority"} <= set(problem["errors"])
    assert (len(problem["errors"]), problem["errors_omitted"]) == (50, 952)


async def test_unknown_fields_of_an_object_inside_are_counted_too(service: Service) -> None:
    hours = {"start": "22:00", "end": "07:00", **unknown(1000)}
    answer = await service.alice.post("/channels", {"url": "https://example.com/", "quiet_hours": hours})
    problem = assert_problem(answer, 422, "validation-error")
    assert (len(problem["errors"]), problem["errors_omitted"]) == (50, 950)
    assert all(name.startswith("quiet_hours.f") for name in problem["errors"])


async def test_unknown_parameters_of_a_query_are_counted_too(service: Service) -> None:
    for path in ("/tasks", "/user/me"):
        answer = await service.alice.get(f"{path}?" + "&".join(f"f{number}=" for number in range(300)))
        problem = assert_problem(answer, 422, "validation-error")
        assert (len(problem["errors"]), problem["errors_omitted"]) == (50, 250)


@pytest.mark.parametrize("speck", ["x", "\x01", "é", "\U0001f511", '"', "\\"])
async def test_long_names_are_cut(service: Service, speck: str) -> None:
    body = {"title": "x", **{f"{number} {speck * 1000}": 1 for number in range(60)}}
    answer = await service.alice.post("/tasks", body)
    problem = assert_problem(answer, 422, "validation-error")
    assert len(answer.body) <= PROBLEM_MAXIMUM_BYTES
    assert len(problem["errors"]) + problem["errors_omitted"] == 60


async def test_a_long_address_is_cut_and_stays_a_path(service: Service) -> None:
    answer = await service.alice.get("/nothing/" + "%C3%A9" * 1300)
    instance = assert_problem(answer, 404, "not-found")["instance"]
    assert len(instance) <= 1000
    assert instance.startswith("/nothing/%C3%A9")
    assert "%" not in instance[-2:]


@given(
    st.dictionaries(st.text(), st.lists(st.text(max_size=5000), min_size=1), max_size=80),
    st.text(max_size=20_000),
    st.integers(0, 10),
)
def test_a_problem_is_16_kib_at_the_most(errors: dict[str, list[str]], detail: str, omitted: int) -> None:
    content = {"type": "/problems/x", "title": "X", "status": 422, "detail": detail, "errors": errors}
    if omitted:
        content["errors_omitted"] = omitted
    response = problem_response(content, instance="/" + "x" * 8000, request_id="r" * 128)
    assert isinstance(response.body, bytes)
    assert len(response.body) <= PROBLEM_MAXIMUM_BYTES - 2048, "there is a head, too"


def test_nothing_is_left_uncounted() -> None:
    messages = {"a": ["x"], "b": {OMITTED: 7, "c": ["y"]}, OMITTED: 3}
    assert Room().tell(messages) == {"errors": {"a": ["x"], "b.c": ["y"]}, "errors_omitted": 10}
    assert Room(fields=1).tell(messages) == {"errors": {"a": ["x"]}, "errors_omitted": 11}


# -- batches ----------------------------------------------------------------------------------------------------------


async def batch_errors(service: Service, operations: list[Any]) -> list[dict[str, Any]]:
    answer = await service.alice.post("/tasks/batch", {"operations": operations})
    assert answer.status == 207, answer
    errors = [result["error"] for result in answer.json["results"]]
    assert len(errors) == len(operations)
    return errors


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "create", "fields": {"title": "x", **unknown(85)}},
        {"op": "update", "id": 1, "fields": unknown(85)},
        {"op": "delete", "id": 1, **unknown(85)},
        {"op": "create", "fields": {"title": "x", "recurrence": "FREQ=DAILY", **unknown(85)}},
    ],
    ids=["create", "update", "delete", "recurring"],
)
async def test_the_results_of_a_batch_name_fifty_fields_together(service: Service, operation: dict[str, Any]) -> None:
    errors = await batch_errors(service, [operation] * 1000)
    assert {(error["type"], error["status"]) for error in errors} == {("/problems/validation-error", 422)}
    assert sum(len(error.get("errors", {})) for error in errors) == FIELDS_MAXIMUM
    assert [len(error.get("errors", {})) + error["errors_omitted"] for error in errors] == [85] * 1000


async def test_a_batch_of_refusals_is_small(service: Service) -> None:
    labels = ["\x00" * 5] * 20
    answer = await service.alice.post(
        "/tasks/batch", {"operations": [{"op": "create", "fields": {"title": "x", "labels": labels}}] * 300}
    )
    assert answer.status == 207
    assert len(answer.body) < 300 * 300


async def test_where_there_is_room_left_every_fault_is_named(service: Service) -> None:
    errors = await batch_errors(service, [{"op": "create", "fields": {"title": ""}}] * 50)
    assert all(error["errors"].keys() == {"fields.title"} and "errors_omitted" not in error for error in errors)


async def test_what_is_valid_is_done_also_when_nothing_more_can_be_told(service: Service) -> None:
    operations = [
        {"op": "create", "fields": unknown(60)},
        {"op": "create", "fields": {"title": "plain"}},
        {"op": "create", "fields": {"title": "often", "recurrence": "FREQ=DAILY"}},
        {"op": "create", "fields": {"title": "wrong", "recurrence": "FREQ=NEVER"}},
    ]
    answer = await service.alice.post("/tasks/batch", {"operations": operations})
    assert [result["status"] for result in answer.json["results"]] == [422, 201, 201, 422]


# -- schemas ----------------------------------------------------------------------------------------------------------


def schemas_of_requests() -> Iterator[Schema]:
    for endpoint in ENDPOINTS:
        for schema in (endpoint.body, endpoint.query):
            if schema is not None:
                yield schema()
    yield from (schema() for schema in BATCH_OPERATIONS.values())


def fields_inside(field: fields.Field[Any]) -> Iterator[fields.Field[Any]]:
    yield field
    if isinstance(field, fields.List):
        yield from fields_inside(field.inner)
    if isinstance(field, fields.Nested):
        yield from (found for inner in field.schema.fields.values() for found in fields_inside(inner))


def test_every_schema_that_reads_requests_measures_first() -> None:
    for schema in schemas_of_requests():
        assert isinstance(schema, RequestSchema), schema
        for name, field in schema.fields.items():
            for found in fields_inside(field):
                assert is_bounded(found), f"{type(schema).__name__}.{name}: {found!r}"


def is_bounded(field: fields.Field[Any]) -> bool:
    """Whether reading the field costs little, whatever stands in its place."""
    if isinstance(field, fields.Nested):
        return isinstance(field.schema, RequestSchema)
    if isinstance(field, fields.List):
        return isinstance(field, List) and maximum_of(field) is not None
    if isinstance(field, (String, Email)):
        choices = any(isinstance(found, (validate.OneOf, validate.Equal)) for found in field.validators)
        return choices or maximum_of(field) is not None
    if isinstance(field, (fields.Dict, fields.String)):
        return False
    return isinstance(field, (Timestamp, CalendarDay, WholeNumber, CommaSeparated, fields.Integer, fields.Boolean,
                              fields.Date, fields.Raw, Mapping))  # fmt: skip


def test_a_list_without_a_bound_cannot_be_defined() -> None:
    with pytest.raises(TypeError):
        List(fields.Integer())


def test_a_list_that_is_too_long_is_refused_unread() -> None:
    read = []

    class Watched(fields.Integer):
        def _deserialize(self, value: Any, *arguments: Any, **options: Any) -> Any:
            read.append(value)
            return super()._deserialize(value, *arguments, **options)

    class Numbers(RequestSchema):
        numbers = List(Watched(), validate=validate.Length(max=3))

    assert Numbers().validate({"numbers": [1] * 4}) == {"numbers": ["Longer than maximum length 3."]}
    assert read == []
    assert Numbers().load({"numbers": [1, 2, 3]}) == {"numbers": [1, 2, 3]}


# -- others that were unbounded --------------------------------------------------------------------------------------


async def test_hundreds_of_thousands_of_lists_are_refused_unread_but_not_those_in_a_text(service: Service) -> None:
    body = b'{"title": [' + b"[]," * 30_000 + b"[]]}"
    assert_problem(await service.alice.post("/tasks", data=body, headers=JSON), 400, "invalid-json")
    answer = await service.alice.post("/tasks", {"title": "x", "description": '[{"\\' * 5000})
    assert answer.status == 201


@pytest.mark.parametrize("body", [b'["",' * 262_000, b'"[' * 524_000, b'["' + b"\\" * 1_018_000 + b"[" * 25_000])
def test_texts_are_not_looked_for_where_there_are_hundreds_of_thousands(body: bytes) -> None:
    def seconds(read: Callable[[bytes], object]) -> float:
        started = time.process_time()
        with contextlib.suppress(Problem):
            read(body)
        return time.process_time() - started

    whole = min(seconds(lambda given: bodies._JSON_STRING.sub(b"", given)) for _ in range(3))
    assert min(seconds(bodies._refuse_masses) for _ in range(3)) < whole / 4


async def test_a_gzip_body_may_not_have_more_members_than_it_is_worth(service: Service) -> None:
    header = {**JSON, "Content-Encoding": "gzip"}
    body = gzip.compress(b'{"title": "x"}')
    answer = await service.alice.post("/tasks", data=gzip.compress(b"") * 15 + body, headers=header)
    assert answer.status == 201
    answer = await service.alice.post("/tasks", data=gzip.compress(b"") * 16 + body, headers=header)
    assert_problem(answer, 400, "bad-request")


async def test_headers_that_are_too_long_together_are_431(service: Service) -> None:
    lines = [("If-Match", '"1",' * 3000 + '"1"')]
    assert (await service.alice.patch("/tasks/1", {}, headers=lines * 5)).status == 404
    answer = await service.alice.patch("/tasks/1", {}, headers=lines * 6)
    assert_problem(answer, 431, "headers-too-large")


@pytest.mark.parametrize("lines", [500, 60_000])
async def test_a_form_may_not_have_thousands_of_lines_around_its_file(service: Service, lines: int) -> None:
    form = b"\n" * lines + b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nTask,Prio\r\n\r\n--b--\r\n'
    answer = await service.alice.post(
        "/imports", data=form, headers={"Content-Type": "multipart/form-data; boundary=b"}
    )
    assert_problem(answer, 400, "bad-request")


async def test_a_form_of_a_login_may_not_be_large(service: Service) -> None:
    head = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await service.anonymous.post("/auth/token", data=b"username=" + b"%41" * 30_000, headers=head)
    assert_problem(answer, 413, "payload-too-large")


async def test_a_text_that_seems_to_be_a_date_is_read_once(service: Service) -> None:
    answer = await service.alice.post("/exports", {"format": "csv", "due_before": "T" * 500_000})
    assert list(assert_problem(answer, 422, "validation-error")["errors"]) == ["due_before"]
