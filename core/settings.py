"""Every variable of the service: typed, frozen, checked as a whole before anything starts.

`Settings.from_env()` is the only reader of the environment. A bad value stops the start with one line
per fault, so that an operator mends all of them in one go.

Long because it is one list: a variable, its check and what depends on it stand together.
"""

import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from core import server_urls

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MINIMUM_SECRET_BYTES = 32
MINIMUM_DISTINCT_CHARACTERS = 8
# Words of tutorials and sample files. In 32 random characters none of these occurs by chance.
PLACEHOLDER_WORDS = ("secret", "change", "password", "example", "replace", "insecure", "jwt-key", "12345678")
SYMMETRIC_ALGORITHMS = frozenset({"HS256", "HS384", "HS512"})
ASYMMETRIC_ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "EdDSA"})


class SettingsError(Exception):
    """The settings are unusable; `faults` holds one line for each thing to mend."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


def _text(raw: str) -> str:
    return raw


def _boolean(raw: str) -> bool:
    lowered = raw.lower()
    if lowered in {"1", "true", "yes", "on"}:
        return True
    if lowered in {"0", "false", "no", "off"}:
        return False
    raise ValueError("must be true or false")


def _integer(minimum: int, maximum: int) -> Callable[[str], int]:
    def parse(raw: str) -> int:
        try:
            value = int(raw)
        except ValueError:
            raise ValueError("must be a whole number") from None
        if not minimum <= value <= maximum:
            raise ValueError(f"must be from {minimum} to {maximum}")
        return value

    return parse


def _seconds(minimum: float, maximum: float) -> Callable[[str], float]:
    def parse(raw: str) -> float:
        try:
            value = float(raw)
        except ValueError:
            raise ValueError("must be a number of seconds") from None
        if not minimum <= value <= maximum:
            raise ValueError(f"must be from {minimum:g} to {maximum:g}")
        return value

    return parse


def _choice(*choices: str) -> Callable[[str], str]:
    def parse(raw: str) -> str:
        if raw not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return raw

    return parse


def _path(raw: str) -> Path:
    return Path(raw).expanduser()


def _storage_url(raw: str) -> str:
    parts = urlsplit(raw)
    if parts.scheme not in _STORAGE_SCHEMES or (parts.scheme != "file" and not parts.netloc):
        raise ValueError("must be a URL such as s3://bucket/prefix, gs://bucket/prefix or file:///srv/tenfold")
    if parts.scheme == "file" and (parts.netloc or not parts.path.strip("/")):
        raise ValueError("must name a folder by its whole path, such as file:///srv/tenfold")
    return raw


def _networks(raw: str) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(part.strip(), strict=False) for part in raw.split(",") if part.strip())
    except ValueError:
        raise ValueError("must be addresses or networks such as 10.0.0.0/8, separated by commas") from None


def _public_url(raw: str) -> str:
    if not _PUBLIC_URL.match(raw):
        raise ValueError("must be a URL such as https://tasks.example.com or https://example.com/tasks")
    return raw.rstrip("/")


def _origins(raw: str) -> tuple[str, ...]:
    origins = tuple(part.strip().lower() for part in raw.split(",") if part.strip())
    if origins != ("*",) and not all(_ORIGIN.match(origin) for origin in origins):
        raise ValueError("must be * or origins such as https://app.example.com, separated by commas")
    return origins


# As browsers write it: without a path, and without the scheme's own port.
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?\Z")
_PUBLIC_URL = re.compile(r"https?://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~-]+)*/?\Z")
_STORAGE_SCHEMES = ("file", "s3", "gs")
_TIERS_URLS = ("API_DATABASE_URL", "WORKER_DATABASE_URL")
Tier = Literal["API", "WORKER"]


def _variable(parse: Callable[[str], Any], *, default: Any = MISSING, secret: bool = False) -> Any:
    metadata = {"parse": parse, "secret": secret}
    if default is MISSING:
        return field(metadata=metadata, repr=not secret)
    return field(default=default, metadata=metadata, repr=not secret)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One field per variable; the variable's name is the field's in capitals. `.env.example` explains each."""

    # the deployment
    tenfold_env: str = _variable(_choice("production", "development"), default="production")
    tenfold_home: Path = _variable(_path, default=Path(".tenfold"))
    log_level: str = _variable(_choice("debug", "info", "warning", "error"), default="info")
    log_format: str = _variable(_choice("auto", "json", "console"), default="auto")

    # PostgreSQL
    database_url: str = _variable(server_urls.postgres_url, secret=True)
    api_database_url: str | None = _variable(server_urls.postgres_url, default=None, secret=True)
    worker_database_url: str | None = _variable(server_urls.postgres_url, default=None, secret=True)
    database_pool_size: int = _variable(_integer(1, 1000), default=20)
    database_timeout_seconds: float = _variable(_seconds(0.1, 600), default=10.0)
    read_timeout_seconds: float = _variable(_seconds(0.1, 600), default=3.0)

    # Redis-protocol servers
    redis_url: str = _variable(server_urls.redis_url, secret=True)
    queue_redis_url: str = _variable(server_urls.redis_url, default="", secret=True)
    cache_ttl_seconds: int = _variable(_integer(0, 86_400), default=60)

    # HTTP
    host: str = _variable(_text, default="127.0.0.1")
    port: int = _variable(_integer(1, 65_535), default=8000)
    worker_metrics_port: int = _variable(_integer(0, 65_535), default=9101)
    max_body_bytes: int = _variable(_integer(1024, 1 << 30), default=1 << 20)
    default_page_size: int = _variable(_integer(1, 100_000), default=100)
    max_page_size: int = _variable(_integer(1, 100_000), default=1000)
    trusted_proxies: tuple[Network, ...] = _variable(_networks, default=())
    public_url: str = _variable(_public_url, default="")
    cors_origins: tuple[str, ...] = _variable(_origins, default=())

    # authentication
    jwt_secret_key: str = _variable(_text, default="", secret=True)
    jwt_algorithm: str = _variable(_choice(*sorted(SYMMETRIC_ALGORITHMS | ASYMMETRIC_ALGORITHMS)), default="HS256")
    jwt_key_file: Path | None = _variable(_path, default=None)
    jwt_issuer: str = _variable(_text, default="tenfold")
    access_token_expire_minutes: int = _variable(_integer(1, 60 * 24 * 30), default=30)
    refresh_token_expire_days: int = _variable(_integer(1, 3650), default=30)
    refresh_grace_seconds: int = _variable(_integer(0, 60), default=10)
    registration_open: bool = _variable(_boolean, default=True)
    password_hash_concurrency: int = _variable(_integer(1, 64), default=2)

    # notifications
    secrets_key: str = _variable(_text, default="", secret=True)
    allow_private_targets: bool = _variable(_boolean, default=False)

    # limits; 0 switches one off
    rate_limit_per_minute: int = _variable(_integer(0, 100_000_000), default=100)
    login_rate_limit_per_minute: int = _variable(_integer(0, 100_000_000), default=10)
    login_rate_limit_per_address_per_minute: int = _variable(_integer(0, 100_000_000), default=30)
    login_rate_limit_per_name_per_hour: int = _variable(_integer(0, 100_000_000), default=100)
    registrations_per_hour: int = _variable(_integer(0, 100_000_000), default=20)

    # quotas of a user; 0 switches one off
    quota_tasks: int = _variable(_integer(0, 1_000_000_000), default=2_000_000)
    quota_channels: int = _variable(_integer(0, 100_000), default=50)
    quota_exports_kept: int = _variable(_integer(0, 1_000_000), default=50)
    quota_stored_bytes: int = _variable(_integer(0, 1 << 50), default=5 << 30)
    quota_waiting_jobs: int = _variable(_integer(0, 1_000_000), default=1000)

    # writes and jobs
    write_lanes: int = _variable(_integer(1, 256), default=1)
    write_wait_seconds: float = _variable(_seconds(0, 60), default=5.0)
    write_lane_max_entries: int = _variable(_integer(1, 10_000_000), default=20_000)
    write_buffer_max_commands: int = _variable(_integer(1, 10_000_000), default=10_000)
    job_retention_hours: int = _variable(_integer(1, 24 * 365), default=24)
    partition_interval: str = _variable(_choice("year", "quarter", "month"), default="year")
    partitions_ahead: int = _variable(_integer(1, 20), default=2)
    event_retention_days: int = _variable(_integer(1, 3650), default=30)

    # reminders
    reminder_digest_over: int = _variable(_integer(1, 1000), default=20)

    # files
    storage_url: str = _variable(_storage_url, default="")
    storage_allow_http: bool = _variable(_boolean, default=False)
    max_import_bytes: int = _variable(_integer(1024, 1 << 40), default=1 << 30)
    export_retention_hours: int = _variable(_integer(1, 24 * 365), default=24)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, *, tier: Tier | None = None) -> "Settings":
        """Reads and checks every variable; an empty value counts as unset.

        Args:
            tier: whose process it is, if a tier's: without any URL of a database it is told which one it needs.

        Raises:
            SettingsError: with one line per fault.
        """
        source = os.environ if environ is None else environ
        values: dict[str, Any] = {}
        faults: list[str] = []
        for variable in fields(cls):
            name = variable.name.upper()
            raw = source.get(name, "").strip()
            if not raw:
                if name == "DATABASE_URL" and any(source.get(url, "").strip() for url in _TIERS_URLS):
                    values[variable.name] = ""  # a tier with a login of its own has no use for the owner's
                elif name == "DATABASE_URL" and tier and values.get("tenfold_env", "production") == "production":
                    faults.append(missing_login(tier))
                elif variable.default is MISSING:
                    faults.append(f"{name} is not set: {MISSING_HINTS[name]}")
                continue
            try:
                values[variable.name] = variable.metadata["parse"](raw)
            except ValueError as error:
                shown = "" if variable.metadata["secret"] else f" (it is {raw!r})"
                faults.append(f"{name} {error}{shown}")
        if not faults:
            values["queue_redis_url"] = values.get("queue_redis_url") or values["redis_url"]
            settings = cls(**values)
            faults = list(settings._contradictions())
            if not faults:
                return settings
        raise SettingsError(faults)

    @property
    def owner_url(self) -> str:
        """The URL of the database's owner. A tier with a login of its own does not need it.

        Raises:
            SettingsError: it is not named.
        """
        if not self.database_url:
            raise SettingsError([f"DATABASE_URL is not set: {MISSING_HINTS['DATABASE_URL']}"])
        return self.database_url

    @property
    def in_development(self) -> bool:
        return self.tenfold_env == "development"

    @property
    def caching(self) -> bool:
        return self.cache_ttl_seconds > 0

    @property
    def storage_location(self) -> str:
        """Where uploads and exports live: STORAGE_URL, else the folder `objects` in TENFOLD_HOME."""
        return self.storage_url or (self.tenfold_home.absolute() / "objects").as_uri()

    @property
    def public_path(self) -> str:
        """The path in PUBLIC_URL, which a proxy may or may not take away: `/tasks`, or nothing."""
        return urlsplit(self.public_url).path

    @property
    def encryption_keys(self) -> tuple[bytes, ...]:
        """What SECRETS_KEY holds, the newest first; in development, where it is not set, JWT_SECRET_KEY stands in."""
        texts = [part.strip() for part in self.secrets_key.split(",") if part.strip()]
        if not texts and self.in_development and self.jwt_secret_key:
            texts = [self.jwt_secret_key]
        return tuple(text.encode() for text in texts)

    def signing_key(self) -> bytes:
        """The key that signs tokens: the shared secret, or the private key's PEM.

        Raises:
            OSError: the key file cannot be read (`from_env` has read it once).
        """
        if self.jwt_algorithm in ASYMMETRIC_ALGORITHMS:
            assert self.jwt_key_file is not None, "from_env refuses this"
            return self.jwt_key_file.read_bytes()
        return self.jwt_secret_key.encode()

    def _contradictions(self) -> list[str]:
        faults: list[str] = []
        if self.default_page_size > self.max_page_size:
            faults.append(
                f"DEFAULT_PAGE_SIZE ({self.default_page_size}) must not exceed MAX_PAGE_SIZE ({self.max_page_size})"
            )
        if self.jwt_algorithm in SYMMETRIC_ALGORITHMS:
            faults.extend(self._secret_faults())
        elif self.jwt_key_file is None:
            faults.append(f"JWT_KEY_FILE is not set: {self.jwt_algorithm} signs with a private key in a PEM file")
        else:
            try:
                self.signing_key()
            except OSError as error:
                faults.append(f"JWT_KEY_FILE cannot be read: {error.strerror} ({self.jwt_key_file})")
        if not self.in_development and any(_is_guessable(key.decode()) for key in self.encryption_keys):
            faults.append(
                f"SECRETS_KEY is shorter than {MINIMUM_SECRET_BYTES} bytes or guessable: "
                "make one with: openssl rand -base64 48"
            )
        return faults

    def _secret_faults(self) -> list[str]:
        if self.in_development:
            return [] if self.jwt_secret_key else ["JWT_SECRET_KEY is not set: any text will do in development"]
        hint = "make one with: openssl rand -base64 48"
        if not self.jwt_secret_key:
            return [f"JWT_SECRET_KEY is not set: {hint}"]
        if len(self.jwt_secret_key.encode()) < MINIMUM_SECRET_BYTES:
            return [f"JWT_SECRET_KEY is shorter than {MINIMUM_SECRET_BYTES} bytes: {hint}"]
        if _is_guessable(self.jwt_secret_key):
            return [f"JWT_SECRET_KEY is a well-known or guessable value: {hint}"]
        return []


def _is_guessable(secret: str) -> bool:
    letters = secret.lower()
    return (
        len(secret.encode()) < MINIMUM_SECRET_BYTES
        or len(set(letters)) < MINIMUM_DISTINCT_CHARACTERS
        or any(word in letters for word in PLACEHOLDER_WORDS)
    )


# What a process needs to run Python. Nothing of ours: no address of a database, no key.
_FOR_ANY_PROCESS = ("PATH", "LANG", "LC_ALL", "SSL_CERT_FILE", "SSL_CERT_DIR", "LD_LIBRARY_PATH")


def bare_environment() -> dict[str, str]:
    """The environment of a process that runs other people's code."""
    return {name: os.environ[name] for name in _FOR_ANY_PROCESS if name in os.environ}


MISSING_HINTS = {
    "DATABASE_URL": "give it as postgresql://user:password@host:5432/tenfold",
    "REDIS_URL": "give it as redis://host:6379/0",
}


def missing_login(tier: Tier) -> str:
    """The fault of settings that name no login for a tier."""
    example = f"postgresql://tenfold_{tier.lower()}_login:PASSWORD@host:5432/tenfold"
    return (
        f"{tier}_DATABASE_URL is not set: name a login of its own in it, such as {example}, "
        "and run `tenfold migrate`, which makes it"
    )
