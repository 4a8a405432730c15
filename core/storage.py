"""Files that outlive a request (uploads, exports): a local folder, or a bucket, by `STORAGE_URL`.

An object appears whole or not at all, under a name that is never written twice. What `ObjectWriter.commit` has
returned from is on disk, also after a power cut.
"""

import asyncio
import errno
import io
import os
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Self, cast
from urllib.parse import urlsplit
from urllib.request import url2pathname

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url

from core import clock
from core.errors import ObjectGone, StorageFull, StorageUnavailable
from core.settings import Settings

if TYPE_CHECKING:
    from obstore.store import ClientConfig

# S3 takes parts from 5 MiB, and up to 10,000 of them. Two at a time bound the memory of an upload to 24 MiB.
_PART_BYTES = 8 << 20
_PARTS_AT_ONCE = 2
READ_BYTES = 1 << 20
_LIST_CHUNK = 1000
# Files that obstore has not finished; its own lists leave them out.
_UNFINISHED = re.compile(r".*#[0-9]+\Z")

_ABSENT = (FileNotFoundError, obstore.exceptions.NotFoundError)


@contextmanager
def _told_plainly(name: str) -> Any:
    """Turns what obstore raises into errors of ours; its own texts name paths and servers."""
    try:
        yield
    except _ABSENT as error:
        raise ObjectGone(f"the file {name} is not there any more") from error
    except (BaseError, OSError) as error:
        if _tells_no_room(error):
            raise StorageFull("the storage of files is full") from error
        raise StorageUnavailable("the storage of files cannot be used just now") from error


def _tells_no_room(error: Exception) -> bool:
    """Whether a disk is full, or a limit of the system's for this user or this file is reached.

    obstore keeps only the text of a system's error.
    """
    numbers = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return getattr(error, "errno", None) in numbers or any(f"(os error {number})" in str(error) for number in numbers)


class Storage:
    """The store that `STORAGE_URL` names; connects at first use. Names are paths such as `imports/0198…`."""

    def __init__(self, url: str, *, allow_http: bool = False) -> None:
        """
        Args:
            url: `file:///…`, `s3://bucket/prefix` or `gs://bucket/prefix`; credentials and the rest of a bucket's
                configuration come from its usual variables (`AWS_ACCESS_KEY_ID`, `AWS_REGION`, `AWS_ENDPOINT` …).
            allow_http: whether a bucket may be reached without TLS.
        """
        self.url = url
        self._options: ClientConfig = {"allow_http": True} if allow_http else {}
        parts = urlsplit(url)
        self._folder = Path(url2pathname(parts.path)) if parts.scheme == "file" else None
        self._opened: ObjectStore | None = None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(settings.storage_location, allow_http=settings.storage_allow_http)

    @property
    def _store(self) -> ObjectStore:
        if self._opened is None:
            try:
                if self._folder is None:
                    self._opened = from_url(self.url, client_options=self._options)
                else:
                    self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                    self._opened = LocalStore(self._folder)
            except (BaseError, OSError) as error:
                raise StorageUnavailable("the storage of files cannot be used just now") from error
        return self._opened

    # -- writing ----------------------------------------------------------------------------------------------

    def writer(self, name: str) -> "ObjectWriter":
        """Begins an object; see `ObjectWriter`.

        Raises:
            StorageUnavailable: the store cannot be used.
        """
        with _told_plainly(name):
            stream = obstore.open_writer_async(
                self._store, name, buffer_size=_PART_BYTES, max_concurrency=_PARTS_AT_ONCE
            )
        return ObjectWriter(self, name, stream)

    async def settle(self, name: str) -> None:
        """Makes sure that an object is on disk; a bucket has promised that itself."""
        if self._folder is not None:
            await asyncio.to_thread(_fsync, self._folder, self._folder / name)

    async def delete(self, name: str) -> None:
        """Deletes an object; one that is not there is no fault.

        Raises:
            StorageUnavailable: the store cannot be used.
        """
        try:
            with _told_plainly(name):
                await obstore.delete_async(self._store, name)
        except ObjectGone:
            pass

    # -- reading ----------------------------------------------------------------------------------------------

    def open(self, name: str) -> BinaryIO:
        """A stream over an object, for use in a thread; it may be read for hours and holds nothing open.

        Raises:
            ObjectGone: there is no such object.
            StorageUnavailable: the store cannot be used. Reading raises both, too.
        """
        with _told_plainly(name):
            size = obstore.head(self._store, name)["size"]
        raw = _RangeReader(self._store, name, size)
        return cast(BinaryIO, io.BufferedReader(raw, buffer_size=READ_BYTES))

    async def stream(self, name: str, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to, not including, `end`, in pieces.

        Raises:
            ObjectGone: there is no such object.
            StorageUnavailable: the store cannot be used.
        """
        while start < end:
            wanted = min(end - start, READ_BYTES)
            with _told_plainly(name):
                piece = await obstore.get_range_async(self._store, name, start=start, length=wanted)
            yield bytes(piece)
            if len(piece) < wanted:
                return  # the object ends before `end`
            start += wanted

    async def size(self, name: str) -> int:
        """Bytes of an object.

        Raises:
            ObjectGone: there is no such object.
            StorageUnavailable: the store cannot be used.
        """
        with _told_plainly(name):
            return int((await obstore.head_async(self._store, name))["size"])

    # -- looking after ----------------------------------------------------------------------------------------

    async def names_older_than(self, prefix: str, seconds: float) -> AsyncIterator[list[str]]:
        """Names of objects under a prefix that were written so long ago, some at a time.

        Raises:
            StorageUnavailable: the store cannot be used.
        """
        oldest = clock.now() - timedelta(seconds=seconds)
        pages = iter(obstore.list(self._store, prefix, chunk_size=_LIST_CHUNK))
        while True:
            with _told_plainly(prefix):
                page = await asyncio.to_thread(next, pages, None)
            if page is None:
                return
            yield [item["path"] for item in page if item["last_modified"] < oldest]

    async def remove_unfinished(self, seconds: float) -> int:
        """Removes what killed processes left half written in a local folder so long ago; returns how many files.

        A bucket has rules of its own for that (S3: a lifecycle rule that aborts incomplete multipart uploads).
        """
        return 0 if self._folder is None else await asyncio.to_thread(_remove_unfinished, self._folder, seconds)

    async def check(self) -> None:
        """Writes, reads and deletes a small object.

        Raises:
            ObjectGone, StorageUnavailable: that is not possible; `__cause__` says why.
        """
        name = f"checks/{os.getpid()}-{os.urandom(6).hex()}"
        try:
            async with self.writer(name) as writer:
                await writer.write(b"tenfold")
                await writer.commit()
            found = b"".join([piece async for piece in self.stream(name, 0, 7)])
        finally:
            await self.delete(name)
        if found != b"tenfold":
            raise StorageUnavailable("the storage of files gave back something else than was written")


class ObjectWriter:
    """Writes one object as its bytes come in.

    Leaving the `async with` without `commit()` leaves nothing behind.
    """

    def __init__(self, storage: Storage, name: str, stream: Any) -> None:
        self.name = name
        self.bytes = 0
        self._storage = storage
        self._stream = stream

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # obstore gives an upload up when its stream is dropped. To close it would make the object appear.
        self._stream = None

    async def write(self, data: bytes) -> None:
        """Appends bytes; waits while the store is behind.

        Raises:
            StorageUnavailable: the store cannot be used.
        """
        with _told_plainly(self.name):
            await self._stream.write(data)
        self.bytes += len(data)

    async def commit(self) -> None:
        """Makes the object appear, on disk.

        Raises:
            StorageUnavailable: the store cannot be used.
        """
        with _told_plainly(self.name):
            await self._stream.close()
            await self._storage.settle(self.name)


class _RangeReader(io.RawIOBase):
    """Reads an object range by range: a connection that breaks between two costs nothing."""

    def __init__(self, store: ObjectStore, name: str, size: int) -> None:
        self._store = store
        self._name = name
        self._size = size
        self._place = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), self._size - self._place)
        if wanted <= 0:
            return 0
        with _told_plainly(self._name):
            piece = obstore.get_range(self._store, self._name, start=self._place, length=wanted)
        count = len(piece)
        memoryview(buffer)[:count] = memoryview(piece)
        self._place += count
        return count


def _fsync(root: Path, file: Path) -> None:
    """The file, and every folder from its own up to the root, since any of them may be new."""
    for path in _with_parents(root, file):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _with_parents(root: Path, file: Path) -> Iterable[Path]:
    yield file
    for parent in file.parents:
        yield parent
        if parent == root:
            return


def _remove_unfinished(folder: Path, seconds: float) -> int:
    oldest = clock.now().timestamp() - seconds
    removed = 0
    for path in folder.rglob("*#*"):
        try:
            if _UNFINISHED.match(path.name) and path.is_file() and path.stat().st_mtime < oldest:
                path.unlink()
                removed += 1
        except FileNotFoundError:
            continue  # it was finished, or another worker was quicker
    return removed
