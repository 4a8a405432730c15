"""A process of its own for what Apprise sends: it holds no secret but the message's, and can be killed.

One message a line comes in as JSON, one answer a line goes out. Apprise's modules read answers of any size and wait
for receivers that send a byte a second; the worker kills a process that takes too long, and its memory is limited.
Everything they do on the network goes through the guard here, which sees each address in the moment of connecting;
they start no programs, and open files only of Python and of the system's libraries.
"""

import json
import logging
import mimetypes
import os
import re
import resource
import signal
import site
import ssl
import sys
import sysconfig
from typing import Any

from core.channels.addresses import NOT_PUBLIC, is_public_text
from core.channels.services import open_notifier
from core.errors import TargetRefused

MEMORY_BYTES = 2 << 30
_FORBIDDEN_EVENTS = ("subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "pty.", "shutil.")
_CONNECTING = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
_STATUS = re.compile(r"error=(\d{3})\b")


class Guard:
    """An audit hook (PEP 578): what the modules do is judged when they do it, whatever they do it through."""

    def __init__(self) -> None:
        self.allow_private = False
        self.has_refused = False
        self._readable = tuple(_library_folders())

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in _CONNECTING:
            self._judge_address(arguments[1])
        elif event == "open":
            self._judge_file(*arguments)
        elif event.startswith(_FORBIDDEN_EVENTS):
            raise PermissionError(f"{event} is not allowed here")

    def _judge_address(self, address: Any) -> None:
        if not isinstance(address, tuple):
            raise PermissionError("local sockets are not allowed here")
        if not self.allow_private and not is_public_text(str(address[0])):
            self.has_refused = True
            raise PermissionError("the address is not public")

    def _judge_file(self, path: Any, mode: Any, flags: Any) -> None:
        if isinstance(path, int):
            return
        writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND) if flags else 0
        if writes or not os.path.realpath(os.fsdecode(path)).startswith(self._readable):
            raise PermissionError("files are not opened here")


def _library_folders() -> list[str]:
    certificates = ssl.get_default_verify_paths()
    folders = {
        *sysconfig.get_paths().values(),
        *site.getsitepackages(),
        *sys.path,
        "/usr/share/zoneinfo",
        *(path for path in (certificates.cafile, certificates.capath) if path),
    }
    return [os.path.realpath(folder) for folder in folders if folder and os.path.realpath(folder) != "/"]


class _Lines(logging.Handler):
    """Remembers which status a service has answered; the lines themselves may quote addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.status: str | None = None

    def emit(self, record: logging.LogRecord) -> None:
        found = _STATUS.search(record.getMessage())
        if found:
            self.status = found.group(1)


def send(message: dict[str, Any], guard: Guard) -> str | None:
    """Sends a message; returns what went wrong, or None."""
    guard.allow_private, guard.has_refused = message["allow_private"], False
    lines = _Lines()
    try:
        notifier = open_notifier(message["kind"], message["url"])
        log = logging.getLogger("apprise")
        log.disabled, log.handlers, log.propagate = False, [lines], False
        if notifier.notify(title=message["title"], body=message["body"], body_format="text"):
            return None
    except TargetRefused as error:
        return str(error)
    except Exception:  # whatever a module raises may quote the address
        lines.status = None
    if guard.has_refused:
        return NOT_PUBLIC
    if lines.status is not None:
        return f"The service answered {lines.status}."
    return "The service did not take the message, or could not be reached."


def main() -> None:
    """Answers messages until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the worker, which closes our input
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    mimetypes.init()
    guard = Guard()
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    sys.stdout = sys.stderr  # what a module prints is no answer
    sys.addaudithook(guard)
    for line in sys.stdin:
        answers.write(json.dumps({"error": send(json.loads(line), guard)}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
