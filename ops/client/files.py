"""Files of the client commands: read from disk or standard input, written whole or not at all."""

import contextlib
import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ops.faults import Fault

STANDARD = "-"


@contextlib.contextmanager
def rewindable(source: str) -> Iterator[BinaryIO]:
    """What shall be sent; standard input goes to a temporary file first, for it may have to be sent again.

    Raises:
        Fault: it cannot be read.
    """
    if source == STANDARD:
        with tempfile.TemporaryFile() as spooled:
            shutil.copyfileobj(sys.stdin.buffer, spooled)
            spooled.seek(0)
            yield spooled
        return
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(Path(source).open("rb"))
        except OSError as error:
            raise Fault(f"{source} cannot be read: {error.strerror}") from None
        yield file


def require_writable(output: str) -> None:
    """Looks, before work begins, whether a file can be written in the end.

    Raises:
        Fault: it cannot.
    """
    target = Path(output)
    if output == STANDARD:
        return
    if target.is_dir():
        raise Fault(f"{output} cannot be written: {os.strerror(errno.EISDIR)}")
    if not target.parent.is_dir():
        raise Fault(f"{output} cannot be written: there is no folder {target.parent}")
    try:
        # As the file itself will be; what rights say is not enough: in /proc even root can make nothing.
        descriptor, name = _beside(target)
    except OSError as error:
        raise Fault(f"{output} cannot be written: {error.strerror}; choose another place") from None
    os.close(descriptor)
    os.unlink(name)


def require_folder(output: str) -> None:
    """Makes a folder for files, if it is not there, and looks, before work begins, whether they can be written in it.

    Raises:
        Fault: they cannot.
    """
    folder = Path(output)
    if output == STANDARD:
        raise Fault("what failed of several files goes into a folder: name one instead of -")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=folder)
    except OSError as error:
        raise Fault(
            f"{output} cannot be the folder for what fails of several files: {error.strerror}; choose another place"
        ) from None
    os.close(descriptor)
    os.unlink(name)


@contextlib.contextmanager
def whole_or_not_at_all(output: str) -> Iterator[BinaryIO]:
    """A file to write to, which takes its place when it is complete."""
    if output == STANDARD:
        with tempfile.TemporaryFile() as spooled:
            yield spooled
            spooled.seek(0)
            shutil.copyfileobj(spooled, sys.stdout.buffer)
            sys.stdout.buffer.flush()
        return
    target = Path(output)
    try:
        descriptor, name = _beside(target)
        try:
            with os.fdopen(descriptor, "w+b") as file:
                yield file
            os.chmod(name, 0o666 & ~_umask())
            os.replace(name, target)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise Fault(f"{output} cannot be written: {error.strerror}") from None


def _beside(target: Path) -> tuple[int, str]:
    return tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
