"""Logins, and what their tokens are good for."""

from typing import Any

from tests.harness import PASSWORD, Answer, Service


async def log_in(service: Service, username: str = "alice", password: str = PASSWORD, **options: Any) -> Answer:
    return await service.anonymous.post("/auth/login", {"username": username, "password": password}, **options)


async def refresh(service: Service, token: str, **options: Any) -> Answer:
    return await service.anonymous.post("/auth/refresh", {"refresh_token": token}, **options)
