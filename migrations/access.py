"""Who may do what, as far as it is not part of the schema: the key of identities, logins of both tiers, and PUBLIC.

None of this is kept by a dump or a copy of the database, or it depends on the settings: it is done again with each
`tenfold migrate`.

Long because all rights are to be read in one go.
"""

import asyncio
import base64
import hashlib
import hmac
import secrets
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

import asyncpg

from core.database.pools import API_ROLE, WORKER_ROLE
from core.database.rights import NOBODYS, ONLY_WORKERS
from core.identity import IdentityKey
from core.settings import Settings

CONNECT_SECONDS = 10.0

MARK = "login of Tenfold's database "
"""Begins the comment on a login, before the name of the database that it was made for: others' are left alone."""


@dataclass(frozen=True, slots=True)
class Login:
    """A tier's login, as its URL names it.

    Attributes:
        variable: that holds the URL.
        role: whose rights it has.
        password: None where the URL has none.
    """

    variable: str
    role: str
    name: str
    password: str | None = field(repr=False)

    @property
    def reads_only(self) -> bool:
        return self.role == API_ROLE


@dataclass(slots=True)
class Access:
    """What was done, and what was left.

    Attributes:
        done: in a few words each.
        known: what the operator should know.
        wanted: SQL for somebody who may make roles, without which the tiers cannot log in.
        advised: SQL for a superuser, which takes away what an owner cannot.
        made_logins: whether one was made.
    """

    done: list[str] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    wanted: list[str] = field(default_factory=list)
    advised: list[str] = field(default_factory=list)
    made_logins: bool = False


def logins_of(settings: Settings) -> list[Login]:
    """The logins that the settings name.

    Raises:
        ValueError: a URL names the owner's, or the other tier's.
    """
    found: list[Login] = []
    owner = urlsplit(settings.owner_url).username
    for variable, role, url in (
        ("API_DATABASE_URL", API_ROLE, settings.api_database_url),
        ("WORKER_DATABASE_URL", WORKER_ROLE, settings.worker_database_url),
    ):
        if url is None:
            continue
        parts = urlsplit(url)
        if not parts.username:
            raise ValueError(f"{variable} names no login: give it as postgresql://user:password@host:5432/tenfold")
        name = unquote(parts.username)
        if parts.username == owner:
            raise ValueError(f"{variable} names {name}: it should be a login of its own")
        if name in (other.name for other in found):
            raise ValueError(f"API_DATABASE_URL and WORKER_DATABASE_URL both name {name}: give each a login of its own")
        found.append(Login(variable, role, name, None if parts.password is None else unquote(parts.password)))
    return found


async def missing_roles(settings: Settings) -> list[str]:
    """SQL for the tiers' roles where the owner may not make them, or not take one that is there; none where it may.

    Roles belong to the whole server: those that are there may have been made by another installation's owner, and
    who may make roles may still not grant those.

    Raises:
        ValueError: a login of the settings must not be used; nothing was changed yet.
    """
    async with _connected(settings) as owner:
        found = {login: await _role_of(owner, login) for login in logins_of(settings)}
        for login, role in found.items():
            await _require_own(settings, login, role)
        tiers = {name: await owner.fetchrow(_TIER, name) for name in (API_ROLE, WORKER_ROLE)}
        makes_roles = await _makes_roles(owner)
        if all(makes_roles if tier is None else tier["is_ours"] or tier["grants"] for tier in tiers.values()):
            return []
        me = quoted(await owner.fetchval("SELECT current_user"))
        wanted = []
        for name, tier in tiers.items():
            if tier is None:
                wanted.append(f"CREATE ROLE {name} NOLOGIN;")
            if tier is None or not tier["is_ours"]:
                wanted.append(f"GRANT {name} TO {me};")
        for login, role in found.items():
            wanted += await _for_operators(owner, login, role is not None)
        return wanted


_TIER = """
SELECT pg_has_role(oid, 'SET') AS is_ours, pg_has_role(oid, 'MEMBER WITH ADMIN OPTION') AS grants
FROM   pg_roles
WHERE  rolname = $1
"""


async def give_access(settings: Settings, *, forget_keys: bool = False) -> Access:
    """Brings the key, the logins and PUBLIC's rights in line with the settings; the schema is the newest.

    Args:
        forget_keys: from now on only the settings' key is good.

    Raises:
        ValueError: a login of the settings must not be used, or there is no key.
    """
    access = Access()
    async with _connected(settings) as owner:
        await _write_key(owner, IdentityKey.of(settings), access, forget_keys=forget_keys)
        await _close_to_public(owner)
        for login in logins_of(settings):
            await _give_login(settings, owner, login, access)
        await _close_catalogue(owner, access)
    return access


async def close_catalogue(superuser_url: str) -> None:
    """Takes away what only a superuser can; for those who have one at hand.

    Args:
        superuser_url: of the database that was migrated.
    """
    superuser = await asyncpg.connect(superuser_url, timeout=CONNECT_SECONDS)
    try:
        for statement in await _open_catalogue(superuser):
            await superuser.execute(statement)
    finally:
        await superuser.close()


# -- the key


async def _write_key(owner: asyncpg.Connection, key: IdentityKey, access: Access, *, forget_keys: bool) -> None:
    inner, outer = key.pads
    status = await owner.execute(
        """
        INSERT INTO identity_keys AS k (id, inner_pad, outer_pad) VALUES ($1, $2, $3)
        ON CONFLICT (id) DO UPDATE SET inner_pad = excluded.inner_pad, outer_pad = excluded.outer_pad
        WHERE (k.inner_pad, k.outer_pad) <> (excluded.inner_pad, excluded.outer_pad)
        """,
        key.id,
        inner,
        outer,
    )
    if status == "INSERT 0 1":
        access.done.append(f"the database knows the key {key.id} of identities")
    if forget_keys:
        status = await owner.execute("DELETE FROM identity_keys WHERE id <> $1", key.id)
        access.done.append(f"forgot {_other_keys(int(status.rpartition(' ')[2]))}")
    elif others := await owner.fetchval("SELECT count(*) FROM identity_keys WHERE id <> $1", key.id):
        access.known.append(f"the database accepts {_other_keys(others)}, too: `--forget-keys` ends that")


def _other_keys(count: int) -> str:
    return f"{count or 'no'} other key{'' if count == 1 else 's'} of identities"


# -- PUBLIC


async def _close_to_public(owner: asyncpg.Connection) -> None:
    """What everybody may do in a database unless somebody says otherwise.

    CONNECT stays: who watches and backs up needs it, and there is nothing that they could do then.
    """
    database = quoted(await owner.fetchval("SELECT current_database()"))
    await owner.execute(f"REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC")
    await owner.execute(f"GRANT TEMPORARY ON DATABASE {database} TO {WORKER_ROLE}")  # imports stage rows in such tables
    await owner.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")


async def _close_catalogue(owner: asyncpg.Connection, access: Access) -> None:
    statements = await _open_catalogue(owner)
    if await owner.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user"):
        for statement in statements:
            await owner.execute(statement)
        if statements:
            access.done.append("large objects and advisory locks are not for everybody any more")
    else:
        access.advised += statements


async def _open_catalogue(connection: asyncpg.Connection) -> list[str]:
    """SQL that closes what of the catalogue's functions everybody may execute, and nobody should.

    The owner keeps all of it, workers their locks, and who watches over all sessions may end one.
    """
    rows = await connection.fetch(
        """
        SELECT p.oid::regprocedure::text AS function, p.proname ~ $1 AS is_for_workers
        FROM   pg_proc AS p
        WHERE  p.pronamespace = 'pg_catalog'::regnamespace
        AND    (p.proname ~ $1 OR p.proname ~ $2)
        AND    (p.proacl IS NULL OR EXISTS (SELECT FROM aclexplode(p.proacl) AS a WHERE a.grantee = 0))
        ORDER  BY 1
        """,
        ONLY_WORKERS,
        NOBODYS,
    )
    if not rows:
        return []
    every = ", ".join(row["function"] for row in rows)
    for_workers = ", ".join(row["function"] for row in rows if row["is_for_workers"])
    for_operators = ", ".join(row["function"] for row in rows if row["function"].endswith("_backend(integer)"))
    owner = quoted(
        await connection.fetchval("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()")
    )
    statements = [f"REVOKE EXECUTE ON FUNCTION {every} FROM PUBLIC;"]
    statements.append(f"GRANT EXECUTE ON FUNCTION {every} TO {owner};")
    if for_workers:
        statements.append(f"GRANT EXECUTE ON FUNCTION {for_workers} TO {WORKER_ROLE};")
    if for_operators:
        statements.append(f"GRANT EXECUTE ON FUNCTION {for_operators} TO pg_signal_backend;")
    return statements


# -- logins


async def _give_login(settings: Settings, owner: asyncpg.Connection, login: Login, access: Access) -> None:
    role = await _role_of(owner, login)
    await _require_own(settings, login, role)
    try:
        async with owner.transaction():
            if role is None:
                await owner.execute(f"CREATE ROLE {quoted(login.name)} LOGIN")
            elif not role["rolcanlogin"]:
                await owner.execute(f"ALTER ROLE {quoted(login.name)} LOGIN")
            if role is None or not role["is_member"]:
                await owner.execute(f"GRANT {login.role} TO {quoted(login.name)}")
            if role is None or not await _gets_in(settings, login):
                if login.password is not None:
                    await owner.execute(await _password_statement(owner, login))
                if role is None or role["may_be_marked"]:
                    await owner.execute(await _mark(owner, login))
                access.done.append(
                    f"{'made' if role is None else 'changed'} the login {login.name} of {login.variable}"
                )
            if login.reads_only and (role is None or not role["is_read_only"]):
                await owner.execute(f"ALTER ROLE {quoted(login.name)} SET default_transaction_read_only = on")
        access.made_logins |= role is None
    except asyncpg.InsufficientPrivilegeError:
        if role is None or not role["is_member"] or not role["rolcanlogin"] or not await _gets_in(settings, login):
            access.wanted += await _for_operators(owner, login, role is not None)
        else:
            access.advised.append(_read_only(login))


async def _require_own(settings: Settings, login: Login, role: asyncpg.Record | None) -> None:
    if role is None:
        return
    named = f"{login.variable} names {login.name}, which is"
    if role["others"]:
        raise ValueError(f"{named} a member of {', '.join(role['others'])}: name another login")
    if role["is_mighty"]:
        raise ValueError(f"{named} more than a tier may be: name another login")
    if role["elsewhere"] and not await _gets_in(settings, login):
        raise ValueError(
            f"{named} the login of the database {role['elsewhere']} and has another password there: "
            f"choose another name in {login.variable}"
        )


async def _role_of(owner: asyncpg.Connection, login: Login) -> asyncpg.Record | None:
    return await owner.fetchrow(_ROLE, login.name, login.role, MARK)


_ROLE = """
SELECT r.rolcanlogin, r.rolsuper OR r.rolbypassrls OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication
       OR EXISTS (SELECT FROM pg_database AS d WHERE d.datdba = r.oid)
       OR EXISTS (SELECT FROM pg_class AS c WHERE c.relowner = r.oid) AS is_mighty,
       ARRAY(SELECT other.rolname::text FROM pg_auth_members AS m JOIN pg_roles AS other ON other.oid = m.roleid
             WHERE  m.member = r.oid AND other.rolname <> $2) AS others,
       r.rolname = $2 OR EXISTS (SELECT FROM pg_auth_members AS m JOIN pg_roles AS tier ON tier.oid = m.roleid
                                 WHERE  m.member = r.oid AND tier.rolname = $2 AND m.inherit_option) AS is_member,
       EXISTS (SELECT FROM pg_db_role_setting AS s
               WHERE  s.setrole = r.oid AND s.setdatabase = 0
               AND    'default_transaction_read_only=on' = ANY (s.setconfig)) AS is_read_only,
       (SELECT d.datname::text FROM pg_database AS d
        WHERE  d.datname <> current_database() AND c.comment = $3 || d.datname) AS elsewhere,
       c.comment IS NULL OR starts_with(c.comment, $3) AS may_be_marked
FROM   pg_roles AS r
CROSS  JOIN LATERAL shobj_description(r.oid, 'pg_authid') AS c(comment)
WHERE  r.rolname = $1
"""


async def _gets_in(settings: Settings, login: Login) -> bool:
    """Whether it can log in as it is: its password is left alone then, which poolers may have a digest of."""
    try:
        connection = await asyncpg.connect(
            settings.owner_url, user=login.name, password=login.password or "", timeout=CONNECT_SECONDS
        )
    except asyncpg.PostgresError:
        return False
    await connection.close()
    return True


async def _password_statement(owner: asyncpg.Connection, login: Login) -> str:
    assert login.password is not None
    # Hashed here, lest the server's log hold it; how other letters than ASCII's are prepared, the server knows better.
    password = login.password
    if password.isascii():
        password = scram_verifier(password, iterations=int(await owner.fetchval("SHOW scram_iterations")))
    literal: str = await owner.fetchval("SELECT quote_literal($1::text)", password)
    return f"ALTER ROLE {quoted(login.name)} PASSWORD {literal}"


def scram_verifier(password: str, *, iterations: int, salt: bytes | None = None) -> str:
    """What PostgreSQL keeps of a password (RFC 5803): nobody can log in with it."""
    salt = secrets.token_bytes(16) if salt is None else salt
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    encoded = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${iterations}:{encoded[0]}${encoded[1]}:{encoded[2]}"


async def _mark(owner: asyncpg.Connection, login: Login) -> str:
    comment = await owner.fetchval("SELECT quote_literal($1::text || current_database())", MARK)
    return f"COMMENT ON ROLE {quoted(login.name)} IS {comment}"


async def _for_operators(owner: asyncpg.Connection, login: Login, is_there: bool) -> list[str]:
    name = quoted(login.name)
    statements = [f"{'ALTER' if is_there else 'CREATE'} ROLE {name} LOGIN PASSWORD 'the password of {login.variable}';"]
    if not is_there:
        statements.append(f"{await _mark(owner, login)};")
    if login.name != login.role:
        statements.append(f"GRANT {login.role} TO {name};")
    if login.reads_only:
        statements.append(_read_only(login))
    return statements


def _read_only(login: Login) -> str:
    return f"ALTER ROLE {quoted(login.name)} SET default_transaction_read_only = on;"


def quoted(name: str) -> str:
    """An identifier of SQL."""
    return '"' + name.replace('"', '""') + '"'


async def _makes_roles(owner: asyncpg.Connection) -> bool:
    return bool(await owner.fetchval("SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user"))


@asynccontextmanager
async def _connected(settings: Settings) -> Any:
    connection = await asyncpg.connect(
        settings.owner_url,
        timeout=CONNECT_SECONDS,
        server_settings={"application_name": "tenfold migrate", "timezone": "UTC"},
    )
    try:
        yield connection
    finally:
        await connection.close()


def give_access_now(settings: Settings, *, forget_keys: bool = False) -> Access:
    """`give_access`, for those without an event loop."""
    return asyncio.run(give_access(settings, forget_keys=forget_keys))
