"""What the application and each request hold (aiohttp's typed keys)."""

from typing import TYPE_CHECKING, Any

from aiohttp import web

from api.identity import Identity
from core.cache import PageCache
from core.database.read_pool import ReadPool
from core.deferred import Deferred
from core.encryption import SecretBox
from core.identity import Identities
from core.ratelimit import Allowance, RateLimiter
from core.settings import Settings
from core.storage import Storage
from core.tasks.labels import LabelCounts

if TYPE_CHECKING:
    from arq.connections import ArqRedis
    from redis.asyncio import Redis

    from api.limits import GuessLimits
    from api.passwords import PasswordService
    from api.tokens import Tokens
    from api.uploads import UploadsUnderWay
    from api.writes.gateway import Gateway


SETTINGS: web.AppKey[Settings] = web.AppKey("settings", Settings)
POOL: "web.AppKey[ReadPool]" = web.AppKey("pool")
QUEUE: "web.AppKey[ArqRedis]" = web.AppKey("queue")
CACHE_CLIENT: "web.AppKey[Redis]" = web.AppKey("cache_client")
CACHE: web.AppKey[PageCache] = web.AppKey("cache", PageCache)
STORAGE: web.AppKey[Storage] = web.AppKey("storage", Storage)
UPLOADS: "web.AppKey[UploadsUnderWay]" = web.AppKey("uploads")
IDENTITIES: web.AppKey[Identities] = web.AppKey("identities", Identities)
SECRETS: web.AppKey[SecretBox] = web.AppKey("secrets", SecretBox)
GATEWAY: "web.AppKey[Gateway]" = web.AppKey("gateway")
TOKENS: "web.AppKey[Tokens]" = web.AppKey("tokens")
PASSWORDS: "web.AppKey[PasswordService]" = web.AppKey("passwords")
REQUEST_LIMIT: web.AppKey[RateLimiter] = web.AppKey("request_limit", RateLimiter)
LIST_QUERIES: "web.AppKey[dict[Any, Any]]" = web.AppKey("list_queries")
LABEL_COUNTS: web.AppKey[LabelCounts] = web.AppKey("label_counts", LabelCounts)
DEFERRED: web.AppKey[Deferred] = web.AppKey("deferred", Deferred)
REGISTRATION_LIMIT: web.AppKey[RateLimiter] = web.AppKey("registration_limit", RateLimiter)
GUESS_LIMITS: "web.AppKey[GuessLimits]" = web.AppKey("guess_limits")

IDENTITY: web.RequestKey[Identity] = web.RequestKey("identity", Identity)
REQUEST_ID: web.RequestKey[str] = web.RequestKey("request_id", str)
JOB_ID: web.RequestKey[str] = web.RequestKey("job_id", str)
BODY: web.RequestKey[bytes] = web.RequestKey("body", bytes)
"""What `read_body` has read."""
ADDRESS: web.RequestKey[str] = web.RequestKey("address", str)
ALLOWANCE: web.RequestKey[Allowance] = web.RequestKey("allowance", Allowance)
"""What is left of the caller's limit."""
AWAITS_CONTINUE: web.RequestKey[bool] = web.RequestKey("awaits_continue", bool)
"""Whether the client waits for `100 Continue` before it sends the body. Missing where it sent no `Expect`."""
