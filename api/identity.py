"""Who makes a request."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Identity:
    """Who makes a request, as the access token and the users table say.

    Attributes:
        user_id: the caller.
        role: the caller's.
        session: which login the token is of; of a token that does not say so, the token itself.
    """

    user_id: int
    role: str
    session: str = ""

    @property
    def is_admin(self) -> bool:
        return self.role == "admin"
