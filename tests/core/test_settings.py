"""Settings: every fault is told, in one line each, and none of them shows a secret; .env.example keeps up."""

import re
from dataclasses import MISSING, fields
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values

from core.settings import Settings, SettingsError, Tier

EXAMPLE = Path(__file__).parents[2] / ".env.example"
GOOD_SECRET = "kV0m2/8qZrX7cTn4yLwS1uHgBfJeDaPo"
REQUIRED = {
    "DATABASE_URL": "postgresql://tenfold:hunter2@db.internal:5432/tenfold",
    "REDIS_URL": "redis://:hunter2@cache.internal:6379/0",
    "JWT_SECRET_KEY": GOOD_SECRET,
}


def settings(**changes: str) -> Settings:
    return Settings.from_env({**REQUIRED, **changes})


def faults(**changes: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        settings(**changes)
    return caught.value.faults


# -- .env.example


def example_variables() -> dict[str, tuple[str, bool]]:
    """Variable → its value in the example, and whether it is commented out."""
    found = {}
    for line in EXAMPLE.read_text().splitlines():
        if match := re.fullmatch(r"(#?)([A-Z][A-Z0-9_]*)=(.*)", line):
            found[match[2]] = (match[3], bool(match[1]))
    return found


def test_the_example_documents_every_variable_and_no_other() -> None:
    assert set(example_variables()) == {field.name.upper() for field in fields(Settings)}


def test_the_example_names_each_variable_once_and_explains_it() -> None:
    lines = EXAMPLE.read_text().splitlines()
    places = [n for n, line in enumerate(lines) if re.match(r"#?[A-Z][A-Z0-9_]*=", line)]
    assert len(places) == len(example_variables())
    assert all(lines[n - 1].startswith("# ") for n in places)


@pytest.mark.parametrize("field", fields(Settings), ids=lambda field: field.name.upper())
def test_the_examples_default_is_the_codes(field: Any) -> None:
    text, commented_out = example_variables()[field.name.upper()]
    assert commented_out
    if field.default is MISSING:
        field.metadata["parse"](text)
        return
    shown = field.metadata["parse"](text) if text else None
    assert shown == (None if field.default in ("", ()) else field.default)


def test_the_example_as_it_stands_changes_nothing() -> None:
    assert not any(dotenv_values(EXAMPLE).values())


def test_the_example_uncommented_is_the_defaults() -> None:
    uncommented = {name: value for name, (value, _) in example_variables().items()}
    spelled_out = Settings.from_env({**uncommented, "JWT_SECRET_KEY": GOOD_SECRET})
    left_out = Settings.from_env(
        {**{k: uncommented[k] for k in ("DATABASE_URL", "REDIS_URL")}, "JWT_SECRET_KEY": GOOD_SECRET}
    )
    assert spelled_out == left_out


# -- reading


def test_the_original_designs_variables_have_its_defaults() -> None:
    found = settings()
    assert (found.database_pool_size, found.jwt_algorithm, found.access_token_expire_minutes) == (20, "HS256", 30)
    assert (found.rate_limit_per_minute, found.default_page_size, found.max_page_size) == (100, 100, 1000)


def test_the_queue_is_the_cache_unless_it_is_named() -> None:
    assert settings().queue_redis_url == REQUIRED["REDIS_URL"]
    assert settings(QUEUE_REDIS_URL="redis://queue:6379").queue_redis_url == "redis://queue:6379"


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg", "Postgres"])
def test_each_form_of_a_postgresql_url_becomes_the_plain_one(scheme: str) -> None:
    found = settings(DATABASE_URL=f"{scheme}://u:p@h:5432/d", API_DATABASE_URL=f"{scheme}://a@h/d?sslmode=require")
    assert found.database_url == "postgresql://u:p@h:5432/d"
    assert found.api_database_url == "postgresql://a@h/d?sslmode=require"


def test_only_the_scheme_of_a_url_is_rewritten() -> None:
    url = "postgresql://u:postgres%3A%2F%2F@h/d?sslrootcert=postgres%3A%2F%2Fx"
    assert settings(DATABASE_URL=url).database_url == url


@pytest.mark.parametrize("variable", ["API_DATABASE_URL", "WORKER_DATABASE_URL"])
def test_a_tier_with_a_login_of_its_own_needs_nothing_of_the_owner(variable: str) -> None:
    found = settings(DATABASE_URL="", **{variable: "postgresql://u@h/d"})
    with pytest.raises(SettingsError, match="DATABASE_URL is not set"):
        _ = found.owner_url


def test_an_empty_variable_counts_as_unset() -> None:
    assert settings(PORT="", QUEUE_REDIS_URL=" ", LOG_LEVEL="") == settings()


def test_values_are_trimmed() -> None:
    assert settings(PORT=" 9000 ", REGISTRATION_OPEN=" off\n").port == 9000


@pytest.mark.parametrize(("text", "meant"), [("true", True), ("1", True), ("ON", True), ("no", False), ("0", False)])
def test_a_boolean_can_be_written_in_several_ways(text: str, meant: bool) -> None:
    assert settings(REGISTRATION_OPEN=text).registration_open is meant


def test_proxies_are_a_list_with_commas() -> None:
    proxies = settings(TRUSTED_PROXIES="10.0.0.0/8, 192.168.1.5,").trusted_proxies
    assert proxies == (ip_network("10.0.0.0/8"), ip_network("192.168.1.5/32"))


@pytest.mark.parametrize(
    ("text", "meant", "path"),
    [
        ("https://tasks.example.com", "https://tasks.example.com", ""),
        ("https://tasks.example.com/", "https://tasks.example.com", ""),
        ("http://example.com:8080/ten/fold/", "http://example.com:8080/ten/fold", "/ten/fold"),
        ("http://[2001:db8::1]/x", "http://[2001:db8::1]/x", "/x"),
    ],
)
def test_a_public_url_may_have_a_path(text: str, meant: str, path: str) -> None:
    found = settings(PUBLIC_URL=text)
    assert (found.public_url, found.public_path) == (meant, path)


@pytest.mark.parametrize(
    "url",
    ["tasks.example.com", "ftp://example.com", "https://", "https://e.com/?a", "https://e.com//x", "https://u:p@e.com"],
)
def test_what_cannot_stand_before_an_address_is_refused(url: str) -> None:
    [fault] = faults(PUBLIC_URL=url)
    assert fault.startswith("PUBLIC_URL must be a URL such as")


def test_origins_are_a_list_or_all() -> None:
    assert settings().cors_origins == ()
    assert settings(CORS_ORIGINS="*").cors_origins == ("*",)
    origins = settings(CORS_ORIGINS="https://app.example.com, HTTP://localhost:3000,capacitor://localhost").cors_origins
    assert origins == ("https://app.example.com", "http://localhost:3000", "capacitor://localhost")


@pytest.mark.parametrize("origins", ["app.example.com", "https://a.com/", "https://a.com/x", "*,https://a.com", "null"])
def test_what_is_no_origin_as_a_browser_writes_it_is_refused(origins: str) -> None:
    [fault] = faults(CORS_ORIGINS=origins)
    assert fault.startswith("CORS_ORIGINS must be * or origins such as")


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        settings().port = 1  # type: ignore[misc]


# -- faults


def test_every_fault_is_told_at_once_in_a_line_each() -> None:
    found = faults(DATABASE_URL="", REDIS_URL="http://x", PORT="eighty", LOG_LEVEL="loud", MAX_BODY_BYTES="1")
    assert [line.split()[0] for line in found] == ["LOG_LEVEL", "DATABASE_URL", "REDIS_URL", "PORT", "MAX_BODY_BYTES"]
    assert not any("\n" in line for line in found)


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("PORT", "eighty", "PORT must be a whole number (it is 'eighty')"),
        ("PORT", "0", "PORT must be from 1 to 65535 (it is '0')"),
        ("DATABASE_POOL_SIZE", "0", "DATABASE_POOL_SIZE must be from 1 to 1000 (it is '0')"),
        ("WRITE_WAIT_SECONDS", "61", "WRITE_WAIT_SECONDS must be from 0 to 60 (it is '61')"),
        ("WRITE_WAIT_SECONDS", "nan", "WRITE_WAIT_SECONDS must be from 0 to 60 (it is 'nan')"),
        ("REGISTRATION_OPEN", "maybe", "REGISTRATION_OPEN must be true or false (it is 'maybe')"),
        ("JWT_ALGORITHM", "none", "JWT_ALGORITHM must be one of EdDSA, HS256, HS384, HS512, RS256, RS384, RS512"),
        ("DATABASE_URL", "", "DATABASE_URL is not set: give it as postgresql://user:password@host:5432/tenfold"),
        ("REDIS_URL", "", "REDIS_URL is not set: give it as redis://host:6379/0"),
        ("DEFAULT_PAGE_SIZE", "2000", "DEFAULT_PAGE_SIZE (2000) must not exceed MAX_PAGE_SIZE (1000)"),
    ],
)
def test_a_fault_names_the_variable_and_what_it_may_be(variable: str, value: str, told: str) -> None:
    (found,) = faults(**{variable: value})
    assert found.startswith(told)


@pytest.mark.parametrize("tier", ["API", "WORKER"])
def test_a_tier_without_any_database_is_told_of_its_own_variable_in_production(tier: Tier) -> None:
    environ = {name: value for name, value in REQUIRED.items() if name != "DATABASE_URL"}
    for environment, variable in (("production", f"{tier}_DATABASE_URL"), ("development", "DATABASE_URL")):
        with pytest.raises(SettingsError) as told:
            Settings.from_env({**environ, "TENFOLD_ENV": environment}, tier=tier)
        (fault,) = told.value.faults
        assert fault.startswith(f"{variable} is not set: ")


@pytest.mark.parametrize(
    "variable", ["DATABASE_URL", "API_DATABASE_URL", "WORKER_DATABASE_URL", "REDIS_URL", "QUEUE_REDIS_URL"]
)
def test_no_fault_shows_a_url_which_may_hold_a_password(variable: str) -> None:
    (found,) = faults(**{variable: "mysql://root:hunter2@db"})
    assert found.startswith(f"{variable} must be a URL that begins with")
    assert "hunter2" not in found


@pytest.mark.parametrize("broken", ["postgresql://u:hunter2\u2100@h/d", "postgresql://u:hunter2@[::1/d"])
def test_no_fault_quotes_a_url_that_cannot_be_read(broken: str) -> None:
    (found,) = faults(DATABASE_URL=broken)
    assert "hunter2" not in found


# -- secrets

UNSAFE = {
    "missing": "",
    "short": "x7Kq2Lm9Zt4Rw8Nb1Vc5",
    "31 bytes": GOOD_SECRET[:31],
    "well-known": "your-secret-key-your-secret-key-your",
    "change-me": "please-CHANGE-me-0123456789abcdefghijk",
    "monotonous": "abababababababababababababababababab",
}


@pytest.mark.parametrize("secret", UNSAFE.values(), ids=UNSAFE.keys())
def test_production_refuses_an_unsafe_secret_and_does_not_show_it(secret: str) -> None:
    (found,) = faults(JWT_SECRET_KEY=secret)
    assert found.startswith("JWT_SECRET_KEY is ")
    assert found.endswith("make one with: openssl rand -base64 48")
    assert not secret or secret not in found


def test_production_is_the_default() -> None:
    assert settings().tenfold_env == "production"
    assert not settings().in_development


@pytest.mark.parametrize("secret", [secret for secret in UNSAFE.values() if secret])
def test_development_takes_any_secret_that_is_there(secret: str) -> None:
    assert settings(TENFOLD_ENV="development", JWT_SECRET_KEY=secret).signing_key() == secret.encode()


def test_development_wants_a_secret_too() -> None:
    (found,) = faults(TENFOLD_ENV="development", JWT_SECRET_KEY="")
    assert found == "JWT_SECRET_KEY is not set: any text will do in development"


def test_a_key_pair_needs_a_file_and_no_secret(tmp_path: Path) -> None:
    (found,) = faults(JWT_ALGORITHM="EdDSA", JWT_SECRET_KEY="")
    assert found.startswith("JWT_KEY_FILE is not set: EdDSA signs with a private key")
    (found,) = faults(JWT_ALGORITHM="RS256", JWT_KEY_FILE=str(tmp_path / "absent.pem"))
    assert found.startswith("JWT_KEY_FILE cannot be read: No such file or directory")
    (tmp_path / "key.pem").write_bytes(b"a key")
    found_settings = settings(JWT_ALGORITHM="EdDSA", JWT_SECRET_KEY="", JWT_KEY_FILE=str(tmp_path / "key.pem"))
    assert found_settings.signing_key() == b"a key"


# -- the key of secrets


def test_without_a_key_nothing_can_be_kept_secret() -> None:
    assert settings().encryption_keys == ()


def test_in_development_the_key_of_tokens_stands_in() -> None:
    assert settings(TENFOLD_ENV="development", JWT_SECRET_KEY="any").encryption_keys == (b"any",)


def test_several_keys_are_separated_by_commas_and_the_first_is_the_newest() -> None:
    keys = (GOOD_SECRET[::-1], GOOD_SECRET)
    assert settings(SECRETS_KEY=", ".join(keys)).encryption_keys == tuple(key.encode() for key in keys)


@pytest.mark.parametrize("key", ["too-few", "a" * 40, "please-change-me-please-change-me", f"{GOOD_SECRET},too-few"])
def test_a_guessable_key_is_refused(key: str) -> None:
    (found,) = faults(SECRETS_KEY=key)
    assert found.startswith("SECRETS_KEY is shorter than 32 bytes or guessable")
    assert key not in found
