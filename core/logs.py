"""Structured logs of both tiers: one JSON object a line, or readable text on a terminal.

Context (request id, user, job) is bound with `structlog.contextvars` and so appears on every line that is
written on the request's or the job's behalf. Secrets are never logged: callers log names and ids only.
"""

import asyncio
import atexit
import logging
import sys
import threading
from collections.abc import Callable
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

# Tracebacks have no values of local variables, which structlog and rich would show: passwords, tokens and URLs are
# among them.
_TRACEBACKS = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))


GATHER_SECONDS = 0.05


def is_told_once(record: logging.LogRecord) -> bool:
    """Drops arq's copy of a failed job's traceback, which the job's own line has; not that of a job cut off in time."""
    if record.exc_info and " failed, " in str(record.msg):
        return isinstance(record.exc_info[1], TimeoutError)
    return True


class _GatheredLines:
    """Standard output, a line a call. Ordinary lines are written together, some milliseconds later.

    A system call for each would be a tenth of a request's cost. Warnings and worse are written at once, after the lines
    before them. Where no event loop runs, every line is written at once.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._gathered: list[bytes] = []
        atexit.register(self.flush)

    def info(self, line: bytes) -> None:
        with self._lock:
            self._gathered.append(line)
            is_first = len(self._gathered) == 1
        if is_first:
            try:
                asyncio.get_running_loop().call_later(GATHER_SECONDS, self.flush)
            except RuntimeError:
                self.flush()

    def warning(self, line: bytes) -> None:
        with self._lock:
            self._gathered.append(line)
        self.flush()

    debug = info
    error = critical = warning

    def flush(self) -> None:
        with self._lock:
            gathered, self._gathered = self._gathered, []
            if gathered:
                sys.stdout.buffer.write(b"\n".join(gathered) + b"\n")
                sys.stdout.buffer.flush()


_lines = _GatheredLines()


def _dumps(event: Any, **_: Any) -> bytes:
    # Dataclasses as their repr says, from which settings leave their secrets out.
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS)


def configure(settings: Settings, *, tier: str) -> None:
    """Sends everything, the libraries' own logging too, to standard output in one form.

    Args:
        settings: `log_level`, and `log_format`: `auto` is readable on a terminal and JSON elsewhere.
        tier: `api`, `worker` or a command's name; stands on every line.
    """
    level = _level(settings)
    readable = _is_readable(settings)
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
        logger_factory=structlog.PrintLoggerFactory() if readable else lambda *_: _lines,
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
    logging.getLogger("arq.worker").addFilter(is_told_once)


def _level(settings: Settings) -> int:
    return logging.getLevelNamesMapping()[settings.log_level.upper()]


def _is_readable(settings: Settings) -> bool:
    return settings.log_format == "console" or (settings.log_format == "auto" and sys.stdout.isatty())


def _dumps_text(event: Any, **_: Any) -> str:
    return _dumps(event).decode()


def get_logger() -> Any:
    """A bound logger; its methods are `debug`, `info`, `warning`, `error`, `exception`."""
    return structlog.get_logger()


def event_log(settings: Settings, *, tier: str, event: str) -> Callable[[dict[str, Any]], None]:
    """Returns what writes the line of each request or write, as `get_logger().info(event, …)` would.

    structlog's processors cost more than the validation of a request. So the line is made directly where it is JSON.
    Its fields must hold a `timestamp`, a datetime.

    Args:
        settings: as `configure` was given.
        tier: as `configure` was given.
        event: what happened, the same on each of these lines.
    """
    if _level(settings) > logging.INFO:
        return lambda _: None
    if _is_readable(settings):
        log = get_logger()
        return lambda fields: log.info(event, **fields)

    beginning = orjson.dumps({"event": event, "level": "info", "tier": tier})[:-1] + b","

    def write(fields: dict[str, Any]) -> None:
        _lines.info(beginning + orjson.dumps(fields, option=orjson.OPT_UTC_Z)[1:])

    return write
