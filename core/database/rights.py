"""What a tier's login may do in PostgreSQL, and whether the database accepts the identities that the API signs.

Asked at start-up, by `/health/ready` and by `tenfold check`. A login that is the owner, a superuser or more than its
tier makes row-level security and the signature worthless.
"""

from dataclasses import dataclass

import sqlalchemy as sa

from core.database.pools import API_ROLE, WORKER_ROLE, AnyPool
from core.database.read_pool import ReadPool
from core.database.reads import fetch_row, within
from core.database.schema import metadata
from core.errors import DatabaseUnavailable, IdentityRefused, SchemaUnready
from core.logs import get_logger
from core.server_urls import place
from core.settings import Settings, SettingsError, Tier

# Written by `tenfold migrate` alone. The key is kept as it is needed: padded, and combined with the pads of RFC 2104.
identity_keys = sa.Table(
    "identity_keys",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("inner_pad", sa.LargeBinary, nullable=False),
    sa.Column("outer_pad", sa.LargeBinary, nullable=False),
    sa.Column("made_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.CheckConstraint("length(inner_pad) = 64", name="inner_pad"),
    sa.CheckConstraint("length(outer_pad) = 64", name="outer_pad"),
)

ROLES: dict[Tier, str] = {"API": API_ROLE, "WORKER": WORKER_ROLE}

_STANDING = """
SELECT r.rolname::text AS login, quote_ident(r.rolname) AS quoted, session_user <> current_user AS is_assumed,
       r.rolsuper AS is_superuser, r.rolbypassrls AS passes_policies,
       r.rolcreaterole OR r.rolcreatedb OR r.rolreplication AS manages,
       EXISTS (SELECT FROM pg_database AS d WHERE d.datname = current_database() AND d.datdba = r.oid)
       OR EXISTS (SELECT FROM pg_class AS c WHERE c.relowner = r.oid AND c.relnamespace = 'public'::regnamespace)
       AS is_owner,
       ARRAY(SELECT quote_ident(other.rolname) FROM pg_roles AS other
             WHERE  other.rolname NOT IN (r.rolname, $1) AND pg_has_role(r.oid, other.oid, 'MEMBER')
             ORDER  BY other.rolname) AS others,
       EXISTS (SELECT FROM pg_roles AS tier WHERE tier.rolname = $1 AND pg_has_role(r.oid, tier.oid, 'USAGE'))
       AS is_of_tier,
       to_regclass('public.tasks') IS NOT NULL AS has_tables,
       EXISTS (SELECT FROM pg_class AS c
               WHERE  c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v')
               AND    (has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
                       OR has_any_column_privilege(c.oid, 'INSERT, UPDATE'))) AS writes,
       has_database_privilege(current_database(), 'TEMPORARY') AS makes_temporary_tables,
       has_schema_privilege('public', 'CREATE') AS makes_tables,
       current_setting('default_transaction_read_only')::boolean AS is_read_only,
       ARRAY(SELECT DISTINCT p.proname::text
             FROM   pg_proc AS p
             WHERE  p.pronamespace = 'pg_catalog'::regnamespace AND p.proname ~ $2
             AND    has_function_privilege(p.oid, 'EXECUTE')
             ORDER  BY 1) AS open_functions
FROM   pg_roles AS r
WHERE  r.rolname = session_user
"""

ONLY_WORKERS = "^pg_(try_)?advisory_"
"""The functions of advisory locks, which the API has no use for: a regular expression of names in `pg_catalog`."""

NOBODYS = "^(lo_|lowrite$|loread$|pg_(cancel|terminate)_backend$)"
"""Those of large objects, which a SELECT can fill the disk with, and those that end what others do."""

LOOK_SECONDS = 3.0
MISSING_SCHEMA = "the schema is missing: run `tenfold migrate`"

log = get_logger()

_FAULT = "SELECT identity_fault($1) AS fault"

_IDENTITY_FAULTS = {
    "key": "the database does not know the key of this service's identities: if the key was replaced, give this "
    "service the new one; else run `tenfold migrate` with its settings",
    "clock": "the clocks of this machine and of the database are more than an hour apart: set both by NTP",
    "signature": "what the database holds of this service's key was changed: run `tenfold migrate` with its settings",
}


@dataclass(frozen=True, slots=True)
class Standing:
    """What is wrong with a login.

    Attributes:
        login: its name.
        faults: why it is more, or less, than its tier should be, each with what to do.
        gaps: what it could do besides, each in a few words; no reason to refuse it.
        has_tables: whether there is a schema at all.
        works: whether the tier can do its work with it; too much is no hindrance.
    """

    login: str
    faults: tuple[str, ...]
    gaps: tuple[str, ...]
    has_tables: bool
    works: bool


async def read_standing(pool: AnyPool, tier: Tier) -> Standing:
    """Looks at what the login of a tier's pool is and may do.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    row = await fetch_row(pool, _STANDING, ROLES[tier], f"{ONLY_WORKERS}|{NOBODYS}" if tier == "API" else NOBODYS)
    assert row is not None, "whoever is connected is a role"
    login, own = row["login"], f"a login of its own in {tier}_DATABASE_URL, and run `tenfold migrate`, which makes it"
    faults = []
    if row["is_superuser"]:
        faults.append(f"{login} is a superuser: give {tier.lower()} {own}")
    elif row["is_owner"]:
        faults.append(f"{login} owns the database: give {tier.lower()} {own}")
    else:
        if row["passes_policies"]:
            faults.append(f"{login} passes by row-level security: ALTER ROLE {row['quoted']} NOBYPASSRLS")
        if row["manages"]:
            faults.append(f"{login} may make roles or databases, or replicate: use a login that may not")
        if row["others"]:
            others = ", ".join(row["others"])
            faults.append(
                f"{login} is a member of {others}, and should be one of {ROLES[tier]} alone: "
                f"REVOKE {others} FROM {row['quoted']}, or name another login"
            )
    if tier == "API" and row["writes"] and not faults:
        faults.append(f"{login} may write: the API only reads")
    # Of a login that is somebody else's, that is no fault but what to expect.
    if row["has_tables"] and not (row["is_of_tier"] or row["is_owner"] or row["others"]):
        faults.append(f"{login} is no member of {ROLES[tier]}: run `tenfold migrate`")
    return Standing(login, tuple(faults), _gaps(tier, dict(row)), row["has_tables"], row["is_of_tier"])


def _gaps(tier: Tier, row: dict[str, object]) -> tuple[str, ...]:
    functions = row["open_functions"]
    assert isinstance(functions, list)
    gaps = []
    if row["makes_tables"]:
        gaps.append("can make tables in the schema public")
    if tier == "API" and row["makes_temporary_tables"]:
        gaps.append("can make temporary tables")
    if tier == "API" and not row["is_read_only"] and not row["is_assumed"]:
        gaps.append("has transactions that are not read-only by default")
    if functions:
        gaps.append(f"can execute {', '.join(functions[:3])}{f' and {len(functions) - 3} more' * (len(functions) > 3)}")
    return tuple(gaps)


async def look_at_login(settings: Settings, pool: AnyPool, tier: Tier) -> Standing | None:
    """At start-up: says in one line what keeps the tier from its work; None where the login cannot be looked at.

    Nothing but too powerful a login keeps it from starting: what is away or not migrated yet is waited for.

    Raises:
        SettingsError: the login is not what it should be, in production.
    """
    own = settings.api_database_url if tier == "API" else settings.worker_database_url
    variable = f"{tier}_DATABASE_URL" if own else "DATABASE_URL"
    try:
        standing = await within(LOOK_SECONDS, read_standing(pool, tier))
    except IdentityRefused as error:
        log.error(
            f"the login of {variable} is not let in: correct it, or run `tenfold migrate`", fault=str(error.__cause__)
        )
    except SchemaUnready:
        log.error(MISSING_SCHEMA)
    except DatabaseUnavailable as error:
        log.warning(
            f"the database of {variable} cannot be reached",
            server=place(own or settings.owner_url),
            fault=str(error.__cause__ or error),
        )
    else:
        refuse_or_tell(settings, tier, standing)
        if not standing.has_tables:
            log.error(MISSING_SCHEMA)
        return standing
    return None


def refuse_or_tell(settings: Settings, tier: Tier, standing: Standing) -> None:
    """At start-up: in development a warning says what is wrong with the login.

    Raises:
        SettingsError: something is, in production.
    """
    if standing.faults and not settings.in_development:
        raise SettingsError([f"{tier}_DATABASE_URL: {fault}" for fault in standing.faults])
    for fault in standing.faults:
        log.warning("the database login is not what it should be", tier=tier.lower(), fault=fault)


async def identity_fault(pool: ReadPool) -> str | None:
    """Why the database refuses what the API signs, and what to do; None where it does not.

    Raises:
        DatabaseUnavailable: the database cannot answer; `SchemaUnready`: it does not know identities yet.
    """
    row = await fetch_row(pool, _FAULT, pool.identities.user(0))
    assert row is not None, "a function has a result"
    return None if row["fault"] is None else _IDENTITY_FAULTS[row["fault"]]
