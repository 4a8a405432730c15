"""URLs of PostgreSQL and of Redis servers, as people paste them: what works is kept, all else refused in a line.

What a driver does not know it hands to the server, or stumbles over when it connects: a process would begin again and
again. So options are looked at once, with the other settings.
"""

import re
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

POSTGRES_SCHEMES = ("postgresql", "postgres", "postgresql+asyncpg")
REDIS_SCHEMES = ("redis", "rediss", "unix")

# What asyncpg reads, and settings of a session.
_POSTGRES_OPTIONS = frozenset(
    {
        *("host", "port", "user", "password", "dbname", "database", "passfile", "service", "servicefile"),
        *("sslmode", "sslcert", "sslkey", "sslrootcert", "sslcrl", "sslpassword", "sslnegotiation"),
        *("ssl_min_protocol_version", "ssl_max_protocol_version", "krbsrvname", "gsslib", "target_session_attrs"),
        *("options", "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "work_mem", "jit"),
    }
)
# Options of libpq that change nothing here: Tenfold names its sessions, and bounds its waits, by itself.
_LEFT_OUT = frozenset(
    {
        *("application_name", "fallback_application_name", "client_encoding", "connect_timeout", "sslcompression"),
        *("sslsni", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"),
    }
)
# Options that may say what is done anyway.
_AS_IT_IS = {
    "channel_binding": {"prefer", "disable"},
    "gssencmode": {"prefer", "disable"},
    "load_balance_hosts": {"disable"},
    "search_path": {"public"},
    "currentSchema": {"public"},
    "schema": {"public"},
}
_CURES = {
    "channel_binding": "the driver has none: leave it out, and use sslmode=verify-full",
    "gssencmode": "connections are encrypted by TLS: use sslmode=verify-full instead",
    "load_balance_hosts": "hosts are tried in their order: leave it out",
    **dict.fromkeys(
        ("search_path", "currentSchema", "schema"), "Tenfold's tables are in the schema public: leave it out"
    ),
    **dict.fromkeys(
        ("statement_cache_size", "prepared_statement_cache_size", "prepared_threshold", "pgbouncer"),
        "PgBouncer in transaction mode needs none (1.21 or later, with max_prepared_statements): leave it out",
    ),
    **dict.fromkeys(("pool_size", "max_overflow", "connection_limit", "pool_timeout"), "use DATABASE_POOL_SIZE"),
    **dict.fromkeys(("ssl", "tls"), "use sslmode=require or sslmode=verify-full"),
}
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_PRIMARY = ("primary", "read-write")
_PORT = re.compile(r":([^:,\]]*)(?=,|$)")
_SEARCH_PATH = re.compile(r"(?:-c\s*|--)search[_-]path\s*=\s*(\S*)")

# redis-py's. Timeouts, sizes and formats are Tenfold's own matter.
_REDIS_OPTIONS = frozenset({"db", "username", "password", "client_name", "protocol"})
_TLS_OPTIONS = frozenset(
    {
        *("ssl_cert_reqs", "ssl_ca_certs", "ssl_ca_data", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname"),
        *("ssl_ciphers", "ssl_min_version"),
    }
)
_REDIS_VALUES = {"protocol": {"2"}, "ssl_cert_reqs": {"none", "optional", "required"}}


def postgres_url(raw: str) -> str:
    """The URL as the driver takes it.

    Raises:
        ValueError: it cannot be used; the text says why, and never quotes a password.
    """
    parts = _split(raw, POSTGRES_SCHEMES)
    options = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name in _LEFT_OUT or value in _AS_IT_IS.get(name, ()):
            continue
        if name not in _POSTGRES_OPTIONS:
            shown = f"{name}={value}" if name in _AS_IT_IS else name
            raise ValueError(f"has the option {shown}, which cannot be used: {_CURES.get(name, 'leave it out')}")
        options[name] = value
    if options.get("sslmode", "disable") not in _SSL_MODES:
        raise ValueError(f"has an sslmode that there is not: choose from {', '.join(_SSL_MODES)}")
    other_path = _SEARCH_PATH.search(options.get("options", ""))
    if other_path and other_path[1].strip("\"'") not in ("public", ""):
        raise ValueError(f"has the option search_path={other_path[1]}, which cannot be used: {_CURES['search_path']}")
    _settle_host(parts, options)
    # Other tools write the driver into the scheme; to us both mean the same server.
    address = "postgresql" + raw.partition("?")[0][len(parts.scheme) :]
    return f"{address}?{urlencode(options)}" if options else address


def _settle_host(parts: SplitResult, options: dict[str, str]) -> None:
    """Of several hosts the primary is looked for: a standby takes no writes, and shows what was.

    `read-write` is asked for as `primary`: the API's login only reads, wherever it is.
    """
    hosts = options.get("host") or parts.netloc.rpartition("@")[2]
    if any(port and not port.isdecimal() for port in _PORT.findall(hosts)):
        raise ValueError("names a port that is no number")
    wanted = options.pop("target_session_attrs", "primary" if "," in hosts else "any")
    if wanted in _PRIMARY or (wanted == "any" and "," in hosts):
        options["target_session_attrs"] = "primary"
    elif wanted != "any":
        raise ValueError(
            f"has the option target_session_attrs={wanted}, which cannot be used: Tenfold reads and writes on the "
            "primary: say target_session_attrs=primary"
        )


def redis_url(raw: str) -> str:
    """The URL of the queue or the cache.

    Raises:
        ValueError: as `postgres_url`.
    """
    scheme = raw.partition(":")[0].lower()
    if "sentinel" in scheme:
        raise ValueError("names Sentinels, which cannot be asked yet: name the primary itself, redis://host:6379/0")
    if "cluster" in scheme:
        raise ValueError("names a cluster, which cannot be used: name one server, redis://host:6379/0")
    parts = _split(raw, REDIS_SCHEMES)
    if scheme != "unix":
        if "," in parts.netloc.rpartition("@")[2]:
            raise ValueError("names several servers: name the primary alone, redis://host:6379/0")
        _require_port(parts)
        if (database := parts.path.strip("/")) and not database.isdecimal():
            raise ValueError("names no number of a database behind the host: give it as redis://host:6379/0")
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name in _TLS_OPTIONS:
            if scheme != "rediss":
                raise ValueError(f"has the option {name}, which needs TLS: begin it with rediss://")
        elif name not in _REDIS_OPTIONS:
            raise ValueError(f"has the option {name}, which cannot be used: leave it out")
        if name in _REDIS_VALUES and value not in _REDIS_VALUES[name]:
            raise ValueError(f"has the option {name}={value}: it can be {' or '.join(sorted(_REDIS_VALUES[name]))}")
        if name == "db" and not value.isdecimal():
            raise ValueError("has an option db that is no number")
    return raw


def place(url: str) -> str:
    """Where a URL points, without names, passwords and options; good for several hosts, too."""
    parts = urlsplit(url)
    return f"{parts.netloc.rpartition('@')[2]}{unquote(parts.path)}"


def _split(raw: str, schemes: tuple[str, ...]) -> SplitResult:
    try:
        parts = urlsplit(raw)
    except ValueError:  # whose text may quote the password
        parts = urlsplit("")
    if parts.scheme not in schemes:
        raise ValueError(f"must be a URL that begins with {' or '.join(s + '://' for s in schemes)}")
    return parts


def _require_port(parts: SplitResult) -> None:
    try:
        _ = parts.port
    except ValueError:
        raise ValueError("names a port that is no number from 0 to 65535") from None
