"""The storage of files: whole or not at all, on disk, and looked after."""

import os
import time
from pathlib import Path

import pytest

from core import storage as storage_module
from core.errors import ObjectGone, StorageUnavailable
from core.storage import Storage


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "objects"


@pytest.fixture
def storage(folder: Path) -> Storage:
    return Storage(folder.as_uri())


def files_in(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file()]


async def store(storage: Storage, name: str, *pieces: bytes) -> None:
    async with storage.writer(name) as writer:
        for piece in pieces:
            await writer.write(piece)
        await writer.commit()


async def test_what_was_written_in_pieces_is_read_whole(storage: Storage) -> None:
    pieces = [os.urandom(3 << 20) for _ in range(4)]
    await store(storage, "imports/a", *pieces)
    whole = b"".join(pieces)
    assert storage.open("imports/a").read() == whole
    assert await storage.size("imports/a") == len(whole)


async def test_the_stream_is_read_line_by_line_and_ends(storage: Storage) -> None:
    await store(storage, "a", b"one\ntwo\n", b"three")
    with storage.open("a") as stream:
        assert list(stream) == [b"one\n", b"two\n", b"three"]
        assert stream.read(1) == b""


async def test_a_range_is_what_was_asked_for(storage: Storage) -> None:
    await store(storage, "a", bytes(range(200)))
    assert b"".join([piece async for piece in storage.stream("a", 10, 13)]) == bytes([10, 11, 12])
    assert b"".join([piece async for piece in storage.stream("a", 198, 500)]) == bytes([198, 199])


async def test_an_empty_object_is_there_and_empty(storage: Storage) -> None:
    await store(storage, "a")
    assert await storage.size("a") == 0
    assert storage.open("a").read() == b""


@pytest.mark.parametrize("size", [10, 20 << 20])
async def test_what_is_not_committed_leaves_nothing(storage: Storage, folder: Path, size: int) -> None:
    async with storage.writer("imports/a") as writer:
        await writer.write(bytes(size))
    with pytest.raises(ObjectGone):
        await storage.size("imports/a")
    assert files_in(folder) == []


async def test_a_commit_syncs_the_file_and_its_folders(
    storage: Storage, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")))
        real(descriptor)

    monkeypatch.setattr(storage_module.os, "fsync", fsync)
    await store(storage, "imports/a", b"x")
    assert synced == [folder / "imports" / "a", folder / "imports", folder]


async def test_deleting_what_is_not_there_is_no_fault(storage: Storage) -> None:
    await store(storage, "a", b"x")
    await storage.delete("a")
    await storage.delete("a")
    with pytest.raises(ObjectGone):
        storage.open("a")


async def test_old_objects_are_listed_and_young_ones_are_not(storage: Storage, folder: Path) -> None:
    for name in ("imports/old", "imports/young", "exports/old"):
        await store(storage, name, b"x")
    hour_ago = time.time() - 3600
    for name in ("imports/old", "exports/old"):
        os.utime(folder / name, (hour_ago, hour_ago))
    found = [name async for names in storage.names_older_than("imports", 600) for name in names]
    assert found == ["imports/old"]


async def test_what_a_killed_process_left_half_written_is_removed_when_it_is_old(
    storage: Storage, folder: Path
) -> None:
    await store(storage, "imports/a", b"x")
    for name in ("old#1", "young#2"):
        (folder / "imports" / name).write_bytes(b"half")
    hour_ago = time.time() - 3600
    os.utime(folder / "imports" / "old#1", (hour_ago, hour_ago))
    assert await storage.remove_unfinished(600) == 1
    assert {path.name for path in (folder / "imports").iterdir()} == {"a", "young#2"}


async def test_a_storage_that_cannot_be_used_says_so_without_its_path() -> None:
    with pytest.raises(StorageUnavailable) as caught:
        await Storage("file:///proc/tenfold").check()
    assert "/proc" not in str(caught.value)


async def test_a_check_leaves_nothing(storage: Storage, folder: Path) -> None:
    await storage.check()
    assert files_in(folder) == []
