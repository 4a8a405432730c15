"""The small page of links that browsers get where there is no page of its own yet."""

import base64
import hashlib
from html import escape

from aiohttp import web

from core.settings import Settings
from core.version import VERSION

# What there is to see here: relation, path, and what a person is told of it.
LINKS = (
    ("documentation", "/docs", "every endpoint, with a button to log in and try it"),
    ("openapi", "/openapi.json", "the same for programs (OpenAPI 3.1)"),
    ("health", "/health/ready", "whether everything works, with a line for each part"),
)

_STYLE = (
    "body{font:1rem/1.5 system-ui,sans-serif;max-width:38rem;margin:4rem auto;padding:0 1rem}"
    "@media(prefers-color-scheme:dark){body{background:#111;color:#ddd}a{color:#8bf}}"
)
_STYLE_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS = {
    # Nothing is loaded but the icon, nothing is run, and the one style is the one that stands in the page.
    "Content-Security-Policy": (
        f"default-src 'none'; img-src 'self'; style-src 'sha256-{_STYLE_DIGEST}'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def link_page(
    settings: Settings, told: str, headers: dict[str, str] | None = None, *, more: tuple[str, str] | None = None
) -> web.Response:
    """The page.

    Args:
        settings: `public_url`, whose path stands before all addresses: they are good with a proxy and without.
        told: a sentence under the heading.
        headers: beside its own.
        more: an address above the others, and what a person is told of it.
    """
    prefix = escape(settings.public_path)
    shown = [*([more] if more else []), *((path, text) for _, path, text in LINKS)]
    links = "\n".join(f'<li><a href="{prefix}{path}">{path}</a>: {escape(text)}</li>' for path, text in shown)
    page = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Tenfold</title>
<link rel="icon" type="image/svg+xml" href="{prefix}/favicon.svg">
<style>{_STYLE}</style>
</head>
<body>
<h1>Tenfold</h1>
<p>{escape(told)}</p>
<ul>
{links}
</ul>
<p>Version {escape(VERSION)}</p>
</body>
</html>
"""
    return web.Response(text=page, content_type="text/html", charset="utf-8", headers={**_HEADERS, **(headers or {})})
