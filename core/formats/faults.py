"""What validation finds wrong with a row's fields, by the file's own names of its columns."""

from collections.abc import Mapping, Sequence
from typing import Any

from marshmallow import ValidationError

from core.formats.rows import BadRow, RowWarning, Source, Values
from core.tasks.validation import load_import


def faults_of(error: ValidationError, columns: Mapping[str, str]) -> list[RowWarning]:
    """Each message of a validation, with the column that it is about.

    Args:
        error: of `load_import`.
        columns: field → the file's own name of its column, where that is another.
    """
    messages = error.messages if isinstance(error.messages, Mapping) else {"_schema": error.messages}
    return [
        RowWarning(None if name == "_schema" else columns.get(name, name), message)
        for name, texts in messages.items()
        for message in _flat(texts)
    ]


def bad_row(
    number: int,
    faults: Sequence[RowWarning],
    fields: dict[str, Any],
    values: Values,
    columns: Mapping[str, str],
    source: Source | None = None,
) -> BadRow:
    """A row with all that is wrong with it.

    Args:
        number: of the row.
        faults: what the format found; at least one.
        fields: those that the format found nothing wrong with.
        values: the row as it stands in the file.
        columns: field → the file's own name of its column, where that is another.
        source: all of the row, where that is more than `values`.
    """
    found = list(faults)
    try:
        load_import(fields)
    except ValidationError as error:
        told = {fault.column for fault in faults}
        found += [fault for fault in faults_of(error, columns) if fault.column not in told]
    return BadRow(number, found[0].column, found[0].message, values, tuple(found[1:]), source)


def _flat(messages: Any) -> list[str]:
    """marshmallow's messages of one field; those about a part of it are told with the part's name."""
    if isinstance(messages, Mapping):
        return [f"{key}: {text}" for key, inner in messages.items() for text in _flat(inner)]
    return [str(message) for message in messages]
