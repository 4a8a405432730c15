"""What every problem (RFC 9457) has in common."""

from typing import Any

from tests.harness import Answer, RawAnswer

# Of what goes on inside, nothing of this may ever be told.
SECRETS = ("Traceback", "SELECT", "INSERT", "asyncpg", "psycopg", "redis", "site-packages", 'File "', "argon2")


def assert_problem(answer: Answer | RawAnswer, status: int, name: str) -> dict[str, Any]:
    """The answer is that problem and has every field that each problem has; returns it."""
    headers = {key.lower(): value for key, value in answer.headers.items()}
    assert answer.status == status, answer
    assert headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json
    assert problem["type"] == f"/problems/{name}"
    assert problem["status"] == status
    for field in ("title", "detail", "instance", "request_id"):
        assert isinstance(problem[field], str), field
        assert problem[field], field
    assert problem["request_id"] == headers["x-request-id"]
    if status == 422:
        assert problem["errors"]
        assert all(isinstance(text, str) for messages in problem["errors"].values() for text in messages)
    if status == 401:
        assert headers["www-authenticate"].startswith("Bearer ")
        assert 'error="' in headers["www-authenticate"]
    if status in (429, 503):
        assert int(headers["retry-after"]) > 0
    if status >= 400:
        body = answer.body.decode()
        assert not [secret for secret in SECRETS if secret in body]
    return problem
