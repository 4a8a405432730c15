"""What schemathesis needs to know to make valid data; it loads this itself."""

import re
import uuid
from typing import Any

import schemathesis
from hypothesis import strategies

from api.openapi.vocabulary import REQUEST_HEADERS
from core.channels.targets import WEBHOOK
from core.users.schemas import time_zones

VALID = {name: re.compile(REQUEST_HEADERS[name]["schema"]["pattern"]) for name in ("Idempotency-Key", "If-Match")}

OFFSETS = ("P1D", "PT1H", "P2W", "P1M", "P3DT12H30M", "PT0M", "P366D")
RULES = (
    "FREQ=DAILY",
    "FREQ=HOURLY;INTERVAL=12",
    "FREQ=WEEKLY;BYDAY=MO,TH",
    "FREQ=MONTHLY;BYDAY=-1FR",
    "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29",
    "FREQ=DAILY;COUNT=5",
)
HOOK = "https://example.com/hooks/tenfold"

schemathesis.openapi.format("time-zone", strategies.sampled_from(sorted(time_zones())))
schemathesis.openapi.format("duration", strategies.sampled_from(OFFSETS))
schemathesis.openapi.format("recurrence-rule", strategies.sampled_from(RULES))


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
    if is_valid:
        case.body = with_what_no_schema_says(with_integers(case.body))


def with_what_no_schema_says(body: Any) -> Any:
    """A rule as long as it may be is still to be one, an address of the channel's kind, a day that of the moment."""
    if not isinstance(body, dict):
        return body
    if isinstance(body.get("recurrence"), str) and body["recurrence"] not in RULES:
        body["recurrence"] = RULES[0]
    if "due_date" in body:
        body.pop("due_day", None)  # the two must agree
    if "url" in body:
        body["url"] = HOOK
        if "kind" in body:
            body["kind"] = WEBHOOK
    return body


def with_integers(value: Any) -> Any:
    """5.0 is an integer to JSON Schema, and none to this service."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [with_integers(item) for item in value]
    if isinstance(value, dict):
        return {name: with_integers(item) for name, item in value.items()}
    return value
