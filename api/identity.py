"""Who makes a request."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Identity:
    """Who makes a request, as the access token and the users table say."""

    user_id: int
    role: str

    @property
    def is_admin(self) -> bool:
        return self.role == "admin"
