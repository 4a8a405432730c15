"""The site map: every route, the middlewares around them, and what the application holds."""

import asyncio
import signal

from aiohttp import web

from api import (
    admin,
    auth,
    channels,
    deliveries,
    docs,
    exports,
    health,
    home,
    import_rows,
    imports,
    jobs,
    labels,
    notifications,
    reminders,
    task_lists,
    tasks,
    users,
)
from api.contexts import CONTEXTS
from api.endpoints import Endpoint
from api.keys import DEFERRED, IDENTITIES, SECRETS, SETTINGS, TOKENS
from api.middlewares import around_every_request
from api.runner import Runner
from api.tokens import Tokens
from core.deferred import Deferred
from core.encryption import SecretBox
from core.identity import Identities
from core.logs import event_log, get_logger
from core.settings import Settings, SettingsError

ENDPOINTS: list[Endpoint] = [
    *auth.routes,
    *users.routes,
    *task_lists.routes,
    *tasks.routes,
    *labels.routes,
    *reminders.routes,
    *imports.routes,
    *import_rows.routes,
    *exports.routes,
    *channels.routes,
    *deliveries.routes,
    *notifications.routes,
    *jobs.routes,
    *admin.routes,
    *health.routes,
    *docs.routes,
    *home.routes,
]

# Digits, so that `batch` is no task's id, and PUT /tasks/batch a method that is not allowed.
PATH_IDS = {"integer": "{id:[0-9]+}", "uuid": "{id}"}
BACKLOG = 1024

log = get_logger()


def create_app(settings: Settings) -> web.Application:
    """The application; it connects to nothing until it is started.

    Raises:
        SettingsError: the key does not fit the algorithm that signs tokens, or PUBLIC_URL's path is one of ours.
    """
    if settings.public_path and settings.public_path.split("/")[1] in {
        endpoint.path.split("/")[1] for endpoint in ENDPOINTS
    }:
        raise SettingsError([f"PUBLIC_URL has a path that means something here already ({settings.public_url})"])
    deferred = Deferred()
    app = web.Application(
        client_max_size=settings.max_body_bytes,
        middlewares=[
            around_every_request(
                {endpoint.handler: endpoint for endpoint in ENDPOINTS},
                settings,
                event_log(settings, tier="api", event="request"),
                deferred,
            ),
        ],
    )
    app[SETTINGS] = settings
    app[DEFERRED] = deferred
    app[TOKENS] = Tokens(settings)
    app[IDENTITIES] = Identities.of(settings)
    app[SECRETS] = SecretBox.of(settings)
    # aiohttp makes one resource of the methods of a path only if they come one after the other.
    for endpoint in sorted(ENDPOINTS, key=lambda endpoint: endpoint.path):
        path = endpoint.path.replace("{id}", PATH_IDS[endpoint.path_id]).replace("{rest}", "{rest:.*}")
        if endpoint.method == "GET":
            app.router.add_get(path, endpoint.handler, allow_head=True)
        else:
            app.router.add_route(endpoint.method, path, endpoint.handler)
    docs.publish(app, ENDPOINTS, settings)
    app.cleanup_ctx.extend(CONTEXTS)
    return app


async def serve(settings: Settings, *, reuse_port: bool = False) -> None:
    """Serves until SIGTERM or SIGINT; then closes the listener, lets requests finish and drains the lanes."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stop.set)
    runner = Runner(create_app(settings))
    await runner.setup()
    site = web.TCPSite(runner, settings.host, settings.port, reuse_port=reuse_port or None, backlog=BACKLOG)
    try:
        await site.start()
        log.info("api ready", address=f"http://{settings.host}:{settings.port}")
        await stop.wait()
        log.info("api stopping")
    finally:
        await runner.cleanup()
    log.info("api stopped")
