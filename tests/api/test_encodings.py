"""Bodies that travel compressed: what is whole is decoded, what breaks off is refused and loses nothing unsaid."""

import gzip
import itertools
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.encodings import PIECE_BYTES, BodyBroken, _Decoder
from tests.api.problems import assert_problem
from tests.harness import Service

JSON = {"Content-Type": "application/json"}
TASK = b'{"title": "travelled"}'


def without_header(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


ENCODE = {"gzip": gzip.compress, "x-gzip": gzip.compress, "deflate": zlib.compress, "deflate, bare": without_header}


def decoded(encoding: str, data: bytes, *cuts: int) -> bytes:
    decoder = _Decoder(encoding.partition(",")[0])
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    pieces = [piece for first, last in itertools.pairwise(places) for piece in decoder.decode(data[first:last])]
    assert all(0 < len(piece) <= PIECE_BYTES for piece in pieces)
    decoder.finish()
    return b"".join(pieces)


@settings(deadline=None)
@given(st.sampled_from(list(ENCODE)), st.binary() | st.just(b"\x00" * 500_000), st.lists(st.integers(0, 999)))
def test_what_was_encoded_is_decoded_however_it_is_cut(encoding: str, plain: bytes, cuts: list[int]) -> None:
    assert decoded(encoding, ENCODE[encoding](plain), *cuts) == plain


@pytest.mark.parametrize("encoding", ENCODE)
def test_what_fills_pieces_to_their_edges_is_whole(encoding: str) -> None:
    for size in range(PIECE_BYTES - 300, PIECE_BYTES + 300):
        for plain in (bytes(size), b"ab" * (size // 2)):
            assert decoded(encoding, ENCODE[encoding](plain)) == plain


@settings(deadline=None)
@given(st.lists(st.binary(max_size=20), min_size=1, max_size=4), st.lists(st.integers(0, 999)))
def test_gzip_may_have_several_members(members: list[bytes], cuts: list[int]) -> None:
    assert decoded("gzip", b"".join(map(gzip.compress, members)), *cuts) == b"".join(members)


@settings(deadline=None)
@given(st.sampled_from(list(ENCODE)), st.binary(), st.integers(1, 999), st.lists(st.integers(0, 999)))
def test_what_breaks_off_anywhere_is_broken(encoding: str, plain: bytes, missing: int, cuts: list[int]) -> None:
    whole = ENCODE[encoding](plain)
    left = whole[: -(missing % (len(whole) - 1) + 1)]
    assert left
    with pytest.raises(BodyBroken):
        decoded(encoding, left, *cuts)


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("gzip", TASK),
        ("deflate", b"\xff\xff" + TASK),
        ("gzip", gzip.compress(TASK) + b"more"),
        ("deflate", zlib.compress(TASK) + zlib.compress(TASK)),
        ("gzip", gzip.compress(TASK)[:-8] + bytes(8)),
        ("deflate", zlib.compress(TASK)[:-4] + bytes(4)),
    ],
)
def test_what_is_encoded_otherwise_is_broken(encoding: str, data: bytes) -> None:
    with pytest.raises(BodyBroken):
        decoded(encoding, data)


def test_nothing_is_whole() -> None:
    assert decoded("gzip", b"") == decoded("deflate", b"") == b""


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "GZIP", "deflate", "identity"])
async def test_a_task_may_travel_compressed(service: Service, encoding: str) -> None:
    body = ENCODE[encoding.lower()](TASK) if encoding != "identity" else TASK
    answer = await service.alice.post("/tasks", data=body, headers={**JSON, "Content-Encoding": encoding})
    assert (answer.status, answer.json["title"]) == (201, "travelled")


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("missing", [1, 4, 8, 12])
async def test_a_task_that_breaks_off_is_400(service: Service, encoding: str, missing: int) -> None:
    body = ENCODE[encoding](TASK)[:-missing]
    answer = await service.alice.post("/tasks", data=body, headers={**JSON, "Content-Encoding": encoding})
    assert_problem(answer, 400, "bad-request")


async def test_where_there_is_no_body_its_encoding_does_not_matter(service: Service) -> None:
    task = (await service.alice.post("/tasks", {"title": "x"})).json["id"]
    answer = await service.alice.delete(f"/tasks/{task}", headers={"Content-Encoding": "nope"})
    assert answer.status == 204


@pytest.mark.parametrize("path", ["/tasks", "/imports?format=tenfold-ndjson"])
@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "nope"])
async def test_an_encoding_that_is_not_known_is_415_with_those_that_are(
    service: Service, path: str, encoding: str
) -> None:
    answer = await service.alice.post(path, data=TASK, headers={**JSON, "Content-Encoding": encoding})
    assert_problem(answer, 415, "unsupported-media-type")
    assert answer.headers["Accept-Encoding"] == "gzip, deflate"
