"""Signed identities: who asks travels inside each statement of the API as a short text that SQL cannot forge.

    v1.<key id>.<subject>.<role>.<projects or *>.<hour>.<64 hex digits of HMAC-SHA256 over all before the last dot>

The policies verify it once a statement, by a function that may read the key; no login of a tier may read it. So whoever
gets a statement of their own into the API can only be the caller. A text is good for the hour in which it was made, the
one before and the one after (hours since 1970, by the clocks of both machines).
"""

import hashlib
import hmac
import time

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from core.settings import SYMMETRIC_ALGORITHMS, Settings

ME = "set_config('app.identity', $1, true) AS me"
"""SQL, for FROM: tells the policies who asks. Whatever reads rows must depend on `me`, or it may run before."""

MY_ID = "split_part(me, '.', 3)::bigint"
"""SQL: the id in the text, to find rows by. It is not verified here: the policy decides what is seen."""

HOUR_SECONDS = 3600
REMEMBER_MAXIMUM = 20_000
_BLOCK_BYTES = 64  # of SHA-256, RFC 2104


class IdentityKey:
    """The key that signs identities. It is derived from the key that signs tokens, so there is no other secret to
    keep."""

    def __init__(self, secret: bytes) -> None:
        """
        Args:
            secret: not empty; 32 bytes or more that nobody can guess.
        """
        if not secret:
            raise ValueError("an identity is never signed with nothing")
        self._key = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"identity v1").derive(secret)
        self.id = hashlib.sha256(b"id" + self._key).hexdigest()[:8]
        """Which key it is; tells nothing of the key."""
        self._mac = hmac.new(self._key, digestmod=hashlib.sha256)

    @classmethod
    def of(cls, settings: Settings) -> "IdentityKey":
        """
        Raises:
            OSError, ValueError, TypeError: the key file cannot be read, or holds no private key without a password.
        """
        secret = settings.signing_key()
        if settings.jwt_algorithm not in SYMMETRIC_ALGORITHMS:
            # The same key can stand in many PEM files: with other line ends, or another wrapping.
            key = load_pem_private_key(secret, password=None)
            secret = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        return cls(secret)

    @property
    def pads(self) -> tuple[bytes, bytes]:
        """The key as the database keeps it: padded, and combined with the inner and the outer pad of RFC 2104."""
        padded = self._key.ljust(_BLOCK_BYTES, b"\0")
        return bytes(byte ^ 0x36 for byte in padded), bytes(byte ^ 0x5C for byte in padded)

    def sign(self, subject: str, role: str, hour: int) -> str:
        """The text for a subject, which holds no dot, in an hour."""
        text = f"v1.{self.id}.{subject}.{role}.*.{hour}"
        mac = self._mac.copy()
        mac.update(text.encode())
        return f"{text}.{mac.hexdigest()}"


class Identities:
    """Signed texts for statements; those of users are kept for their hour."""

    def __init__(self, key: IdentityKey) -> None:
        self._key = key
        self._hour = 0
        self._kept: dict[tuple[int, str], str] = {}

    @classmethod
    def of(cls, settings: Settings) -> "Identities":
        """Raises what `IdentityKey.of` does."""
        return cls(IdentityKey.of(settings))

    def user(self, user_id: int) -> str:
        """For statements about what is the user's own, whatever the user's role."""
        return self._text(user_id, "user")

    def admin(self, user_id: int) -> str:
        """For an admin's statements that span all users, and for no others."""
        return self._text(user_id, "admin")

    def login(self, name: str) -> str:
        """For the credentials of that very name, which a login is checked against."""
        return self._key.sign(hashlib.sha256(name.encode()).hexdigest(), "login", _hour())

    def own_login(self, user_id: int) -> str:
        """For the password's hash of that very user, to check the password."""
        return self._key.sign(str(user_id), "login", _hour())

    def _text(self, user_id: int, role: str) -> str:
        hour = _hour()
        if hour != self._hour or len(self._kept) > REMEMBER_MAXIMUM:
            self._kept = {}
            self._hour = hour
        text = self._kept.get((user_id, role))
        if text is None:
            text = self._kept[user_id, role] = self._key.sign(str(user_id), role, hour)
        return text


def _hour() -> int:
    # Not by core.clock: PostgreSQL compares it with its own clock, which no test can set.
    return int(time.time()) // HOUR_SECONDS
