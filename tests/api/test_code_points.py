"""Texts are compared as people read them: in NFC, and what is looked for also without case and accents."""

from unicodedata import normalize

from yarl import URL

from tests.api.pages import titles
from tests.factories import create_task
from tests.harness import Service

COMPOSED, APART = normalize("NFC", "Übergröße Café"), normalize("NFD", "Übergröße Café")


def asked(**query: str) -> URL:
    return URL("/tasks").with_query(query)


async def test_words_are_found_whatever_their_code_points_accents_and_case(service: Service) -> None:
    for title in (COMPOSED, APART):
        await create_task(service.alice, title=title)
    await create_task(service.alice, title="another", description=APART)
    await create_task(service.alice, title="none of them")
    for word in (COMPOSED, APART, "cafe", "CAFÉ", "ubergrosse", "Übergröß", "größe cafe"):
        assert len((await service.alice.get(asked(q=word))).items) == 3, word
    assert titles(await service.alice.get(asked(q="[n]one"))) == []
    assert (await service.alice.get(asked(q="none of"))).json["next_cursor"] is None


async def test_a_title_stays_as_it_was_sent(service: Service) -> None:
    task = await create_task(service.alice, title=APART, description=APART)
    changed = (await service.alice.patch(f"/tasks/{task['id']}", {"priority": 1})).json
    assert (changed["title"], changed["description"]) == (APART, APART)


async def test_labels_that_look_the_same_are_one(service: Service) -> None:
    task = await create_task(service.alice, labels=[APART, COMPOSED, "x"])
    assert task["labels"] == [COMPOSED, "x"]
    same = await service.alice.patch(f"/tasks/{task['id']}", {"labels": [APART, "x"]})
    assert same.json == task, "and say nothing new"
    batch = [{"op": "update", "id": task["id"], "fields": {"labels": [APART, "x"]}}] * 2
    results = (await service.alice.post("/tasks/batch", {"operations": batch})).json["results"]
    assert [result["task"] for result in results] == [task, task]
    longest = await service.alice.post("/tasks", {"title": "x", "labels": ["e\u0301" * 50]})
    assert longest.json["labels"] == ["é" * 50], "counted as they are kept"
    assert (await service.alice.post("/tasks", {"title": "x", "labels": ["e\u0301" * 51]})).status == 422


async def test_labels_are_found_whatever_their_code_points(service: Service) -> None:
    task = await create_task(service.alice, labels=[COMPOSED])
    old = await create_task(service.alice)
    await service.rows("UPDATE tasks SET labels = ARRAY[$2] WHERE id = $1", old["id"], APART)
    for label in (COMPOSED, APART):
        for client in (service.alice, service.admin):
            found = (await client.get(asked(label=label))).items
            assert [one["id"] for one in found] == [task["id"], old["id"]]
