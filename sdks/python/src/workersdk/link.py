"""The worker's view of its connection: is it there, since when not, and is the worker registered."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from workersdk.errors import RegistrationError
from workersdk.http import Backoff
from workersdk.transport import Hello, Refused, Terms, Transport, TransportError


class Link:
    """One per worker and transport. All calls share one outage, so that it is told once.

    The first failure is tried again at once and is not told: a kept connection may have been closed by the other side.
    """

    def __init__(self, transport: Transport, hello: Hello, logger: logging.Logger) -> None:
        self.transport = transport
        self.terms = Terms()
        self.on_recovery: Callable[[], None] = lambda: None
        self._hello = hello
        self._logger = logger
        self._backoff = Backoff()
        self._failures = 0
        self._down_since = 0.0
        self._registrations = 0
        self._registering = asyncio.Lock()

    @property
    def is_in_doubt(self) -> bool:
        """True from the first failed call to the next that comes through."""
        return self._failures > 0

    @property
    def registrations(self) -> int:
        """How often the worker has registered: compare before and after to see whether it has happened since."""
        return self._registrations

    def failed(self, error: TransportError) -> float:
        """Take note of a call that did not come through; return the pause in seconds before the next try."""
        self._failures += 1
        if self._failures == 1:
            self._down_since = asyncio.get_running_loop().time()
            return 0.0
        if self._failures == 2:
            state = "lost the orchestrator at" if self._registrations else "cannot reach the orchestrator at"
            self._logger.warning("%s %s (%s); retrying", state, self.transport.address, error)
        return self._backoff.next()

    def reached(self) -> None:
        """Take note of a call that came through."""
        if self._failures == 0:
            return
        if self._failures > 1 and self._registrations:
            seconds = asyncio.get_running_loop().time() - self._down_since
            self._logger.info("connected again to %s after %.1f s", self.transport.address, seconds)
        self._failures = 0
        self._backoff.reset()
        self.on_recovery()

    async def register(self) -> None:
        """Register, trying until it is done; the caller cancels it to give up. Raises `RegistrationError`."""
        while True:
            try:
                terms = await self.transport.register(self._hello)
            except Refused as error:
                raise RegistrationError(self.transport.address, error.status, error.title, error.detail) from error
            except TransportError as error:
                await asyncio.sleep(self.failed(error))
            else:
                self.terms = terms
                self.reached()
                self._registrations += 1
                return

    async def register_again(self, registrations: int) -> None:
        """Register anew, unless another call has done so since there were `registrations` of them."""
        async with self._registering:
            if self._registrations == registrations:
                self._logger.info(
                    "the orchestrator at %s does not know this worker: registering again", self.transport.address
                )
                await self.register()
