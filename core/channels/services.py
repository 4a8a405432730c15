"""The services of Apprise's that are allowed here: they speak to the network, and to nothing else.

Others of Apprise's run programs, speak to this machine's desktop, or write files; they are left out. Parameters that
name files are refused. A service's module is loaded when it is first used.
"""

import importlib
import logging
import re
from dataclasses import dataclass
from typing import Any

from core.errors import TargetRefused


@dataclass(frozen=True, slots=True)
class Service:
    """A service of Apprise's.

    Attributes:
        module: of `apprise.plugins`.
        name: of the class in it.
        has_host: whether the address says which server to speak to.
    """

    module: str
    name: str
    has_host: bool = False


SERVICES: dict[str, Service] = {
    "bark": Service("bark", "NotifyBark", has_host=True),
    "barks": Service("bark", "NotifyBark", has_host=True),
    "brevo": Service("brevo", "NotifyBrevo"),
    "dingtalk": Service("dingtalk", "NotifyDingTalk"),
    "discord": Service("discord", "NotifyDiscord"),
    "feishu": Service("feishu", "NotifyFeishu"),
    "flock": Service("flock", "NotifyFlock"),
    "gchat": Service("google_chat", "NotifyGoogleChat"),
    "gotify": Service("gotify", "NotifyGotify", has_host=True),
    "gotifys": Service("gotify", "NotifyGotify", has_host=True),
    "guilded": Service("guilded", "NotifyGuilded"),
    "hassio": Service("home_assistant", "NotifyHomeAssistant", has_host=True),
    "hassios": Service("home_assistant", "NotifyHomeAssistant", has_host=True),
    "join": Service("join", "NotifyJoin"),
    "lark": Service("lark", "NotifyLark"),
    "line": Service("line", "NotifyLine"),
    "mailgun": Service("mailgun", "NotifyMailgun"),
    "mailto": Service("email", "NotifyEmail", has_host=True),
    "mailtos": Service("email", "NotifyEmail", has_host=True),
    "matrix": Service("matrix", "NotifyMatrix", has_host=True),
    "matrixs": Service("matrix", "NotifyMatrix", has_host=True),
    "mmost": Service("mattermost", "NotifyMattermost", has_host=True),
    "mmosts": Service("mattermost", "NotifyMattermost", has_host=True),
    "nctalk": Service("nextcloudtalk", "NotifyNextcloudTalk", has_host=True),
    "nctalks": Service("nextcloudtalk", "NotifyNextcloudTalk", has_host=True),
    "ntfy": Service("ntfy", "NotifyNtfy", has_host=True),
    "ntfys": Service("ntfy", "NotifyNtfy", has_host=True),
    "opsgenie": Service("opsgenie", "NotifyOpsgenie"),
    "pagerduty": Service("pagerduty", "NotifyPagerDuty"),
    "pbul": Service("pushbullet", "NotifyPushBullet"),
    "pover": Service("pushover", "NotifyPushover"),
    "prowl": Service("prowl", "NotifyProwl"),
    "revolt": Service("revolt", "NotifyRevolt"),
    "rocket": Service("rocketchat", "NotifyRocketChat", has_host=True),
    "rockets": Service("rocketchat", "NotifyRocketChat", has_host=True),
    "sendgrid": Service("sendgrid", "NotifySendGrid"),
    "signl4": Service("signl4", "NotifySIGNL4"),
    "slack": Service("slack", "NotifySlack"),
    "spush": Service("simplepush", "NotifySimplePush"),
    "tgram": Service("telegram", "NotifyTelegram"),
    "twilio": Service("twilio", "NotifyTwilio"),
    "twist": Service("twist", "NotifyTwist"),
    "webex": Service("webexteams", "NotifyWebexTeams"),
    "workflows": Service("workflows", "NotifyWorkflows", has_host=True),
    "wxteams": Service("webexteams", "NotifyWebexTeams"),
    "zulip": Service("zulip", "NotifyZulip"),
}
"""Scheme → service."""

# The hosts of addresses that services give out, whose paths Apprise understands.
NATIVE_HOSTS = {
    "hooks.slack.com": "slack",
    "hooks.slack-gov.com": "slack",
    "discord.com": "discord",
    "discordapp.com": "discord",
    "chat.googleapis.com": "gchat",
    "ntfy.sh": "ntfys",
    "api.flock.com": "flock",
    "guilded.gg": "guilded",
    "media.guilded.gg": "guilded",
    "open.larksuite.com": "lark",
    "api.ciscospark.com": "webex",
    "webexapis.com": "webex",
}
"""Host → scheme."""
_NATIVE_PATTERNS = (
    (re.compile(r"(.+\.)?(logic\.azure\.(com|us|cn)|api\.powerplatform\.com)\Z"), "workflows"),  # Microsoft Teams
    (re.compile(r"mattermost\..+"), "mmosts"),
)
# Discord's test versions, and numbers of its API, give addresses that mean the same.
_DISCORD = re.compile(r"https://((ptb|canary)\.)?discord(app)?\.com/api/(v[0-9]+/)?", re.IGNORECASE)
# Microsoft has switched these off (Office 365 connectors, April 2026).
_RETIRED_HOSTS = re.compile(r"(outlook\.office(365)?\.com|(.+\.)?webhook\.office\.com)\Z")

# Parameters that name files, or make a service read or write files.
REFUSED_PARAMETERS = frozenset(
    {"attach", "attach_as", "cert", "config", "include", "keyfile", "pgp", "pgpkey", "pgpprv", "pgppub",
     "pgppubkey", "pgpprvkey", "subfile", "template"}
)  # fmt: skip


def service_of_host(host: str) -> str | None:
    """The service that gives out addresses of a host, in lower case; None: none that is known.

    Raises:
        TargetRefused: the service takes no messages there any more.
    """
    if _RETIRED_HOSTS.match(host):
        raise TargetRefused(
            "Microsoft has retired addresses of this kind (Office 365 connectors): make a workflow in Teams that "
            "posts to the channel when a webhook request is received, and give its address."
        )
    host = host.removeprefix("ptb.").removeprefix("canary.") if host.endswith(".discord.com") else host
    return NATIVE_HOSTS.get(host) or next((kind for pattern, kind in _NATIVE_PATTERNS if pattern.match(host)), None)


def open_notifier(kind: str, url: str) -> Any:
    """Apprise's object for an address; nothing is sent.

    Args:
        kind: of `SERVICES`.
        url: begins with the kind, or is the address that the service itself gives out (`https://…`).

    Raises:
        TargetRefused: the service cannot understand the address, or it names files.
    """
    from apprise import AppriseAsset  # imported here: it takes a tenth of a second, and few need it

    service = SERVICES[kind]
    notifier: Any = getattr(importlib.import_module(f"apprise.plugins.{service.module}"), service.name)
    logging.getLogger("apprise").disabled = True  # its lines quote addresses
    try:
        native = url.lower().startswith("https://")
        results = (
            notifier.parse_native_url(_DISCORD.sub("https://discord.com/api/", url))
            if native
            else notifier.parse_url(url)
        )
        if not results:
            raise ValueError(kind)
        _refuse_files(results)
        results["asset"] = AppriseAsset(async_mode=False, storage_mode="memory", plugin_paths=[])
        return notifier(**results)
    except TargetRefused:
        raise
    except Exception:  # a module may raise anything for an address, and quote it
        raise TargetRefused(f"The address is none that {kind} understands.") from None


def _refuse_files(results: dict[str, Any]) -> None:
    groups = ("qsd", "qsd+", "qsd-", "qsd:")  # Apprise sorts parameters by their first character
    named = {str(name).lower().strip("+-:") for group in groups for name in results.get(group) or ()}
    if named & REFUSED_PARAMETERS:
        raise TargetRefused(f"The address must not have the parameter {min(named & REFUSED_PARAMETERS)}.")
