"""Ports of the loopback address."""

from __future__ import annotations

import random
import socket

from stack.service import HOST, StackError

FREE_PORTS = range(20_000, 32_000)
"""Where free ports are looked for: below those that systems give to outgoing connections.

A client that tries a port of that range again and again while its server is down can be given the very port for its
own end. It then talks to itself, and the server cannot come back.
"""

TRIES_MAX = 1_000


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that have ended do not count
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """Draw a port that nothing listens on, and that no process that lives was given here before.

    Raises:
        StackError: no free port was found
    """
    for _ in range(TRIES_MAX):
        port = random.choice(FREE_PORTS)
        if is_free(port) and _is_reserved_for_us(port):
            return port
    raise StackError(f"no free port among {FREE_PORTS.start} to {FREE_PORTS.stop}")


def _is_reserved_for_us(port: int) -> bool:
    """Take the port of the same number of UDP, which nothing here uses, until this process ends.

    Tests run side by side: between this call and the moment when the server listens, and while it is down to be
    started again, the port must be nobody else's.
    """
    with socket.socket(type=socket.SOCK_DGRAM) as sign:
        try:
            sign.bind((HOST, port))
        except OSError:
            return False
        sign.detach()
    return True
