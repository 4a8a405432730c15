"""Seals what must not be readable in a stolen table: AES-256-GCM under SECRETS_KEY."""

import hashlib
import hmac
import os
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from core.errors import SecretsUnavailable
from core.settings import Settings

_VERSION = b"\x01"
_KEY_ID_BYTES = 4
_NONCE_BYTES = 12
KEY_BYTES = len(_VERSION) + _KEY_ID_BYTES
"""How many bytes at a sealed text's beginning tell its key."""
_HEAD_BYTES = len(_VERSION) + _KEY_ID_BYTES + _NONCE_BYTES


class SecretBox:
    """Seals texts with the first key, and opens what any of the keys has sealed, so that keys can be replaced.

    A sealed text is bound to its user and its purpose: moved to another row it cannot be opened.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._ciphers = {_key_id(key): AESGCM(_derived(key, b"encryption")) for key in keys}
        self._newest = _key_id(keys[0]) if keys else b""
        self._derivation_key = _derived(keys[0], b"derivation") if keys else b""

    @classmethod
    def of(cls, settings: Settings) -> "SecretBox":
        return cls(settings.encryption_keys)

    @property
    def is_locked(self) -> bool:
        """Whether there is no key, so that nothing can be sealed or opened."""
        return not self._ciphers

    def knows_key_of(self, sealed: bytes) -> bool:
        """Whether a sealed text, or its head, names one of our keys. The text may still have been changed."""
        return sealed[:1] == _VERSION and sealed[1 : 1 + _KEY_ID_BYTES] in self._ciphers

    def seal(self, text: str, *, user_id: int, purpose: str) -> bytes:
        """Version, id of the key, nonce, ciphertext.

        Raises:
            SecretsUnavailable: there is no key.
        """
        self._require_key()
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._ciphers[self._newest].encrypt(nonce, text.encode(), _context(user_id, purpose))
        return _VERSION + self._newest + nonce + sealed

    def open(self, sealed: bytes, *, user_id: int, purpose: str) -> str:
        """The text that `seal` was given for the same user and purpose.

        Raises:
            SecretsUnavailable: its key is not among ours, or it was changed or moved.
        """
        self._require_key()
        if not self.knows_key_of(sealed):
            raise SecretsUnavailable("a secret was sealed under a key that SECRETS_KEY does not hold")
        cipher = self._ciphers[sealed[1 : 1 + _KEY_ID_BYTES]]
        nonce = sealed[_HEAD_BYTES - _NONCE_BYTES : _HEAD_BYTES]
        try:
            return cipher.decrypt(nonce, sealed[_HEAD_BYTES:], _context(user_id, purpose)).decode()
        except InvalidTag:
            raise SecretsUnavailable("a sealed secret was changed, or belongs to another row") from None

    def derive(self, purpose: str, name: str) -> bytes:
        """32 bytes that follow from the newest key and a name: the same for the same name, and not to be guessed.

        Raises:
            SecretsUnavailable: there is no key.
        """
        self._require_key()
        return hmac.digest(self._derivation_key, f"{purpose}:{name}".encode(), "sha256")

    def _require_key(self) -> None:
        if self.is_locked:
            raise SecretsUnavailable("SECRETS_KEY is not set, so nothing can be kept secret here")


def _derived(key: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"tenfold " + purpose).derive(key)


def _key_id(key: bytes) -> bytes:
    return hashlib.sha256(_derived(key, b"key id")).digest()[:_KEY_ID_BYTES]


def _context(user_id: int, purpose: str) -> bytes:
    return f"{purpose}:{user_id}".encode()
