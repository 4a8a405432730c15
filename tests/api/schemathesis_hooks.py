"""What schemathesis needs to know to make valid data; it loads this itself."""

import re
import uuid
from typing import Any

import schemathesis
from hypothesis import strategies

from api.openapi.vocabulary import REQUEST_HEADERS
from core.users.schemas import time_zones

VALID = {name: re.compile(REQUEST_HEADERS[name]["schema"]["pattern"]) for name in ("Idempotency-Key", "If-Match")}

schemathesis.openapi.format("time-zone", strategies.sampled_from(sorted(time_zones())))


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    is_valid = case.meta is not None and case.meta.generation.mode.is_positive
    headers = case.headers or {}
    # No valid key is used twice: for another request it would be refused, and rightly so.
    if VALID["Idempotency-Key"].search(str(headers.get("Idempotency-Key", ""))):
        headers["Idempotency-Key"] = str(uuid.uuid4())
    # It makes values of this header by rules of its own, and `0` is among them.
    if is_valid and not VALID["If-Match"].search(str(headers.get("If-Match", "*"))):
        del headers["If-Match"]
    # 5.0 is an integer to JSON Schema, and none to this service.
    if is_valid:
        case.body = with_integers(case.body)


def with_integers(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [with_integers(item) for item in value]
    if isinstance(value, dict):
        return {name: with_integers(item) for name, item in value.items()}
    return value
