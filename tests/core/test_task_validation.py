"""The fast way of reading a task and its schema are one: they accept, refuse and make the same."""

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from marshmallow import RAISE, Schema, ValidationError

from core.ids import MAXIMUM_ID
from core.tasks import validation
from core.tasks.fields import (
    DESCRIPTION_MAXIMUM,
    EXTERNAL_ID_MAXIMUM,
    LABEL_MAXIMUM,
    LABELS_MAXIMUM,
    STATUSES,
    TITLE_MAXIMUM,
)
from core.tasks.schemas import BATCH_OPERATIONS, TaskCreate, TaskImport, TaskUpdate
from core.tasks.validation import faults_of_operation, load_create, load_import, load_operation, load_update
from core.tasks.values import utc_timestamp

Load = Callable[[Any], dict[str, Any]]
WAYS = {
    "create": (load_create, TaskCreate()),
    "update": (load_update, TaskUpdate()),
    "import": (load_import, TaskImport()),
}
IMPORTED = {
    "title": "Renew the TLS certificates",
    "description": "The old ones end on Friday.",
    "priority": 3,
    "status": "completed",
    "due_date": "2026-01-31T17:00:00+01:00",
    "labels": ["security", "on-call"],
    "created_at": "2025-12-01T08:00:00Z",
    "completed_at": "2026-01-30T09:15:00.5Z",
    "external_id": "JIRA-4711",
}
UPDATE = {name: IMPORTED[name] for name in ("title", "description", "priority", "status", "due_date", "labels")}


# -- what may come in: mostly well-formed, at the edges, or of another type altogether

spaces = st.just("") | st.text(" \t\n\r\v\f\x1c\x1f\x85\xa0\u2003\u200b\ufeff", max_size=3)
odd_texts = st.one_of(
    st.text(st.characters(exclude_categories=()), max_size=8),
    st.sampled_from(["", " ", "\x00", "a\x00b", "\ud800", "a\udfffb", "🚀", "a,b", ",", "ü" * 50, "null", "5"]),
)


@st.composite
def texts_about(draw: st.DrawFn, maximum: int) -> str:
    """As long as allowed or nearly so, perhaps with something in or around it that is not counted or not allowed."""
    text = draw(st.sampled_from("aü🚀")) * draw(st.sampled_from([maximum, maximum + 1, maximum - 1, 1, 0]))
    odd = draw(st.sampled_from(["", "", "", "\x00", "\ud800", ","]))
    return draw(spaces) + text[1:] + odd + text[:1] + draw(spaces)


def texts(maximum: int) -> st.SearchStrategy[str]:
    return st.one_of(texts_about(maximum), texts_about(maximum), odd_texts)


timestamps = st.one_of(
    st.datetimes(timezones=st.timezones()).map(datetime.isoformat),
    st.from_regex(
        r"\d{4}-[01]\d-[0-3]\d[Tt ][0-2]\d:[0-6]\d:[0-6]\d(\.\d{1,10})?([Zz]|[+-][0-2]\d:[0-6]\d)?", fullmatch=True
    ),
    st.sampled_from([
        "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+00:01", "0001-01-01T00:00:00-00:01", "9999-12-31T23:59:59.999999Z",
        "9999-12-31T23:59:59-00:01", "0000-01-01T00:00:00Z", "2026-02-29T00:00:00Z", "2024-02-29T00:00:00z",
        "2026-01-01T24:00:00Z", "2026-01-01T23:59:60Z", "2026-01-01T00:00:00-00:00", "2026-01-01t00:00:00.000z",
        "2026-01-01T00:00:00.123456789Z", "2026-01-01T00:00:00Z\n", "2026-W05-6T07:08:09Z", "20260101T000000Z",
        "２026-01-01T00:00:00Z", "2026-01-01T00:00:00+24:00", "2026-01-01T00:00:00+23:59", "2026-01-01", "infinity",
    ]),
)  # fmt: skip
anything = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), odd_texts, st.binary(max_size=4), st.just(b"pending")
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(odd_texts, inner, max_size=3)),
    max_leaves=4,
)  # fmt: skip
odd_labels = st.sampled_from([
    ("a", "b"), {"a": "b"}, {"a"}, "a", ["a", " a ", "b"], ["a", "a"], [None], [["a"]], [5], [], ["a,b"], ["a", ""],
    [str(n) for n in range(LABELS_MAXIMUM)], [str(n) for n in range(LABELS_MAXIMUM + 1)], ["a"] * (LABELS_MAXIMUM + 1),
])  # fmt: skip
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "title": texts(TITLE_MAXIMUM),
    "description": st.none() | texts(DESCRIPTION_MAXIMUM),
    "priority": st.integers(-1, 12) | st.sampled_from([True, False, 5.0, "5", sys.maxsize + 1]),
    "status": st.sampled_from([*STATUSES, "Pending", "done", b"pending", ["pending"], "", None]),
    "due_date": st.none() | timestamps,
    "labels": st.none() | st.lists(texts(LABEL_MAXIMUM), max_size=2) | odd_labels,
    "recurrence": st.none() | st.sampled_from(["FREQ=DAILY", "rrule:freq=weekly", "FREQ=MINUTELY", ""]) | odd_texts,
    "recurrence_from": st.sampled_from(["due_date", "after_completion"]) | odd_texts | st.none(),
    "created_at": st.none() | timestamps,
    "completed_at": st.none() | timestamps,
    "external_id": st.none() | texts(EXTERNAL_ID_MAXIMUM),
}
UNKNOWN = {"id": st.integers(1, 9), "Title": st.text(max_size=3), "user_id": st.none(), "version": st.just(1)}


usual_rest = st.fixed_dictionaries({}, optional={name: st.just(value) for name, value in IMPORTED.items()})


@st.composite
def contents(draw: st.DrawFn) -> Any:
    """A good task in which up to three fields are as they come, in any order, perhaps without a title."""
    content: dict[Any, Any] = {"title": "x", **draw(usual_rest)}
    for name in draw(st.lists(st.sampled_from([*FIELDS, *UNKNOWN]), max_size=3)):
        content[name] = draw((FIELDS | UNKNOWN)[name])
    if draw(st.integers(0, 9)) == 0:
        del content["title"]
    return {name: content[name] for name in draw(st.permutations(sorted(content)))}


def outcome(load: Callable[[], Any]) -> tuple[str, Any]:
    try:
        loaded = load()
    except ValidationError as error:
        return "refused", error.messages
    return "accepted", list(loaded.items())


def assert_agreement(way: str, content: Any) -> None:
    load, schema = WAYS[way]
    assert outcome(lambda: load(content)) == outcome(lambda: schema.load(content, unknown=RAISE))


@pytest.mark.parametrize("way", WAYS)
@given(content=contents() | anything)
@example(content={})
@example(content=[])
@example(content=None)
@example(content={"title": "x", 5: "y"})
@settings(max_examples=300, deadline=None)
def test_the_fast_way_and_the_schema_agree_on_any_input(way: str, content: Any) -> None:
    assert_agreement(way, content)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("field", FIELDS)
@given(data=st.data())
@settings(max_examples=120, deadline=None)
def test_the_fast_way_and_the_schema_agree_on_a_good_task_with_any_value_in_one_field(
    way: str, field: str, data: st.DataObject
) -> None:
    known = UPDATE if way != "import" else IMPORTED
    rest = data.draw(st.sampled_from([{"title": "x"}, known, {}]))
    value = data.draw(st.one_of([FIELDS[field]] * 4 + [anything]))
    assert_agreement(way, {**rest, field: value})


numbers = st.sampled_from([1, 0, -1, True, 5.0, "5", None, MAXIMUM_ID, MAXIMUM_ID + 1, 1 << 70])
operation_parts = {
    "op": st.sampled_from([*BATCH_OPERATIONS] * 4 + ["Create", None, 5, ["create"], b"create"]),
    "id": st.just(7) | numbers,
    "if_version": st.just(7) | numbers,
    "fields": st.just({"title": "x"}) | st.just({"priority": 3}) | st.just({}) | contents() | anything,
    "unknown": st.none(),
}
operations = st.one_of(
    st.fixed_dictionaries({"op": st.just("create"), "fields": contents()}),
    st.fixed_dictionaries({"op": st.just("update"), "id": st.just(7) | numbers, "fields": contents()}),
    st.fixed_dictionaries({"op": st.just("delete"), "id": st.just(7) | numbers}, optional={"if_version": numbers}),
    st.fixed_dictionaries({}, optional=operation_parts),
    anything,
)


def fields_named(messages: Any) -> int:
    return 1 if isinstance(messages, list) else sum(map(fields_named, messages.values()))


@given(operations)
@example({"op": "create", "id": 1, "fields": {"priority": 0, "colour": "red"}})
@example({"op": "update", "id": 1, "fields": {"recurrence": "FREQ=NEVER", "priority": 0}})
@example({"op": "update", "fields": None})
@example({"op": "delete"})
@settings(max_examples=500, deadline=None)
def test_as_many_fields_of_an_operation_are_counted_as_would_be_named(operation: Any) -> None:
    counted = faults_of_operation(operation)
    kind, messages = outcome(lambda: load_operation(operation))
    if counted is None:
        assert operation["fields"]["recurrence"] is not None, "nothing else needs the schema"
    else:
        assert counted == (fields_named(messages) if kind == "refused" else 0)


@given(operations)
@settings(max_examples=500, deadline=None)
def test_the_fast_way_and_the_schema_agree_on_any_operation_of_a_batch(operation: Any) -> None:
    if not isinstance(operation, dict) or operation.get("op") not in [*BATCH_OPERATIONS]:
        with pytest.raises(ValidationError):
            load_operation(operation)
    else:
        schema = BATCH_OPERATIONS[operation["op"]]()
        expected = outcome(lambda: schema.load(operation, unknown=RAISE))
        assert outcome(lambda: load_operation(operation)) == expected


@given(st.fixed_dictionaries({}, optional=FIELDS))
@settings(max_examples=200, deadline=None)
def test_what_the_import_makes_of_the_fields_of_a_create_is_what_a_create_makes(fields: dict[str, Any]) -> None:
    content = {name: fields[name] for name in UPDATE if name in fields}
    assert outcome(lambda: load_import(content)) == outcome(lambda: load_create(content))


def unexpected(schema: Schema, content: Any) -> dict[str, Any]:
    raise AssertionError(f"{content} came to {schema}")


@pytest.mark.parametrize("way", WAYS)
def test_a_well_formed_task_does_not_come_to_the_schema(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    load, _ = WAYS[way]
    monkeypatch.setattr(validation, "_by_schema", unexpected)
    whole = IMPORTED if way == "import" else UPDATE
    assert load({"title": " x "})["title"] == "x"
    assert list(load(whole)) == list(whole)
    for name in whole.keys() - {"title", "completed_at"}:
        assert load({"title": "x", name: whole[name]})[name]


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "create", "fields": UPDATE},
        {"op": "update", "id": 7, "fields": {"title": "x"}},
        {"op": "update", "id": 7, "if_version": 2, "fields": {}},
        {"op": "delete", "id": 7},
        {"op": "delete", "id": 7, "if_version": 2},
    ],
)
def test_a_well_formed_operation_does_not_come_to_the_schema(
    operation: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validation, "_by_schema", unexpected)
    assert load_operation(operation).keys() == operation.keys()


def test_what_is_left_out_of_a_new_task_gets_its_default_and_labels_none() -> None:
    assert load_create({"title": "x"}) == {"title": "x", "priority": 5, "status": "pending"}
    assert load_import({"title": "x"}) == {"title": "x", "priority": 5, "status": "pending"}
    assert load_update({}) == {}


def test_labels_are_trimmed_and_each_stands_once_in_the_order_sent() -> None:
    assert load_update({"labels": [" b", "a ", "b", "B", "a"]}) == {"labels": ["b", "a", "B"]}
    assert load_update({"labels": None}) == {"labels": []}


@pytest.mark.parametrize(
    ("labels", "messages"),
    [
        ("security", ["Not a valid list."]),
        ({"security": 1}, ["Not a valid list."]),
        (["a", ""], ["Label 2: Length must be between 1 and 50."]),
        ([" \t"], ["Label 1: Length must be between 1 and 50."]),
        (["x" * 51, 5], ["Label 1: Length must be between 1 and 50.", "Label 2: Not a valid string."]),
        (["a,b"], ["Label 1: Must not contain commas."]),
        (["a\x00b"], ["Label 1: Must not contain NUL characters."]),
        ([None], ["Label 1: Field may not be null."]),
        ([str(number) for number in range(21)], ["Longer than maximum length 20."]),
    ],
)
@pytest.mark.parametrize("way", WAYS)
def test_bad_labels_are_refused_under_one_name_and_told_apart_by_their_places(
    way: str, labels: Any, messages: list[str]
) -> None:
    load, _ = WAYS[way]
    with pytest.raises(ValidationError) as caught:
        load({"title": "x", "labels": labels})
    assert caught.value.messages == {"labels": messages}


@pytest.mark.parametrize("status", [status for status in STATUSES if status != "completed"])
def test_only_a_completed_task_comes_with_a_time_of_completion(status: str) -> None:
    with pytest.raises(ValidationError) as caught:
        load_import({"title": "x", "status": status, "completed_at": "2026-01-01T00:00:00Z"})
    assert caught.value.messages == {"completed_at": ["Only a completed task has one."]}
    assert load_import({"title": "x", "status": status, "completed_at": None})["completed_at"] is None
    assert load_import({"title": "x", "status": "completed"})["status"] == "completed"


@pytest.mark.parametrize("field", ["title", "description", "external_id"])
@pytest.mark.parametrize(
    ("text", "message"),
    [("a\x00b", "Must not contain NUL characters."), ("a\ud800b", "Must not contain lone surrogates.")],
)
def test_what_postgresql_cannot_hold_is_refused(field: str, text: str, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        load_import({"title": "x", field: text})
    assert caught.value.messages == {field: [message]}


@given(st.datetimes(timezones=st.timezones()) | st.datetimes(timezones=st.just(UTC)))
def test_a_timestamp_becomes_the_same_instant_as_isoformat_writes_it_in_utc(moment: datetime) -> None:
    offset = moment.utcoffset()
    assert offset is not None
    if offset.total_seconds() % 60 or offset.microseconds:
        moment = moment.astimezone(UTC)
    expected = moment.astimezone(UTC).isoformat()
    assert utc_timestamp(moment.isoformat()) == expected
    assert utc_timestamp(expected.replace("+00:00", "z").replace("T", "t")) == expected
