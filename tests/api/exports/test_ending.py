"""Exports are cancelled or deleted, once however often that is sent."""

import uuid
from typing import Any

import pytest

from tests.api.exports.harness import ordered
from tests.api.problems import assert_problem
from tests.harness import Service


@pytest.mark.parametrize("collection", ["exports", "jobs"])
async def test_an_export_that_has_not_ended_is_cancelled(service: Service, collection: str) -> None:
    export_id = await ordered(service.alice)  # which nobody carries out
    assert (await service.alice.delete(f"/{collection}/{export_id}")).status == 204
    shown = (await service.alice.get(f"/exports/{export_id}")).json
    assert (shown["state"], shown["file"]) == ("cancelled", None)
    assert_problem(await service.alice.get(f"/exports/{export_id}/file"), 404, "not-found")
    again = await service.alice.delete(f"/{collection}/{export_id}")
    assert_problem(again, 409, "job-not-cancellable")


async def test_deleting_a_finished_export_deletes_its_file_but_its_job_has_ended(
    exporting: Service, export: dict[str, Any]
) -> None:
    assert_problem(await exporting.alice.delete(f"/jobs/{export['id']}"), 409, "job-not-cancellable")
    assert (await exporting.alice.get(export["file"])).status == 200
    assert (await exporting.alice.delete(f"/exports/{export['id']}")).status == 204
    assert_problem(await exporting.alice.get(export["file"]), 410, "export-expired")


async def test_a_cancellation_has_one_effect_however_often_it_is_sent(service: Service) -> None:
    export_id = await ordered(service.alice)
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    answers = [await service.alice.delete(f"/exports/{export_id}", headers=headers) for _ in range(2)]
    assert [answer.status for answer in answers] == [204, 204]
    assert answers[1].headers["Idempotent-Replayed"] == "true"
