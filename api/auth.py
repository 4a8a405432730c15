"""Registration, login, refresh and logout. Passwords are hashed here, before a command exists."""

import uuid
from datetime import datetime, timedelta
from typing import Any

import orjson
from aiohttp import web

from api.bodies import read_form, read_json
from api.clients import limited_network
from api.endpoints import Endpoint
from api.errors import Problem, Unauthenticated
from api.http import NO_STORE, json_response
from api.keys import ADDRESS, GATEWAY, GUESS_LIMITS, PASSWORDS, POOL, SETTINGS, TOKENS
from api.limits import count_registration
from api.tokens import RefreshClaims, TokenInvalid
from api.writes.submission import RETRY_AFTER, answer, build_command, perform
from core import clock
from core.commands.effects import Outcome
from core.commands.kinds import (
    OPEN_SESSION,
    REGISTER_USER,
    REVOKE_SESSION,
    ROTATE_SESSION,
    OpenSession,
    RegisterUser,
    RotateSession,
)
from core.commands.wire import Command
from core.users.queries import Credentials, credentials_of, logged_in_from
from core.users.schemas import Login, PasswordForm, Refresh, Register, TokenPair, User, can_be_username

_REGISTER = Register()
_LOGIN = Login()
_FORM = PasswordForm()
_REFRESH = Refresh()


async def register(request: web.Request) -> web.Response:
    """`POST /auth/register`."""
    if not request.app[SETTINGS].registration_open:
        raise Problem("registration-closed", "New users are made by an administrator here.")
    wanted = await read_json(request, _REGISTER)
    await count_registration(request)
    password_hash = await request.app[PASSWORDS].hash(wanted["password"])
    payload: RegisterUser = {"username": wanted["username"], "email": wanted["email"], "password_hash": password_hash}
    # Without a user the key is kept apart by the name: nobody else's repeat can hit it by accident.
    scope = f"register:{wanted['username'].lower()}:"
    return await perform(request, build_command(request, REGISTER_USER.of(payload), scope=scope))


async def login(request: web.Request) -> web.Response:
    """`POST /auth/login`."""
    given = await read_json(request, _LOGIN)
    return await _log_in(request, given["username"], given["password"])


async def login_by_form(request: web.Request) -> web.Response:
    """`POST /auth/token`: the same as an OAuth 2.0 password form."""
    given = await read_form(request, _FORM)
    return await _log_in(request, given["username"], given["password"])


async def _log_in(request: web.Request, username: str, password: str) -> web.Response:
    passwords, pool = request.app[PASSWORDS], request.app[POOL]
    if not can_be_username(username):
        await passwords.matches(password, None)
        raise _wrong_credentials()
    name, network = username.lower(), limited_network(request[ADDRESS])
    place = request.app[TOKENS].fingerprint(f"login {name} {network}".encode())
    guess = await request.app[GUESS_LIMITS].login(name, network, lambda: logged_in_from(pool, name, place))
    found = await guess.judged(_matching_credentials(request, username, password))
    if found is None:
        raise _wrong_credentials()
    payload: OpenSession = {
        "session_id": str(uuid.uuid4()),
        "expires_at": _session_end(request).isoformat(),
        "role": found.role,
        "place": place,
    }
    command = build_command(request, OPEN_SESSION.of(payload), user_id=found.user_id)
    outcome = await _outcome_of(request, command)
    if outcome.error is not None:
        return answer(request, outcome)
    return _tokens_response(request, outcome, found.user_id)


async def _matching_credentials(request: web.Request, username: str, password: str) -> Credentials | None:
    found = await credentials_of(request.app[POOL], username)
    matches = await request.app[PASSWORDS].matches(password, found.password_hash if found else None)
    return found if matches else None


def _wrong_credentials() -> Problem:
    return Problem(
        "wrong-credentials",
        "The username or the password is wrong.",
        headers={"WWW-Authenticate": 'Bearer realm="tenfold", error="invalid_grant"'},
    )


async def refresh(request: web.Request) -> web.Response:
    """`POST /auth/refresh`: exchanges a refresh token.

    The one that was just exchanged gets the same answer again; an earlier one ends its whole family.
    """
    claims = await _read_refresh(request)
    payload: RotateSession = {
        "session_id": claims.session_id,
        "generation": claims.generation,
        "expires_at": _session_end(request).isoformat(),
        "grace_seconds": request.app[SETTINGS].refresh_grace_seconds,
    }
    command = build_command(request, ROTATE_SESSION.of(payload), user_id=claims.user_id)
    outcome = await _outcome_of(request, command)
    if outcome.error is not None:
        return answer(request, outcome)
    return _tokens_response(request, outcome, claims.user_id)


async def logout(request: web.Request) -> web.Response:
    """`POST /auth/logout`: ends the family of a refresh token."""
    claims = await _read_refresh(request)
    command = build_command(request, REVOKE_SESSION.of({"session_id": claims.session_id}), user_id=claims.user_id)
    return await perform(request, command)


async def _read_refresh(request: web.Request) -> RefreshClaims:
    given = await read_json(request, _REFRESH)
    try:
        claims = request.app[TOKENS].verify_refresh(given["refresh_token"])
        uuid.UUID(claims.session_id)
    except (TokenInvalid, ValueError) as error:
        raise Unauthenticated("invalid-token", str(error), error="invalid_token") from None
    return claims


async def _outcome_of(request: web.Request, command: Command) -> Outcome:
    """The outcome itself: a login that is only queued has nothing to give to the client yet."""
    outcome = await request.app[GATEWAY].submit(command, wait=request.app[SETTINGS].write_wait_seconds)
    if outcome is None:
        raise Problem(
            "database-unavailable", "The login could not be recorded in time: try again.", headers=RETRY_AFTER
        )
    return outcome


def _session_end(request: web.Request) -> datetime:
    return clock.now().replace(microsecond=0) + timedelta(days=request.app[SETTINGS].refresh_token_expire_days)


def _tokens_response(request: web.Request, outcome: Outcome, user_id: int) -> web.Response:
    """The tokens follow from the stored outcome alone, so a repeat of the request gets the very same ones."""
    assert outcome.result is not None, "a login that was carried out has a session"
    session: dict[str, Any] = orjson.loads(outcome.result)
    tokens = request.app[TOKENS]
    session_id, generation = session["session_id"], session["generation"]
    body = {
        "access_token": tokens.issue_access(
            user_id,
            session["role"],
            token_id=str(uuid.uuid5(uuid.UUID(session_id), str(generation))),
            issued_at=datetime.fromisoformat(session["issued_at"]),
            session_id=session_id,
        ),
        "token_type": "bearer",
        "expires_in": tokens.access_seconds,
        "refresh_token": tokens.issue_refresh(
            user_id, session_id, generation, expires_at=datetime.fromisoformat(session["expires_at"])
        ),
    }
    headers = {**NO_STORE, **({"Idempotent-Replayed": "true"} if outcome.replayed else {})}
    return json_response(orjson.dumps(body), headers=headers)


routes = [
    Endpoint(
        "POST",
        "/auth/register",
        register,
        "Make a user",
        {201: User},
        body=Register,
        auth="none",
        is_write=True,
        problems=(403, 409),
        description="403 where `REGISTRATION_OPEN` is false.",
    ),
    Endpoint(
        "POST",
        "/auth/login",
        login,
        "Log in",
        {200: TokenPair},
        body=Login,
        auth="none",
        problems=(401,),
        description="A wrong username and a wrong password get the same answer. Has limits of its "
        "own: of wrong passwords per username and address, per address, and per username.",
        headers=("Idempotency-Key",),
    ),
    Endpoint(
        "POST",
        "/auth/token",
        login_by_form,
        "Log in (OAuth 2.0 password form)",
        {200: TokenPair},
        body=PasswordForm,
        auth="none",
        form=True,
        problems=(401,),
        description="The same as `POST /auth/login`, for clients that speak OAuth 2.0.",
        headers=("Idempotency-Key",),
    ),
    Endpoint(
        "POST",
        "/auth/refresh",
        refresh,
        "Exchange a refresh token",
        {200: TokenPair},
        body=Refresh,
        auth="none",
        problems=(401,),
        description="A refresh token is good for one exchange. For `REFRESH_GRACE_SECONDS` (10 unless set) after it "
        "the same token gets the same answer again, if what it was exchanged for was not used yet: two tabs may "
        "refresh at once, and a request that got no answer may be repeated. Used again after that, it ends its whole "
        "session. With an `Idempotency-Key` a request can be repeated for longer.",
        headers=("Idempotency-Key",),
    ),
    Endpoint(
        "POST",
        "/auth/logout",
        logout,
        "End a session",
        {204: None},
        body=Refresh,
        auth="none",
        is_write=True,
        problems=(401,),
        description="Access tokens stay valid until they expire.",
    ),
]
