"""Password hashes: argon2id with OWASP's parameters for a service that hashes many at a time."""

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

# https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html: m=19 MiB, t=2, p=1
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)

# Checked where there is no such user: a wrong name must take as long as a wrong password.
NOBODYS_HASH = _HASHER.hash("a password that nobody has")


def hash_password(password: str) -> str:
    """An argon2id hash in PHC form; takes tens of milliseconds of processor time."""
    return _HASHER.hash(password)


def password_matches(password: str, password_hash: str) -> bool:
    """Whether the password made the hash; takes as long as hashing."""
    try:
        return _HASHER.verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False
