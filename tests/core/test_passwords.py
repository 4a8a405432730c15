"""Password hashes: argon2id with OWASP's parameters, and a check that takes as long for nobody."""

import time

import pytest

from core.users.passwords import NOBODYS_HASH, hash_password, password_matches


def test_a_password_matches_its_hash_and_no_other_does() -> None:
    password_hash = hash_password("correct horse é 四")
    assert password_matches("correct horse é 四", password_hash)
    for other in ("", "Correct horse é 四", "correct horse é 四 ", "correct horse e 四"):
        assert not password_matches(other, password_hash)


def test_a_hash_is_argon2id_with_the_recommended_cost_and_a_salt_of_its_own() -> None:
    first, second = hash_password("x" * 8), hash_password("x" * 8)
    assert first.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert first != second
    assert "xxxxxxxx" not in first


@pytest.mark.parametrize("nonsense", ["", "plain", "$argon2id$", "$2b$12$abcdefghijklmnopqrstuv"])
def test_what_is_no_hash_matches_nothing(nonsense: str) -> None:
    assert not password_matches("password", nonsense)


def test_checking_against_nobodys_hash_costs_as_much_as_against_anybodys() -> None:
    def cost(password_hash: str) -> float:
        costs = []
        for _ in range(5):
            started = time.process_time()
            assert not password_matches("wrong", password_hash)
            costs.append(time.process_time() - started)
        return min(costs)

    assert NOBODYS_HASH.split("$")[:4] == hash_password("x").split("$")[:4]
    assert 0.3 < cost(NOBODYS_HASH) / cost(hash_password("right")) < 3
