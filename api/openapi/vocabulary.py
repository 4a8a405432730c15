"""What the document says in words, and the headers and problems that many operations share."""

from typing import Any

DESCRIPTION = """\
Tasks with priorities, for large installations.

**Log in** with `POST /auth/login`, or with *Authorize* below, and send the access token as
`Authorization: Bearer …`.

**Writes are jobs.** A write is answered with its outcome once it is committed. With `Prefer: respond-async`, or where
that takes too long, it is answered 202 as soon as it is safe on disk, and `GET /jobs/{id}` tells its outcome. Repeat a
write that got no answer with the same `Idempotency-Key`: it has one effect, and the repeat gets the first answer.

**Errors** are problems (RFC 9457): tell them apart by `type`, quote the `request_id`.

**Lists** are paged by `next_cursor`, which is `null` on the last page and only there; the next page also stands in the
`Link` header. What a body or a query names that is not known is refused (422). Every GET answers
HEAD, too.
"""

TAGS = {
    "tasks": "Create, read, list, change and delete tasks.",
    "imports": "Files of other programs, and of this one, as tasks.",
    "exports": "Tasks as files.",
    "channels": "Where a user is told of events: webhooks and other services.",
    "deliveries": "What became of each event in each channel.",
    "notifications": "What the service tells a user in itself.",
    "admin": "Partitions and maintenance, for admins.",
    "jobs": "What became of writes that the client did not wait for.",
    "auth": "Registration, login, refresh and logout.",
    "users": "The caller's own profile.",
    "health": "For orchestrators and Prometheus.",
    "docs": "This document and its page.",
}
# Endpoints stand under the name of their module, but for these.
TAG_OF_MODULE = {
    "task_lists": "tasks",
    "reminders": "tasks",
    "labels": "tasks",
    "import_rows": "imports",
    "home": "docs",
}

# What a field means wherever it stands; a schema's own words come before these.
FIELDS = {
    "access_token": "For `Authorization: Bearer …`",
    "all_day_reminder_time": "When reminders of all-day tasks come, by the clocks of the user's time zone",
    "attempts": "How often it was tried",
    "bytes_read": "How much of the file was read",
    "channel_id": "The channel's id",
    "channel_name": "The channel's name",
    "client_id": "Not looked at; OAuth 2.0 clients send it",
    "client_secret": "Not looked at; OAuth 2.0 clients send it",
    "completed_at": "When it was completed; null where it is not",
    "count": "How many there are",
    "created": "How many tasks were made",
    "created_at": "When it was made",
    "current_password": "The password until now; needed for a new one",
    "dependencies": "What it needs, one by one",
    "description": "More than the title says",
    "detail": "What is the matter, in a sentence",
    "documentation": "The page with every endpoint",
    "done": "How much is done",
    "dry_run": "Whether nothing was changed",
    "due_after": "Due later than this",
    "due_before": "Due earlier than this",
    "due_date": "When it is due; null where it is not",
    "email": "The user's e-mail address",
    "error": "Why it was refused or failed; null where it was not",
    "event": "What happened",
    "events": "Which events it is about",
    "every_seconds": "How often it runs",
    "failed": "How many could not be done",
    "filename": "The file's name, where it was told",
    "finished_at": "When it ended; null until then",
    "format": "Of the file",
    "from": "Where it begins",
    "grant_type": "Of OAuth 2.0",
    "health": "Whether everything works",
    "id": "Its id",
    "import_id": "The import's id",
    "info": "About the document",
    "items": "What was found, in order",
    "kind": "What kind it is",
    "labels": "Its labels",
    "last_error": "What went wrong last; null where nothing did",
    "last_success_at": "When it last succeeded",
    "limit": "How many items at the most; `DEFAULT_PAGE_SIZE` unless given",
    "message": "What is the matter",
    "name": "Its name",
    "next_attempt_at": "When it is tried next; null where it is not",
    "next_cursor": "Where the next page begins; null on the last one",
    "next_run_at": "When it runs next",
    "on_conflict": "What becomes of rows that are known already",
    "op": "What is done",
    "openapi": "The version of OpenAPI, or where the document is",
    "operations": "What is done, in this order",
    "password": "The user's password",
    "paths": "Every endpoint",
    "priority_max": "This priority or a higher one (a lower or equal number)",
    "priority_min": "This priority or a lower one (a higher or equal number)",
    "progress": "How far it is; null before it has begun",
    "quiet_hours": "When nothing is sent; null: always",
    "read": "How many rows were read, or whether it was read",
    "read_at": "When it was read; null until then",
    "recurrence": "The rule by which it comes again; null: it does not",
    "recurrence_from": "From when the next date is reckoned",
    "refresh_token": "For the next access token; good once",
    "reminder_offsets": "How long before its due date a task is reminded of",
    "reminders": "When it is reminded of",
    "results": "What became of each operation, in order",
    "role": "Whether the user is an admin",
    "rows_per_second": "How fast it goes",
    "runs": "The last runs, newest first",
    "scope": "Not looked at; OAuth 2.0 clients send it",
    "seconds": "How long it took",
    "sent_at": "When it was sent; null until then",
    "skipped": "How many rows were left out",
    "start": "When they begin",
    "started_at": "When it began; null until then",
    "state": "How far it is",
    "status": "How it stands",
    "task_id": "The task that it is about",
    "text": "What is told",
    "time_zone": "Of the IANA's list",
    "title": "In a few words",
    "token_type": "Always `bearer`",
    "total": "How much there is to do; null where nobody knows yet",
    "type": "Which kind of problem: stable, to tell them apart by",
    "unread": "How many were not read yet",
    "updated": "How many tasks were changed",
    "updated_at": "When it was changed last",
    "user_id": "Whose it is",
    "username": "The name to log in with",
}

# The first word of a path → what its `{id}` is of.
NOUNS = {
    "tasks": "task",
    "imports": "import",
    "exports": "export",
    "channels": "channel",
    "deliveries": "delivery",
    "notifications": "notification",
    "jobs": "job",
    "admin": "partition or of the job of maintenance",
}

_TAG = r'(W/)?"[!#-~]*"'
_SECONDS = {"type": "integer", "minimum": 0}

# Without examples: Swagger UI would fill them in, and a key that everybody uses is a key that is used again.
REQUEST_HEADERS: dict[str, dict[str, Any]] = {
    "Prefer": {
        "description": "`respond-async`: do not wait for the outcome; `wait=2`: wait up to 2 seconds (RFC 7240).",
        "schema": {"type": "string"},
    },
    "Idempotency-Key": {
        "description": "1 to 255 visible ASCII characters, bare or quoted, such as a new UUID: however often a "
        "request with it is repeated, it has one effect.",
        "schema": {
            "type": "string",
            "pattern": '^("[!-~]{1,255}"|[!#-~][!-~]{0,254})$',
            "maxLength": 257,
        },
    },
    "If-Match": {
        "description": 'The versions that the change may be made to: an `ETag` such as `"3"`, several with commas, '
        "or `*` for any. "
        "A `W/` before a tag changes nothing.",
        "schema": {"type": "string", "pattern": rf"^(\*|(,[ \t]*)*{_TAG}[ \t]*(,[ \t]*({_TAG}[ \t]*)?)*)$"},
    },
    "If-None-Match": {
        "description": 'The versions that the client has already: an `ETag` such as `"3"`, or several with commas.',
        "schema": {"type": "string"},
    },
    # Of writes.
    "If-None-Match-Any": {
        "name": "If-None-Match",
        "description": "`*`: refuse the write (412) where there is what it would change.",
        "schema": {"type": "string", "enum": ["*"]},
    },
    "Range": {
        "description": "The part that is wanted, such as `bytes=100-`; what is no single range is passed over.",
        "schema": {"type": "string"},
    },
    "If-Range": {
        "description": "The `ETag` of the file that `Range` is about: of another file the answer is the whole.",
        "schema": {"type": "string"},
    },
    "If-Modified-Since": {
        "description": "The `Last-Modified` of the file that the client has already.",
        "schema": {"type": "string"},
    },
    "Content-Disposition": {
        "description": 'The name of the file that is sent, such as `attachment; filename="tasks.csv"`.',
        "schema": {"type": "string"},
    },
    "X-Request-Id": {
        "description": "Answered, logged, and carried by the job; made where it is not given.",
        "schema": {"type": "string"},
    },
}

ANSWER_HEADERS: dict[str, dict[str, Any]] = {
    "X-Request-Id": {
        "required": True,
        "description": "Finds the request in the logs.",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:/+=-]{1,128}$"},
    },
    "RateLimit": {
        "description": "What is left of the limit; absent where the limit is switched off.",
        "schema": {"type": "string", "pattern": '^"default";r=[0-9]+;t=[0-9]+$'},
        "example": '"default";r=99;t=42',
    },
    "RateLimit-Policy": {
        "description": "The limit: `q` requests in `w` seconds.",
        "schema": {"type": "string", "pattern": '^"default";q=[0-9]+;w=[0-9]+$'},
        "example": '"default";q=100;w=60',
    },
    "ETag": {
        "required": True,
        "description": "The version, for `If-Match` and `If-None-Match`.",
        "schema": {"type": "string", "pattern": f"^{_TAG}$"},
        "example": '"3"',
    },
    "Link": {
        "description": "The next page (RFC 8288); absent on the last one.",
        "schema": {"type": "string"},
        "example": '</tasks?cursor=WyJmMTM4&limit=20>; rel="next"',
    },
    "Location": {
        "required": True,
        "description": "Where it is.",
        "schema": {"type": "string", "format": "uri-reference"},
    },
    "Last-Modified": {
        "required": True,
        "description": "When the file was made.",
        "schema": {"type": "string"},
        "example": "Sun, 01 Feb 2026 12:00:00 GMT",
    },
    "Accept-Ranges": {
        "required": True,
        "description": "Parts of the file can be had.",
        "schema": {"type": "string", "enum": ["bytes"]},
    },
    "Content-Disposition": {
        "required": True,
        "description": "What to call the file.",
        "schema": {"type": "string"},
        "example": 'attachment; filename="tenfold-tasks-2026-02-01.csv"',
    },
    "Content-Range": {
        "required": True,
        "description": "Which part it is, and how long the whole is.",
        "schema": {"type": "string", "pattern": "^bytes ([0-9]+-[0-9]+|[*])/[0-9]+$"},
        "example": "bytes 0-99/1234",
    },
    "Retry-After": {"description": "Seconds after which to come again.", "schema": _SECONDS, "example": 1},
    "Idempotent-Replayed": {
        "description": "`true`: the outcome of an earlier request with the same `Idempotency-Key`.",
        "schema": {"type": "string", "enum": ["true"]},
    },
    "Preference-Applied": {
        "description": "What of `Prefer` was heeded.",
        "schema": {"type": "string"},
        "example": "respond-async",
    },
    "WWW-Authenticate": {
        "required": True,
        "description": "The challenge (RFC 6750).",
        "schema": {"type": "string"},
        "example": 'Bearer realm="tenfold", error="invalid_token"',
    },
}

FILE_BODY: dict[str, Any] = {
    "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
    "multipart/form-data": {
        "schema": {
            "type": "object",
            "required": ["file"],
            "properties": {"file": {"type": "string", "format": "binary"}},
            "additionalProperties": False,
        }
    },
}

# Status → name of the component, when it comes, headers beside the usual ones.
PROBLEM_ANSWERS: dict[int, tuple[str, str, tuple[str, ...]]] = {
    400: ("BadRequest", "The body, a header or the cursor cannot be read.", ()),
    401: ("Unauthorized", "No token, or one that is not valid; or a wrong password.", ("WWW-Authenticate",)),
    403: ("Forbidden", "Not allowed to this user.", ()),
    404: ("NotFound", "It does not exist, or belongs to somebody else.", ()),
    408: ("RequestTimeout", "Nothing of the body came for 30 seconds; the connection is closed.", ()),
    409: ("Conflict", "It contradicts what is there.", ()),
    410: ("Gone", "Its time is over.", ()),
    412: ("PreconditionFailed", "It has another version than the condition allows; nothing was changed.", ("ETag",)),
    413: ("ContentTooLarge", "Larger than `MAX_BODY_BYTES`, a file than `MAX_IMPORT_BYTES`, a form than 64 KiB.", ()),
    415: ("UnsupportedMediaType", "The body is of another media type.", ()),
    416: ("RangeNotSatisfiable", "The file is shorter than that.", ("Content-Range",)),
    422: ("UnprocessableContent", "Not valid, field by field in `errors`; or an `Idempotency-Key` was reused.", ()),
    429: ("TooManyRequests", "Over the limit.", ("Retry-After",)),
    503: ("ServiceUnavailable", "The queue or the database is away; nothing was done.", ("Retry-After",)),
}

# Status → what such an answer says, where it is no problem.
ANSWERS = {
    200: "Done.",
    201: "Made.",
    202: "Begun: it goes on when nobody waits for it any more.",
    204: "Done; there is nothing to say.",
    206: "The part that was asked for.",
    207: "One result an operation, in the order of the request.",
    304: "The client's version is the newest.",
    503: "It cannot serve.",
}
