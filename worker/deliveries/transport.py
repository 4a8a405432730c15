"""Sends one message: opens the channel's sealed address and secrets, and knows which way it goes."""

import traceback

from core import clock
from core.channels.signatures import Secret, signed_headers, signing_secrets
from core.channels.targets import WEBHOOK
from core.deliveries.attempts import Attempt
from core.deliveries.messages import link_of, message_of, webhook_body
from core.deliveries.writes.claims import ClaimedDelivery
from core.encryption import SecretBox
from core.errors import SecretsUnavailable
from core.logs import get_logger
from core.settings import Settings
from worker.deliveries.apprise import AppriseClient
from worker.deliveries.webhook import WebhookClient

log = get_logger()


class Transport:
    """The ways to receivers, of one run of a worker's deliveries."""

    def __init__(self, settings: Settings) -> None:
        self._box = SecretBox.of(settings)
        self._public_url = settings.public_url
        self._webhooks = WebhookClient(allow_private=settings.allow_private_targets)
        self._apprise = AppriseClient(allow_private=settings.allow_private_targets)
        self._opened: dict[tuple[int, str, bytes], str] = {}

    async def close(self) -> None:
        """Nothing may be on its way any more."""
        await self._webhooks.close()
        await self._apprise.close()

    def forget_opened(self) -> None:
        """Forgets addresses and secrets that were opened."""
        self._opened.clear()

    def url(self, delivery: ClaimedDelivery) -> str:
        """The channel's address.

        Raises:
            SecretsUnavailable: it cannot be opened with the keys that there are.
        """
        return self._open(delivery.user_id, "url", delivery.url_encrypted)

    async def attempt(self, delivery: ClaimedDelivery) -> Attempt:
        """Sends a delivery's message; whatever goes wrong is told by the attempt."""
        try:
            return await self._send(delivery)
        except SecretsUnavailable as error:
            log.error("a channel's secrets cannot be read", channel=delivery.channel_id, error=str(error))
            return Attempt("The channel's secrets cannot be read; see the operators.")
        except Exception as error:
            # Its text may quote the address.
            where = "".join(traceback.format_tb(error.__traceback__))
            log.error("a delivery failed here", delivery=delivery.id, error=type(error).__name__, where=where)
            return Attempt("The delivery failed on our side.")

    async def _send(self, delivery: ClaimedDelivery) -> Attempt:
        url = self.url(delivery)
        moment = clock.now()
        link = link_of(self._public_url, delivery.event, delivery.task_id, delivery.data)
        if delivery.kind != WEBHOOK:
            message = message_of(delivery.event, delivery.data, delivery.time_zone, link)
            return await self._apprise.send(delivery.kind, url, message)
        secrets = [Secret.load(self._open(delivery.user_id, "secret", one)) for one in delivery.secrets_encrypted]
        body = webhook_body(delivery.event, delivery.created_at, delivery.data, link)
        headers = signed_headers(signing_secrets(secrets, moment), delivery.message_id, moment, body)
        return await self._webhooks.post(url, headers, body)

    def _open(self, user_id: int, purpose: str, sealed: bytes) -> str:
        key = (user_id, purpose, sealed)
        if key not in self._opened:
            self._opened[key] = self._box.open(sealed, user_id=user_id, purpose=purpose)
        return self._opened[key]
