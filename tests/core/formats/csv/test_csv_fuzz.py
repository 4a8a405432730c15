"""Any bytes at all: every format of CSV answers with rows, wrong rows or a refusal, and in bounded time."""

import io
import time
from datetime import UTC
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from marshmallow import ValidationError

from core.formats.programs import any_csv, jira, tenfold_csv, ticktick, todoist, toodledo
from core.formats.rows import BadRow, FileReport, Format, Head, ImportRefused, ReadOptions, Row
from core.tasks.validation import load_import
from core.tasks.values import is_unicode

FORMATS = [module.FORMAT for module in (tenfold_csv, todoist, jira, ticktick, toodledo, any_csv)]
HEADERS = {
    "tenfold-csv": "id,title,description,priority,status,due_date,labels,created_at,completed_at,external_id",
    "todoist-csv": "TYPE,CONTENT,DESCRIPTION,PRIORITY,INDENT,RESPONSIBLE,DATE,TIMEZONE,DURATION,DEADLINE",
    "jira-csv": "Summary,Issue key,Status,Status Category,Priority,Created,Resolved,Due date,Labels,Labels,Comment",
    "ticktick-csv": "List Name,Title,Kind,Tags,Content,Due Date,Priority,Status,Completed Time,Timezone,Is All Day",
    "toodledo-csv": "TASK,FOLDER,DUEDATE,DUETIME,PRIORITY,TAG,STATUS,STAR,NOTE,COMPLETED",
    "csv": "Title,Notes,Priority,Status,Due,Closed,Tags,Id,Url",
}
ODD_CELLS = """|a|task|note|section|1|-1|5|high|done|open|2024-02-30|2024-01-31|true|31/12/24 1:55 PM|03/04/2024
|every day|a, b|@home|Europe/Berlin|\\|'=1|()|9999-12-31|0001-01-01|9999-12-31T23:59:59-01:00|https://example.com/1|A-1|\0|\ud800
|²"""
CELLS = st.one_of(
    st.sampled_from(ODD_CELLS.replace("\n", "").split("|")),
    st.just("x" * 300),
    st.text(max_size=12),
    st.text(st.sampled_from("0123456789-/:. TZ+"), max_size=20),
)


def outcome(format_: Format, data: bytes, **options: Any) -> list[Row | BadRow]:
    """The rows, each of which is sound; those before a refusal if there is one."""
    rows: list[Row | BadRow] = []
    head = Head(data[:65_536], data[:65_536].decode(errors="replace"), "", True)
    assert format_.recognise(head) in (0, 1, 2, 3)
    try:
        for row in format_.read(io.BytesIO(data), ReadOptions(time_zone=UTC, **options), FileReport()):
            assert isinstance(row.values, list)
            assert all(map(is_unicode, row.values)), row.values
            if isinstance(row, BadRow):
                assert row.message.endswith(".")
                assert is_unicode(row.message)
            else:
                try:
                    load_import(row.fields)
                except ValidationError as error:
                    # Of its fields, not of some that the API does not know.
                    refused_fields = set(error.messages_dict)
                    assert refused_fields <= {*HEADERS["tenfold-csv"].split(",")} - {"id"}
            rows.append(row)
    except ImportRefused as refused:
        assert refused.name.startswith("import-")  # noqa: PT017
    return rows


@pytest.mark.parametrize("format_", FORMATS, ids=lambda format_: format_.name)
@settings(max_examples=100, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=300))
@example(data=b"")
@example(data=b"\xff\xfea\x00")
@example(data=b"\x00" * 100)
@example(data=b'"' * 99)
def test_any_bytes(format_: Format, data: bytes) -> None:
    outcome(format_, data)
    outcome(format_, HEADERS[format_.name].encode() + b"\n" + data)


@pytest.mark.parametrize("format_", FORMATS, ids=lambda format_: format_.name)
@settings(max_examples=100, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.lists(CELLS, max_size=14), min_size=1, max_size=5))
def test_any_cells_under_the_formats_own_header(format_: Format, rows: list[list[str]]) -> None:
    quoted = "\n".join(",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows)
    data = f"{HEADERS[format_.name]}\n{quoted}\n".encode(errors="surrogatepass")
    outcome(format_, data)


@settings(max_examples=100, deadline=2000)
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.sampled_from(["Title", "title", "1", "%d", "status"])
        | st.text(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["columns", "constants", "header", "date_format", "Title", "1", "field", "values"]),
                inner,
            )
        ),
        max_leaves=12,
    ).filter(lambda mapping: isinstance(mapping, dict))
)
def test_any_mapping(mapping: dict[str, Any]) -> None:
    outcome(any_csv.FORMAT, b"Title,Notes,Due\na,b,2024-01-01\n", mapping=mapping)


@pytest.mark.parametrize("format_", FORMATS, ids=lambda format_: format_.name)
@pytest.mark.parametrize(
    "unit",
    [
        b'"',
        b",",
        b"\n",
        b'"\n',
        b",\n",
        b'a,"\n',
        b'"",',
        b"@",
        b"a@b ",
        b"[[file {",
        b"(",
        b"\xff",
        b"\x00",
        b"1 ",
        b"\r",
    ],
    ids=repr,
)
def test_much_of_anything_takes_bounded_time(format_: Format, unit: bytes) -> None:
    header = HEADERS[format_.name].encode() + b"\n"
    cell = b'"' + (unit.replace(b'"', b'""') * (120_000 // len(unit)))[:120_000] + b'"'
    width = header.count(b",") + 1
    began = time.process_time()
    outcome(format_, header + unit * (200_000 // len(unit)))
    outcome(format_, header + b",".join([cell] * width) + b"\n")
    outcome(format_, header + b"task," + b",".join([cell] * (width - 1)) + b"\n")
    assert time.process_time() - began < 5
