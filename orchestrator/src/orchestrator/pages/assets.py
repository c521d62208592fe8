"""What pages load, named by content so that a browser may keep it for ever, and the headers pages are sent with."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

_FOLDER: Final = Path(__file__).parent / "assets"
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

PREFIX: Final = "/assets/"
"""The path under which `asset` is served."""

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)

HEADERS: Final[dict[str, str]] = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
    "Vary": "Accept",
}
"""Headers of every page, of a 304 too."""

ASSET_HEADERS: Final[dict[str, str]] = {
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "public, max-age=31536000, immutable",
}
"""Headers of every asset; a name never means another content."""


class _Asset(msgspec.Struct, frozen=True):
    hashed: str
    content: bytes
    content_type: str


@cache
def _by_file() -> dict[str, _Asset]:
    found = {}
    for path in sorted(_FOLDER.iterdir()):
        if path.suffix in _TYPES:
            content = path.read_bytes()
            digest = hashlib.sha256(content).hexdigest()[:12]
            found[path.name] = _Asset(f"{path.stem}.{digest}{path.suffix}", content, _TYPES[path.suffix])
    return found


@cache
def _by_hashed_name() -> dict[str, _Asset]:
    return {asset.hashed: asset for asset in _by_file().values()}


def asset(name: str) -> tuple[bytes, str] | None:
    """Give content and content type of ``/assets/<name>``; None when there is no such content."""
    found = _by_hashed_name().get(name)
    return None if found is None else (found.content, found.content_type)


def url(file: str) -> str:
    """Give the address of an asset by its file name, ``app.css``."""
    return PREFIX + _by_file()[file].hashed


def etag(html: str) -> str:
    """Give the entity tag of a page: equal for equal pages."""
    return f'"{hashlib.sha256(html.encode()).hexdigest()[:24]}"'
