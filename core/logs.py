"""Structured logs of both tiers: one JSON object a line, or readable text on a terminal.

Context (request id, user, job) is bound with `structlog.contextvars` and so appears on every line that is
written on the request's or the job's behalf. Secrets are never logged: callers log names and ids only.
"""

import logging
import sys
from typing import Any

import orjson
import structlog

from core.settings import Settings

_SHARED_PROCESSORS: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
]

# Without the values of local variables, which structlog shows by default, and rich does on a terminal: among them
# are passwords, tokens and the servers' URLs.
_TRACEBACKS = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))


def _dumps(event: Any, **_: Any) -> bytes:
    # Dataclasses as their repr says, from which settings leave their secrets out.
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS)


def configure(settings: Settings, *, tier: str) -> None:
    """Sends everything, the libraries' own logging too, to standard output in one form.

    Args:
        settings: `log_level`, and `log_format`: `auto` is readable on a terminal and JSON elsewhere.
        tier: `api`, `worker` or a command's name; stands on every line.
    """
    level = logging.getLevelName(settings.log_level.upper())
    readable = settings.log_format == "console" or (settings.log_format == "auto" and sys.stdout.isatty())
    renderers: list[Any]
    if readable:
        renderers = [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    else:
        renderers = [
            _TRACEBACKS,
            structlog.processors.JSONRenderer(serializer=_dumps),
        ]
    structlog.configure(
        processors=[*_SHARED_PROCESSORS, *renderers],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory() if readable else structlog.BytesLoggerFactory(),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(tier=tier)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*_SHARED_PROCESSORS, structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *(renderers[:-1]),
                renderers[-1] if readable else structlog.processors.JSONRenderer(serializer=_dumps_text),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.WARNING))


def _dumps_text(event: Any, **_: Any) -> str:
    return _dumps(event).decode()


def get_logger() -> Any:
    """A bound logger; its methods are `debug`, `info`, `warning`, `error`, `exception`."""
    return structlog.get_logger()
