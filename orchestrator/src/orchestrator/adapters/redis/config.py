"""Where Redis is, and how long it is waited for."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import msgspec
import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

_CONNECTIONS_MAX = 3
"""One for exchanges, one to listen, and one for the moment in which a broken one is replaced."""


class RedisConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A Redis as one process uses it."""

    url: str
    """``redis://user:password@host:port/number``, or ``rediss://`` for TLS."""
    prefix: str = "orchestrator:"
    """Put before the names of all keys and channels."""
    seconds_max: float = 0.1
    """How long one exchange may take."""
    connect_seconds_max: float = 1.0
    """How long it may take to connect; nobody waits for that."""
    rest_seconds: float = 1.0
    """How long it is left alone after a failure, and how often it is asked how it is."""

    @property
    def place(self) -> str:
        """Where it is, without secrets."""
        parts = urlsplit(self.url)
        return f"{parts.hostname}:{parts.port or 6379}"

    def without_secrets(self, text: str) -> str:
        """Take the password out of a text that somebody else wrote."""
        password = urlsplit(self.url).password
        for secret in {password, unquote(password)} if password else ():
            text = text.replace(secret, "…")
        return text

    def key(self, name: bytes) -> str:
        """Give the name of what is kept."""
        return f"{self.prefix}hint:{name.hex()}"

    @property
    def probe(self) -> str:
        """Give the name of what is written to see whether it can be."""
        return f"{self.prefix}probe"

    @property
    def channel(self) -> str:
        """Give the channel on which processes say which runs have ended."""
        return f"{self.prefix}ended"

    def client(self) -> redis.Redis:
        """Make a client that connects when it is used, and never tries again by itself."""
        return redis.Redis.from_url(
            self.url,
            # Every call here has a limit around it. The client's own may swallow a cancellation: `asyncio.wait_for`
            # does, before Python 3.12.
            socket_timeout=None,
            socket_connect_timeout=self.connect_seconds_max,
            retry=Retry(NoBackoff(), 0),
            max_connections=_CONNECTIONS_MAX,
            protocol=2,
            decode_responses=False,
        )
