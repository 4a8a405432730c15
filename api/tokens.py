"""Access and refresh tokens: JSON Web Tokens (RFC 7519) with a pinned algorithm.

Nothing of a token is stored. A refresh token names its session and the generation that it stands for; the
sessions table knows which generation is the newest. So a repeated login answers the very same tokens.
"""

import hashlib
import hmac
import time
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from api.identity import Identity
from core.settings import SYMMETRIC_ALGORITHMS, Settings, SettingsError

REMEMBER_SECONDS = 30.0
REMEMBER_UNCHECKED_SECONDS = 5.0
REMEMBER_MAXIMUM = 20_000
TOKEN_MAXIMUM = 4096

_REFRESH_AUDIENCE_SUFFIX = ":refresh"


class TokenInvalid(Exception):
    """The token is not ours, not of this kind, or has expired; the message says which."""


@dataclass(frozen=True, slots=True)
class AccessClaims:
    """What an access token says."""

    user_id: int
    role: str
    expires_at: float
    session: str


@dataclass(frozen=True, slots=True)
class RefreshClaims:
    """What a refresh token says."""

    user_id: int
    session_id: str
    generation: int


class Tokens:
    """Issues and verifies tokens, and remembers verified ones for a short while."""

    def __init__(self, settings: Settings) -> None:
        """
        Raises:
            SettingsError: the key file does not hold a private key that fits the algorithm.
        """
        self._algorithm = settings.jwt_algorithm
        self._issuer = settings.jwt_issuer
        self._access_seconds = settings.access_token_expire_minutes * 60
        key = settings.signing_key()
        self._signing_key: Any = key
        self._verifying_key: Any = key
        if self._algorithm not in SYMMETRIC_ALGORITHMS:
            try:
                self._signing_key = load_pem_private_key(key, password=None)
                self._verifying_key = self._signing_key.public_key()
                self._encode({})
            except (ValueError, TypeError, UnsupportedAlgorithm, jwt.PyJWTError):
                fault = f"JWT_KEY_FILE must hold an unencrypted private key for {self._algorithm}"
                raise SettingsError([f"{fault} ({settings.jwt_key_file})"]) from None
        self._fingerprint_key = hashlib.blake2b(b"tenfold fingerprints" + key, digest_size=32).digest()
        self._job_id_key = hashlib.blake2b(b"tenfold job ids" + key, digest_size=32).digest()
        self._remembered: dict[str | None, tuple[Identity, float, float]] = {}

    @property
    def access_seconds(self) -> int:
        return self._access_seconds

    def fingerprint(self, content: bytes) -> str:
        """A keyed digest of a request: it can be compared, but no password can be guessed from it."""
        return hmac.new(self._fingerprint_key, content, hashlib.sha256).hexdigest()

    def secret_job_id(self, text: str) -> str:
        """The job id that always follows from `text`, and that nobody can work out without our key (UUID version 8)."""
        digest = bytearray(hmac.new(self._job_id_key, text.encode(), hashlib.sha256).digest()[:16])
        digest[6] = 0x80 | digest[6] & 0x0F
        digest[8] = 0x80 | digest[8] & 0x3F
        return str(uuid.UUID(bytes=bytes(digest)))

    # -- issuing ------------------------------------------------------------------------------------------

    def issue_access(
        self, user_id: int, role: str, *, token_id: str, issued_at: datetime, session_id: str | None = None
    ) -> str:
        """An access token; the same arguments give the same token."""
        issued = int(issued_at.timestamp())
        return self._encode(
            {
                "iss": self._issuer,
                "sub": str(user_id),
                "role": role,
                "jti": token_id,
                "iat": issued,
                "exp": issued + self._access_seconds,
                **({} if session_id is None else {"sid": session_id}),
            }
        )

    def issue_refresh(self, user_id: int, session_id: str, generation: int, *, expires_at: datetime) -> str:
        """The refresh token of a session's generation; the same arguments give the same token."""
        return self._encode(
            {
                "iss": self._issuer,
                "aud": self._issuer + _REFRESH_AUDIENCE_SUFFIX,
                "sub": str(user_id),
                "sid": session_id,
                "gen": generation,
                "exp": int(expires_at.timestamp()),
            }
        )

    # -- verifying ----------------------------------------------------------------------------------------

    def verify_access(self, token: str) -> AccessClaims:
        """The claims of an access token.

        Raises:
            TokenInvalid: forged, expired, of another kind, or signed with another algorithm or key.
        """
        claims = self._decode(token, required=["iss", "sub", "role", "jti", "iat", "exp"])
        try:
            expires_at = float(claims["exp"])
        except OverflowError:
            raise TokenInvalid("The token is not valid.") from None
        session = str(claims.get("sid", claims["jti"]))
        return AccessClaims(_user_id(claims), str(claims["role"]), expires_at, session)

    def verify_refresh(self, token: str) -> RefreshClaims:
        """The claims of a refresh token; whether it is still the newest only the sessions table knows.

        Raises:
            TokenInvalid: as `verify_access`.
        """
        claims = self._decode(
            token,
            required=["iss", "aud", "sub", "sid", "gen", "exp"],
            audience=self._issuer + _REFRESH_AUDIENCE_SUFFIX,
        )
        return RefreshClaims(_user_id(claims), str(claims["sid"]), int(claims["gen"]))

    def recall(self, header: str | None) -> Identity | None:
        """Whose token an `Authorization` header holds that was verified a short while ago and has not expired since."""
        found = self._remembered.get(header)
        if found is None:
            return None
        identity, good_until, expires_at = found
        if time.monotonic() >= good_until or time.time() >= expires_at:
            del self._remembered[header]
            return None
        return identity

    def remember(self, header: str, identity: Identity, claims: AccessClaims, *, checked: bool) -> None:
        """Keeps a header whose token was verified for half a minute; for less where its user could not be looked up."""
        if len(self._remembered) >= REMEMBER_MAXIMUM:
            self._remembered.pop(next(iter(self._remembered)))
        seconds = REMEMBER_SECONDS if checked else REMEMBER_UNCHECKED_SECONDS
        self._remembered[header] = (identity, time.monotonic() + seconds, claims.expires_at)

    # -- signing ------------------------------------------------------------------------------------------

    def _encode(self, claims: dict[str, Any]) -> str:
        return jwt.encode(claims, self._signing_key, algorithm=self._algorithm)

    def _decode(self, token: str, *, required: list[str], audience: str | None = None) -> dict[str, Any]:
        if len(token) > TOKEN_MAXIMUM:
            raise TokenInvalid("The token is too long.")
        try:
            return jwt.decode(
                token,
                self._verifying_key,
                algorithms=[self._algorithm],
                issuer=self._issuer,
                audience=audience,
                options={"require": required, "strict_aud": audience is not None},
            )
        except jwt.ExpiredSignatureError:
            raise TokenInvalid("The token has expired.") from None
        except (jwt.PyJWTError, ValueError, TypeError):
            raise TokenInvalid("The token is not valid.") from None


def _user_id(claims: dict[str, Any]) -> int:
    try:
        user_id = int(claims["sub"])
    except (TypeError, ValueError):
        raise TokenInvalid("The token is not valid.") from None
    if not 0 < user_id < 1 << 63:
        raise TokenInvalid("The token is not valid.")
    return user_id
