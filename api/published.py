"""Documents that are the same for everybody: served plain or compressed, with a tag, from memory."""

import asyncio
import hashlib
from dataclasses import dataclass
from functools import cached_property

from aiohttp import web

from api.compression import encoded_etag, gzipped, takes_gzip
from api.conditions import is_unchanged

FOREVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class Published:
    """A document as it is served: plain, or compressed, which has a tag of its own."""

    body: bytes
    etag: str
    media_type: str

    @cached_property
    def gzipped(self) -> bytes:
        """Made once, however often it is asked for."""
        return gzipped(self.body)

    @classmethod
    def of(cls, body: bytes, media_type: str) -> "Published":
        return cls(body, f'"{hashlib.blake2b(body, digest_size=8).hexdigest()}"', media_type)

    async def answer(self, request: web.Request, headers: dict[str, str]) -> web.Response:
        """The document, encoded as the client prefers; 304 where the client has it."""
        encoded = encoded_etag(self.etag)
        is_gzipped = takes_gzip(request)
        etag = encoded if is_gzipped else self.etag
        headers = {"ETag": etag, "Vary": "Accept-Encoding", **headers}
        if is_unchanged(request, self.etag) or is_unchanged(request, encoded):
            return web.Response(status=304, headers=headers)
        headers["Content-Type"] = self.media_type
        if not is_gzipped:
            return web.Response(body=self.body, headers=headers)
        headers["Content-Encoding"] = "gzip"
        return web.Response(body=await asyncio.to_thread(lambda: self.gzipped), headers=headers)
