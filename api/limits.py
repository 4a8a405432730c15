"""Rate limits of requests: a general one, one for guessed passwords, and one for registrations."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from aiohttp import web

from api.clients import limited_network
from api.errors import Problem
from api.identity import Identity
from api.keys import ADDRESS, ALLOWANCE, IDENTITY, REGISTRATION_LIMIT, REQUEST_LIMIT
from core import metrics
from core.errors import DatabaseUnavailable
from core.ratelimit import HOUR_SECONDS, WINDOW_SECONDS, Allowance, RateLimiter
from core.redis.link import Link
from core.settings import Settings

T = TypeVar("T")

_WINDOW_NAMES = {WINDOW_SECONDS: "a minute", HOUR_SECONDS: "an hour"}


def counted_as(request: web.Request, identity: Identity | None) -> str:
    """Whose limit a request is counted against: the user's, or that of the address where there is no user."""
    return f"address:{limited_network(request[ADDRESS])}" if identity is None else f"user:{identity.user_id}"


async def charge(request: web.Request, hits: int) -> None:
    """Counts a request as so many hits; one of them was counted when it came.

    A request that would exceed the limit is not counted, so that smaller ones may still come.

    Raises:
        Problem: 429, there are not so many left.
    """
    if hits <= 1:
        return
    who, limit = counted_as(request, request.get(IDENTITY)), request.app[REQUEST_LIMIT]
    allowance = await limit.hit(who, cost=hits - 1)
    if allowance is None:
        return
    if allowance.exceeded:
        limit.give_back(who, cost=hits - 1)
        raise refuse(allowance, "default", f"This request counts as {hits}. ")
    request[ALLOWANCE] = allowance


async def count_registration(request: web.Request) -> None:
    """Counts a registration by its address.

    Raises:
        Problem: 429, it is one too many.
    """
    allowance = await request.app[REGISTRATION_LIMIT].hit(limited_network(request[ADDRESS]))
    if allowance is not None and allowance.exceeded:
        raise refuse(allowance, "registration")


def refuse(allowance: Allowance, limit: str, reason: str = "") -> Problem:
    """429 for a limit that is used up.

    Args:
        allowance: what is left of it.
        limit: its name in metrics.
        reason: a sentence with a space behind it.
    """
    metrics.RATE_LIMITED.labels(limit).inc()
    window = _WINDOW_NAMES[allowance.window_seconds]
    return Problem(
        "too-many-requests",
        f"{reason}The limit is {allowance.quota} {window}: try again in {allowance.reset_seconds} seconds.",
        headers={"Retry-After": str(allowance.reset_seconds)},
    )


class Guess:
    """One password that somebody tries, and where it was counted, so that it can be given back."""

    def __init__(self) -> None:
        self._counted: list[tuple[RateLimiter, str]] = []

    async def count(self, limiter: RateLimiter, who: str) -> None:
        """
        Raises:
            Problem: 429, it is one too many.
        """
        allowance = await limiter.hit(who)
        if allowance is not None and allowance.exceeded:
            raise refuse(allowance, "login")
        self._counted.append((limiter, who))

    async def judged(self, judging: Awaitable[T]) -> T:
        """What `judging` finds: something false where the password is wrong.

        Otherwise the guess is given back: it was right, or could not be checked.
        """
        is_wrong = False
        try:
            found = await judging
            is_wrong = not found
            return found
        finally:
            if not is_wrong:
                self.give_back()

    def give_back(self) -> None:
        """Takes the guess out of the counts."""
        for limiter, who in self._counted:
            limiter.give_back(who)
        self._counted.clear()


class GuessLimits:
    """Stops those who guess passwords, but not those whose passwords are guessed.

    A guess is counted before anything is hashed, and given back if it was right.
    """

    def __init__(self, link: Link, settings: Settings) -> None:
        self._per_name_and_address = RateLimiter(link, name="login", quota=settings.login_rate_limit_per_minute)
        self._per_address = RateLimiter(
            link, name="login-address", quota=settings.login_rate_limit_per_address_per_minute
        )
        self._per_name = RateLimiter(
            link,
            name="login-name",
            quota=settings.login_rate_limit_per_name_per_hour,
            window_seconds=HOUR_SECONDS,
        )
        self._per_session = RateLimiter(link, name="login-session", quota=settings.login_rate_limit_per_minute)

    async def login(self, name: str, network: str, logged_in_here: Callable[[], Awaitable[bool]]) -> Guess:
        """Counts a login.

        Args:
            name: as it is compared: in small letters.
            network: where it comes from.
            logged_in_here: whether this name has logged in from there not long ago. That is not counted over all
                addresses: else anybody could keep its owner out.

        Raises:
            Problem: 429, it is one too many.
            DatabaseUnavailable: nobody can say; nothing is counted.
        """
        guess = Guess()
        await guess.count(self._per_name_and_address, f"{name} {network}")
        await guess.count(self._per_address, network)
        if self._per_name.quota:
            try:
                is_exempt = await logged_in_here()
            except DatabaseUnavailable:
                guess.give_back()
                raise
            if not is_exempt:
                await guess.count(self._per_name, name)
        return guess

    async def current_password(self, session: str) -> Guess:
        """Counts a password that a session gives as the user's own.

        Raises:
            Problem: 429, it is one too many.
        """
        guess = Guess()
        await guess.count(self._per_session, session)
        return guess

    async def close(self) -> None:
        for limiter in (self._per_name_and_address, self._per_address, self._per_name, self._per_session):
            await limiter.close()
