"""What needs no connection: the keys that sign tokens and keep secrets, and the ports."""

import urllib.request
from collections.abc import Iterator
from contextlib import suppress

import jwt

from core.settings import MINIMUM_SECRET_BYTES, SYMMETRIC_ALGORITHMS, Settings
from ops.check.findings import Finding, fault, note, ok
from ops.ports import port_is_free


def check_key(settings: Settings) -> Finding:
    """Signs a token, which a key of the wrong kind cannot."""
    algorithm = settings.jwt_algorithm
    try:
        jwt.encode({"sub": "check"}, settings.signing_key(), algorithm=algorithm)
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        return fault(
            "tokens",
            f"{algorithm} cannot sign with the key: {error}",
            "put a private key (PEM) of that kind into JWT_KEY_FILE",
        )
    if (
        algorithm in SYMMETRIC_ALGORITHMS
        and settings.in_development
        and len(settings.jwt_secret_key.encode()) < MINIMUM_SECRET_BYTES
    ):
        return note("tokens", f"{algorithm} with a short secret", "good for development; production refuses it")
    return ok("tokens", f"{algorithm} signs")


def check_secrets(settings: Settings) -> Finding:
    """Whether channels can be made; a key that is none is a fault of the settings already."""
    if settings.secrets_key:
        return ok("secrets", "addresses of channels are encrypted under SECRETS_KEY")
    if settings.encryption_keys:
        return note(
            "secrets",
            "JWT_SECRET_KEY stands in for SECRETS_KEY",
            "good for development; in production nobody can make a channel without SECRETS_KEY",
        )
    return note(
        "secrets",
        "without SECRETS_KEY nobody can make a channel",
        "make one with: openssl rand -base64 48",
    )


def check_ports(settings: Settings) -> Iterator[Finding]:
    if port_is_free(settings.port, settings.host):
        yield ok("port", f"{settings.port} of {settings.host} is free for the API")
    elif _is_tenfold(settings):
        yield ok("port", f"{settings.port} of {settings.host} is served by Tenfold")
    else:
        yield fault(
            "port",
            f"{settings.port} of {settings.host} is in use",
            "stop what uses it, or choose another PORT",
        )


def _is_tenfold(settings: Settings) -> bool:
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)  # noqa: S104
    with (
        suppress(OSError, ValueError),
        urllib.request.urlopen(f"http://{host}:{settings.port}/health/live", timeout=2) as answer,
    ):
        return bool(answer.status == 200)
    return False
