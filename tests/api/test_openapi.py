"""The OpenAPI document is valid, complete, and says of each operation what it takes and gives.

Long because two tables stand in it, of every operation and of every status that it can answer.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from openapi_spec_validator import OpenAPIV31SpecValidator

from api.app import ENDPOINTS
from api.errors import PROBLEMS
from api.openapi import document
from api.openapi.vocabulary import PROBLEM_ANSWERS, TAGS
from tests.harness import Service

DOCUMENT = document(ENDPOINTS)

# What generated clients call: changing one of these breaks them.
OPERATIONS = {
    "register": "POST /auth/register",
    "login": "POST /auth/login",
    "login_by_form": "POST /auth/token",
    "refresh": "POST /auth/refresh",
    "logout": "POST /auth/logout",
    "get_profile": "GET /user/me",
    "update_profile": "PATCH /user/me",
    "list_visible_tasks": "GET /tasks",
    "list_own_tasks": "GET /user/tasks",
    "count_visible_tasks": "GET /tasks/count",
    "list_labels": "GET /labels",
    "create_task": "POST /tasks",
    "write_batch": "POST /tasks/batch",
    "get_task": "GET /tasks/{id}",
    "put_task": "PUT /tasks/{id}",
    "update_task": "PATCH /tasks/{id}",
    "delete_task": "DELETE /tasks/{id}",
    "get_reminders": "GET /tasks/{id}/reminders",
    "set_reminders": "PUT /tasks/{id}/reminders",
    "create_import": "POST /imports",
    "list_own_imports": "GET /imports",
    "get_import": "GET /imports/{id}",
    "list_import_errors": "GET /imports/{id}/errors",
    "get_failed_rows": "GET /imports/{id}/errors/file",
    "list_import_warnings": "GET /imports/{id}/warnings",
    "get_import_preview": "GET /imports/{id}/preview",
    "cancel_import": "DELETE /imports/{id}",
    "undo_import": "DELETE /imports/{id}/tasks",
    "create_export": "POST /exports",
    "list_own_exports": "GET /exports",
    "get_export": "GET /exports/{id}",
    "get_export_file": "GET /exports/{id}/file",
    "delete_export": "DELETE /exports/{id}",
    "get_partitions": "GET /admin/partitions",
    "create_partition": "POST /admin/partitions",
    "detach_partition": "POST /admin/partitions/{name}/detach",
    "attach_partition": "POST /admin/partitions/{name}/attach",
    "get_maintenance": "GET /admin/maintenance",
    "run_maintenance": "POST /admin/maintenance/{name}",
    "create_channel": "POST /channels",
    "list_own_channels": "GET /channels",
    "get_channel": "GET /channels/{id}",
    "update_channel": "PATCH /channels/{id}",
    "delete_channel": "DELETE /channels/{id}",
    "test_channel": "POST /channels/{id}/test",
    "rotate_secret": "POST /channels/{id}/secret",
    "list_own_deliveries": "GET /deliveries",
    "get_delivery": "GET /deliveries/{id}",
    "redeliver": "POST /deliveries/{id}/redeliver",
    "list_own_notifications": "GET /notifications",
    "count_unread_notifications": "GET /notifications/count",
    "mark_all_notifications": "POST /notifications/read",
    "mark_notification": "PATCH /notifications/{id}",
    "list_own_jobs": "GET /jobs",
    "get_job": "GET /jobs/{id}",
    "cancel_job": "DELETE /jobs/{id}",
    "get_liveness": "GET /health/live",
    "get_readiness": "GET /health/ready",
    "get_metrics": "GET /metrics",
    "get_openapi": "GET /openapi.json",
    "get_docs": "GET /docs",
    "get_home": "GET /",
}

READ = {"200", "400", "401", "422", "429", "503"}
WRITE = {"202", "400", "401", "422", "429", "503"}
BODY = {"400", "408", "413", "415", "422"}
STATUSES = {
    "register": (WRITE - {"401"}) | BODY | {"201", "403", "409"},
    "login": BODY | {"200", "401", "429", "503"},
    "login_by_form": BODY | {"200", "401", "429", "503"},
    "refresh": BODY | {"200", "401", "429", "503"},
    "logout": WRITE | BODY | {"204"},
    "get_profile": READ,
    "update_profile": WRITE | BODY | {"200", "403"},
    "list_visible_tasks": READ | {"400"},
    "list_own_tasks": READ | {"400"},
    "count_visible_tasks": READ,
    "list_labels": READ | {"400"},
    "create_task": WRITE | BODY | {"201", "409"},
    "write_batch": WRITE | BODY | {"207"},
    "get_task": READ | {"304", "404"},
    "put_task": WRITE | BODY | {"200", "403", "404", "412"},
    "update_task": WRITE | BODY | {"200", "403", "404", "412"},
    "delete_task": WRITE | {"204", "403", "404", "412", "413"},
    "get_reminders": READ | {"404"},
    "set_reminders": WRITE | BODY | {"200", "403", "404"},
    "create_import": WRITE | BODY | {"409"},
    "list_own_imports": READ | {"400"},
    "get_import": READ | {"404"},
    "list_import_errors": READ | {"400", "404"},
    "get_failed_rows": READ | {"404", "409"},
    "list_import_warnings": READ | {"400", "404"},
    "get_import_preview": READ | {"404"},
    "cancel_import": WRITE | {"204", "404", "409", "413"},
    "undo_import": WRITE | {"200", "404", "409", "413"},
    "create_export": WRITE | BODY | {"403", "409"},
    "list_own_exports": READ | {"400"},
    "get_export": READ | {"404"},
    "get_export_file": READ | {"206", "304", "403", "404", "409", "410", "416"},
    "delete_export": WRITE | {"204", "404", "409", "413"},
    "get_partitions": READ | {"403"},
    "create_partition": WRITE | BODY | {"403", "409"},
    "detach_partition": WRITE | {"403", "404", "409", "413"},
    "attach_partition": WRITE | {"403", "404", "409", "413"},
    "get_maintenance": READ | {"403"},
    "run_maintenance": WRITE | {"403", "404", "409", "413"},
    "create_channel": WRITE | BODY | {"201", "409"},
    "list_own_channels": READ | {"400"},
    "get_channel": READ | {"404"},
    "update_channel": WRITE | BODY | {"200", "404"},
    "delete_channel": WRITE | {"204", "404", "413"},
    "test_channel": WRITE | {"201", "404", "409", "413"},
    "rotate_secret": WRITE | {"200", "404", "409", "413"},
    "list_own_deliveries": READ | {"400"},
    "get_delivery": READ | {"404"},
    "redeliver": WRITE | {"200", "404", "409", "413"},
    "list_own_notifications": READ | {"400"},
    "count_unread_notifications": READ,
    "mark_all_notifications": WRITE | {"200", "413"},
    "mark_notification": WRITE | BODY | {"200", "404"},
    "list_own_jobs": READ | {"400"},
    "get_job": READ | {"404"},
    "cancel_job": WRITE | {"204", "404", "409", "413"},
    "get_liveness": {"200"},
    "get_readiness": {"200", "503"},
    "get_metrics": {"200"},
    "get_openapi": {"200", "304"},
    "get_docs": {"200"},
    "get_home": {"200"},
}


def operations(made: dict[str, Any] = DOCUMENT) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in made["paths"].items():
        for method, operation in item.items():
            yield path, method.upper(), operation


def operation(name: str) -> dict[str, Any]:
    [found] = [operation for _, _, operation in operations() if operation["operationId"] == name]
    return found


def resolve(part: Any) -> Any:
    """What a `$ref` stands for."""
    while "$ref" in part:
        found: Any = DOCUMENT
        for key in part["$ref"].removeprefix("#/").split("/"):
            found = found[key]
        part = found
    return part


def schema(name: str) -> Any:
    return DOCUMENT["components"]["schemas"][name]


def parameter_names(name: str, place: str) -> set[str]:
    parameters = [resolve(parameter) for parameter in operation(name)["parameters"]]
    return {parameter["name"] for parameter in parameters if parameter["in"] == place}


def headers_of(name: str, status: str) -> set[str]:
    return set(resolve(operation(name)["responses"][status])["headers"])


def test_the_document_is_valid_openapi_3_1() -> None:
    assert DOCUMENT["openapi"].startswith("3.1")
    assert list(OpenAPIV31SpecValidator(DOCUMENT).iter_errors()) == []


async def test_every_route_is_in_the_document_and_every_operation_is_routed(service: Service) -> None:
    hidden = {endpoint.path for endpoint in ENDPOINTS if not endpoint.documented}
    routed = {
        f"{route.method} {route.resource.canonical}"
        for route in service.app.router.routes()
        if route.resource is not None and route.method != "HEAD" and route.resource.canonical not in hidden
    }
    assert {f"{method} {path}" for path, method, _ in operations()} == routed
    assert all(path.startswith(("/docs/", "/app", "/favicon.")) for path in hidden)


def test_operation_ids_stay_as_they_are() -> None:
    assert {operation["operationId"]: f"{method} {path}" for path, method, operation in operations()} == OPERATIONS


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_names_exactly_the_statuses_that_it_can_answer(name: str) -> None:
    assert set(operation(name)["responses"]) == STATUSES[name]


def test_every_operation_is_named_told_and_tagged() -> None:
    for path, _, found in operations():
        assert found["summary"], path
        assert set(found["tags"]) <= set(TAGS), path


def test_every_kind_of_problem_has_an_answer_of_its_status() -> None:
    # Those that come before an operation is known, that nobody foresees, or that jobs alone tell, belong to none.
    nowhere = {405, 414, 417, 431, 500, 507}
    assert {status for status, _ in PROBLEMS.values()} - nowhere == set(PROBLEM_ANSWERS)


def test_problems_are_problem_json() -> None:
    for name in OPERATIONS:
        for status, answer in operation(name)["responses"].items():
            if int(status) >= 400 and name != "get_readiness":
                [(media_type, content)] = resolve(answer)["content"].items()
                assert media_type == "application/problem+json", name
                assert set(resolve(content["schema"])["required"]) == {
                    "type",
                    "title",
                    "status",
                    "detail",
                    "instance",
                    "request_id",
                }


def test_a_token_is_asked_for_where_it_is_needed_and_only_there() -> None:
    needed = [{"password": []}, {"bearer": []}]
    for _, _, found in operations():
        name = found["operationId"]
        if name == "get_job":
            assert found["security"] == [*needed, {}]
        elif {"auth", "health", "docs"} & set(found["tags"]):
            assert found["security"] == [], name
        else:
            assert found["security"] == needed, name
    schemes = DOCUMENT["components"]["securitySchemes"]
    assert schemes["password"]["flows"]["password"]["tokenUrl"] == "/auth/token"
    assert (schemes["bearer"]["type"], schemes["bearer"]["scheme"]) == ("http", "bearer")


def test_writes_take_preferences_and_keys_and_answer_202_with_the_job() -> None:
    for name in ("register", "logout", "update_profile", "create_task", "write_batch", "put_task", "delete_task"):
        assert {"Prefer", "Idempotency-Key", "X-Request-Id"} <= parameter_names(name, "header")
        accepted = resolve(operation(name)["responses"]["202"])
        assert resolve(accepted["content"]["application/json"]["schema"]) == schema("Job")
        assert {"Location", "Retry-After", "Preference-Applied"} <= set(accepted["headers"])


def test_conditions_stand_where_they_are_heeded() -> None:
    assert {name for name in OPERATIONS if "If-Match" in parameter_names(name, "header")} == {
        "put_task",
        "update_task",
        "delete_task",
    }
    assert {name for name in OPERATIONS if "If-None-Match" in parameter_names(name, "header")} == {
        "put_task",
        "update_task",
        "delete_task",
        "get_task",
        "get_openapi",
        "get_export_file",
    }


def test_answers_name_their_headers() -> None:
    assert {"ETag", "Location", "Idempotent-Replayed"} <= headers_of("create_task", "201")
    assert "Location" not in headers_of("register", "201")
    assert "ETag" in headers_of("get_task", "200") & headers_of("get_task", "304") & headers_of("put_task", "412")
    assert "Link" in headers_of("list_visible_tasks", "200") & headers_of("list_own_jobs", "200")
    assert "WWW-Authenticate" in headers_of("get_task", "401")
    assert "Retry-After" in headers_of("get_task", "429") & headers_of("get_task", "503") & headers_of("get_job", "200")
    for _, _, found in operations():
        for answer in found["responses"].values():
            assert "X-Request-Id" in resolve(answer)["headers"]
            limited = not {"health", "docs"} & set(found["tags"])
            assert ({"RateLimit", "RateLimit-Policy"} <= set(resolve(answer)["headers"])) is limited


def test_path_parameters_have_the_types_of_their_resources() -> None:
    [task_id] = [parameter for parameter in operation("get_task")["parameters"] if parameter.get("in") == "path"]
    assert (task_id["schema"]["type"], task_id["schema"]["format"], task_id["schema"]["minimum"]) == (
        "integer",
        "int64",
        1,
    )
    [job_id] = [parameter for parameter in operation("get_job")["parameters"] if parameter.get("in") == "path"]
    assert job_id["schema"] == {"type": "string", "format": "uuid"}


def test_query_parameters_come_from_the_schema_that_reads_them() -> None:
    parameters = {p["name"]: p for p in operation("list_visible_tasks")["parameters"] if p.get("in") == "query"}
    assert parameters["status"]["schema"]["items"]["enum"] == [
        "pending",
        "in_progress",
        "blocked",
        "completed",
        "cancelled",
    ]
    assert parameters["status"]["explode"] is False
    assert parameters["limit"]["schema"] == {"type": "integer", "minimum": 1, "default": 100, "maximum": 1000}
    assert set(parameters) - parameter_names("list_own_tasks", "query") == {"user_id"}


async def test_page_sizes_are_those_of_the_installation(service: Service) -> None:
    settings = service.settings
    assert document(ENDPOINTS, settings=settings) == DOCUMENT, "the tests run with the defaults"
    bigger = type(settings).from_env(
        {
            "DATABASE_URL": settings.database_url,
            "REDIS_URL": settings.redis_url,
            "JWT_SECRET_KEY": "0f1e2d3c4b5a69788796a5b4c3d2e1f0",
            "DEFAULT_PAGE_SIZE": "7",
            "MAX_PAGE_SIZE": "70",
        }
    )
    made = document(ENDPOINTS, settings=bigger)
    [limit] = [p for p in made["paths"]["/jobs"]["get"]["parameters"] if p.get("name") == "limit"]
    assert (limit["schema"]["default"], limit["schema"]["maximum"]) == (7, 70)


def test_a_merge_patch_may_say_so() -> None:
    json, patch = "application/json", "application/merge-patch+json"
    assert set(operation("update_task")["requestBody"]["content"]) == {json, patch}
    assert set(operation("put_task")["requestBody"]["content"]) == {json}
    assert set(operation("login_by_form")["requestBody"]["content"]) == {"application/x-www-form-urlencoded"}


def test_what_may_be_null_is_a_type_array() -> None:
    assert schema("Task")["properties"]["due_date"]["type"] == ["string", "null"]
    assert schema("TaskUpdate")["properties"]["description"]["type"] == ["string", "null"]
    assert schema("TaskUpdate")["properties"]["title"]["type"] == "string"


def test_labels_are_told_as_they_are_validated() -> None:
    for name in ("TaskCreate", "TaskUpdate"):
        labels = schema(name)["properties"]["labels"]
        assert (labels["type"], labels["maxItems"]) == (["array", "null"], 20)
        assert (labels["items"]["minLength"], labels["items"]["maxLength"]) == (1, 50)
        assert re.search(labels["items"]["pattern"], "on call")
        assert not re.search(labels["items"]["pattern"], "a,b")
        assert not re.search(labels["items"]["pattern"], " ")
    assert schema("Task")["properties"]["labels"]["type"] == "array"
    assert "labels" in schema("Task")["required"]


def test_a_batch_operation_is_one_of_three() -> None:
    items = schema("Batch")["properties"]["operations"]["items"]
    assert items == {"$ref": "#/components/schemas/BatchOperation"}
    items = resolve(items)
    assert [resolve(choice)["properties"]["op"]["enum"] for choice in items["oneOf"]] == [
        ["create"],
        ["update"],
        ["delete"],
    ]
    assert set(items["discriminator"]["mapping"]) == {"create", "update", "delete"}


def parts(made: Any = DOCUMENT, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object in the document, with its place."""
    if isinstance(made, dict):
        yield place, made
    for key, part in made.items() if isinstance(made, dict) else enumerate(made) if isinstance(made, list) else ():
        yield from parts(part, f"{place}/{key}")


def test_no_type_is_a_union_but_with_null() -> None:
    unions = {place: part["type"] for place, part in parts() if isinstance(part.get("type"), list)}
    assert {place for place, kinds in unions.items() if len(kinds) != 2 or kinds[1] != "null"} == set()
    assert schema("ExportCreate")["properties"]["priority"]["type"] == "array"


def test_whole_numbers_are_safe_in_javascript() -> None:
    for place, part in parts():
        if part.get("format") == "int64":
            assert part["maximum"] <= 2**53 - 1, place
        assert part.get("maximum", 0) <= 2**53 - 1, place


def test_everything_is_described() -> None:
    info = DOCUMENT["info"]
    assert info["contact"]["name"]
    assert info["license"]["identifier"] == "MIT"
    for path, method, found in operations():
        assert found["description"], f"{method} {path}"
        for parameter in map(resolve, found["parameters"]):
            assert parameter["description"], f"{method} {path} {parameter['name']}"
    for name, found in DOCUMENT["components"]["schemas"].items():
        assert found["description"], name
        for field, part in found.get("properties", {}).items():
            assert "$ref" in part or part.get("description"), f"{name}.{field}"


def test_what_is_created_and_what_is_accepted_are_told_apart() -> None:
    responses = operation("create_task")["responses"]
    made, accepted = (resolve(responses[status]) for status in ("201", "202"))
    assert made["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Task"}
    assert accepted["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Job"}
    assert "state" in schema("Job")["required"]
    assert "state" not in schema("Task")["properties"]


def test_every_example_is_valid() -> None:
    for place, part in parts():
        is_schema = "/schema" in place and "/properties/" not in place[-12:]
        if "example" not in part or not (is_schema or "/headers/" in place):
            continue
        wanted = part.get("schema", part)
        whole = {**wanted, "components": DOCUMENT["components"]}
        faults = list(Draft202012Validator(whole, format_checker=FormatChecker()).iter_errors(part["example"]))
        assert faults == [], place


async def test_every_body_that_the_page_fills_in_is_taken(service: Service) -> None:
    for name in {"TaskCreate", "TaskUpdate", "Batch", "ExportCreate", "ProfileUpdate", "SetReminders", "ChannelUpdate"}:
        assert "example" in schema(name), name
    created = await service.alice.post("/tasks", schema("TaskCreate")["example"])
    assert created.status == 201
    path = created.headers["Location"]
    assert datetime.fromisoformat(created.json["due_date"]) > datetime.now(UTC) + timedelta(days=365)
    assert (await service.alice.patch(path, schema("TaskUpdate")["example"])).status == 200
    assert (await service.alice.put(f"{path}/reminders", schema("SetReminders")["example"])).status == 200
    assert (await service.alice.patch("/user/me", schema("ProfileUpdate")["example"])).status == 200
    batch = await service.alice.post("/tasks/batch", schema("Batch")["example"])
    assert [result["status"] for result in batch.json["results"]] == [201, 404, 404]
    assert (await service.alice.post("/exports", schema("ExportCreate")["example"])).status == 202
    assert (await service.anonymous.post("/auth/register", schema("Register")["example"])).status == 201
    assert (await service.anonymous.post("/auth/login", schema("Login")["example"])).status == 200
    form = await service.anonymous.post("/auth/token", data=schema("PasswordForm")["example"])
    assert form.status == 200
    channel = await service.alice.post("/channels", {"url": "https://8.8.8.8/hook", "events": ["task.created"]})
    updated = await service.alice.patch(f"/channels/{channel.json['id']}", schema("ChannelUpdate")["example"])
    assert updated.status == 200


def test_requests_are_closed_and_answers_are_open_to_more_fields() -> None:
    closed = {name for name, found in DOCUMENT["components"]["schemas"].items() if "additionalProperties" in found}
    assert closed == {
        *("Register", "Login", "PasswordForm", "Refresh", "ProfileUpdate", "TaskCreate", "TaskUpdate"),
        *("Batch", "BatchCreate", "BatchUpdate", "BatchDelete", "ExportCreate", "SetReminders", "NotificationUpdate"),
        *("ChannelCreate", "ChannelUpdate", "QuietHours", "PartitionCreate"),
    }


def test_patterns_are_those_of_ecma_262() -> None:
    patterns = re.findall(r'"pattern": "([^"]*)', str(DOCUMENT).replace("'", '"'))
    assert patterns
    assert not [pattern for pattern in patterns if "\\Z" in pattern or "\\A" in pattern or "(?P" in pattern]


def test_a_text_without_nul_says_so() -> None:
    without_nul = r"^[^\x00]*$"
    assert schema("TaskCreate")["properties"]["description"]["pattern"] == without_nul
    assert schema("Register")["properties"]["password"]["pattern"] == without_nul
    assert "pattern" not in schema("Login")["properties"]["password"], "there it is simply wrong"


def test_no_request_header_is_filled_in_by_the_page() -> None:
    # A key that everybody uses is a key that is used again, and is refused.
    assert not [header for header in DOCUMENT["components"]["parameters"].values() if "example" in str(header)]


async def test_a_method_that_the_batch_does_not_know_is_405_and_no_task(service: Service) -> None:
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        answer = await service.alice.request(method, "/tasks/batch")
        assert (answer.status, answer.headers["Allow"]) == (405, "POST"), method


async def test_every_get_answers_head_with_the_same_headers_and_no_body(service: Service) -> None:
    created = (await service.alice.post("/tasks", {"title": "Answer HEAD"})).json
    for path, method, _ in operations():
        if method == "GET" and "jobs/" not in path:
            address = path.replace("{id}", str(created["id"]))
            get = await service.alice.get(address)
            head = await service.alice.request("HEAD", address)
            assert (head.status, head.body) == (get.status, b""), path
            names = {"Content-Type", "ETag", "Link", "Cache-Control"} | (
                {"Content-Length"} if path != "/metrics" else set()
            )
            assert {name: head.headers.get(name) for name in names} == {
                name: get.headers.get(name) for name in names
            }, path


async def test_the_document_is_served_with_a_tag(service: Service) -> None:
    answer = await service.anonymous.get("/openapi.json")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("application/json")
    assert answer.json == document(ENDPOINTS, settings=service.settings)
    again = await service.anonymous.get("/openapi.json", headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status, again.body) == (304, b"")
    assert again.headers["ETag"] == answer.headers["ETag"]
    other = await service.anonymous.get("/openapi.json", headers={"If-None-Match": '"other"'})
    assert other.status == 200
