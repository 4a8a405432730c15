"""`GET /metrics`: counters that move, labelled by route templates and never by ids."""

import asyncio

from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import MakeService
from tests.factories import create_task, task_fields
from tests.harness import Service

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def scrape(service: Service) -> Samples:
    answer = await service.anonymous.get("/metrics")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples.get((name, frozenset(labels.items())), 0.0)


async def test_requests_are_counted_by_route_method_and_status(service: Service) -> None:
    before = await scrape(service)
    task = await create_task(service.alice)
    for path in (f"/tasks/{task['id']}", "/tasks/4711", "/tasks/4712"):
        await service.alice.get(path)
    await service.alice.get("/nothing/here")
    await service.alice.get("/nothing/there")
    after = await scrape(service)

    def grown(route: str, method: str, status: str) -> float:
        name = "tenfold_http_requests_total"
        labels = {"route": route, "method": method, "status": status}
        return value(after, name, **labels) - value(before, name, **labels)

    assert grown("/tasks", "POST", "201") == 1
    assert grown("/tasks/{id}", "GET", "200") == 1
    assert grown("/tasks/{id}", "GET", "404") == 2
    assert grown("unmatched", "GET", "404") == 2
    durations = "tenfold_http_request_duration_seconds_count"
    grown_durations = value(after, durations, route="/tasks/{id}", method="GET") - value(
        before, durations, route="/tasks/{id}", method="GET"
    )
    assert grown_durations == 3


async def test_labels_hold_templates_and_neither_ids_nor_what_clients_make_up(service: Service) -> None:
    task = await create_task(service.alice)
    await service.alice.get(f"/tasks/{task['id']}?limit=5")
    await service.alice.get("/made/up/by/a/client")
    await service.alice.request("BREW", "/tasks")
    for name, labels in await scrape(service):
        for label, text in labels:
            assert str(task["id"]) not in text, (name, label)
            assert "made" not in text
            assert "BREW" not in text
            assert "alice" not in text


async def test_the_gateway_and_the_worker_count_writes(service: Service) -> None:
    before = await scrape(service)
    await asyncio.gather(*(service.alice.post("/tasks", task_fields()) for _ in range(5)))
    await service.alice.delete("/tasks/4711")
    after = await scrape(service)

    def grown(name: str, **labels: str) -> float:
        return value(after, name, **labels) - value(before, name, **labels)

    assert grown("tenfold_commands_total", kind="task.create", state="succeeded") == 5
    assert grown("tenfold_commands_total", kind="task.delete", state="rejected") == 1
    assert grown("tenfold_gateway_answers_total", answer="outcome") == 6
    assert grown("tenfold_gateway_batch_commands_sum") == 6
    assert grown("tenfold_gateway_wait_seconds_count") == 6
    assert grown("tenfold_batch_commands_sum") == 6


async def test_cache_hits_and_misses_are_counted(service: Service) -> None:
    await create_task(service.alice)
    before = await scrape(service)
    for _ in range(3):
        await service.alice.get("/tasks")
    after = await scrape(service)
    name = "tenfold_cache_reads_total"
    assert value(after, name, result="miss") - value(before, name, result="miss") == 1
    assert value(after, name, result="hit") - value(before, name, result="hit") == 2


async def test_requests_over_the_limit_are_counted(make_service: MakeService) -> None:
    service = await make_service(RATE_LIMIT_PER_MINUTE="1")
    before = await scrape(service)
    answers = [await service.alice.get("/tasks") for _ in range(4)]
    after = await scrape(service)
    name = "tenfold_rate_limited_requests_total"
    grown = value(after, name, limit="default") - value(before, name, limit="default")
    assert grown == sum(answer.status == 429 for answer in answers) > 0


async def test_the_rest_of_what_is_promised_is_there(service: Service) -> None:
    await service.alice.get("/tasks")
    names = {name for name, _ in await scrape(service)}
    assert {
        "tenfold_build_info",
        "tenfold_http_requests_in_flight",
        "tenfold_gateway_buffered_commands",
        "tenfold_dead_letters_total",
        "tenfold_cache_suspect",
        "tenfold_job_duration_seconds_count",
    } <= names


async def test_in_flight_requests_come_and_go(make_service: MakeService) -> None:
    service = await make_service(with_worker=False, WRITE_WAIT_SECONDS="0.6")
    before = value(await scrape(service), "tenfold_http_requests_in_flight")
    writes = [asyncio.create_task(service.alice.post("/tasks", task_fields())) for _ in range(3)]
    await asyncio.sleep(0.3)
    during = value(await scrape(service), "tenfold_http_requests_in_flight")
    await asyncio.gather(*writes)
    after = value(await scrape(service), "tenfold_http_requests_in_flight")
    assert during - before == 3
    assert after == before
