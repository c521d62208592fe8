"""Who may call."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

from falcon.asgi import Request, Response

from orchestrator.model.problem import HostRefused

_HOSTS_REMEMBERED: Final = 64
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Guard:
    """Refuses requests that a web page elsewhere could have caused."""

    def __init__(self, hosts: Collection[str] | None) -> None:
        self._hosts = None if hosts is None else frozenset(host.lower() for host in hosts)
        self._passed: set[str] = set()
        """Host headers that were right before: a worker sends the same one a thousand times a second."""

    def knows(self, host: bytes) -> bool:
        """Say whether a Host header was right before."""
        return host.decode("latin-1") in self._passed

    async def process_request(self, req: Request, resp: Response) -> None:
        """Check Host and, for a change, Origin."""
        header = req.get_header("Host", default="")
        if header not in self._passed:
            self._check_host(_host(req))
            if len(self._passed) < _HOSTS_REMEMBERED:
                self._passed.add(header)
        origin = req.get_header("Origin")
        if origin is not None and req.method not in _SAFE_METHODS and _address(origin) != req.netloc.lower():
            raise HostRefused(f"a page of {origin} may not change anything here")

    def _check_host(self, host: str) -> None:
        if self._hosts is not None and host not in self._hosts and not _is_loopback(host):
            known = ", ".join(sorted(self._hosts))
            raise HostRefused(f"this server is not {host!r} but {known}; set ORCHESTRATOR_HOSTS to add a name")


def _host(req: Request) -> str:
    """Give the name by which the server is called; empty where the header cannot be read."""
    try:
        return req.host.lower()
    except ValueError:
        return ""


def _address(origin: str) -> str | None:
    """Give host and port of an origin; None where it cannot be read."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
