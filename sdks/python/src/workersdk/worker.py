"""The worker that people write: register handlers, start."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import secrets
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType, MappingProxyType
from typing import Any, Final, TypeVar, overload

from workersdk.errors import UnsupportedTransportError, WorkflowError
from workersdk.handlers import Handler, make_handler
from workersdk.life import Life
from workersdk.loop import run_loop
from workersdk.session import Session
from workersdk.transport import Hello, kafka_servers, open_transport, resolve_url
from workersdk.version import SDK, __version__

CONCURRENCY_DEFAULT: Final = 10
DRAIN_TIMEOUT_S_DEFAULT: Final = 30.0
LEASE_S_MIN: Final = 1.0
LEASE_S_MAX: Final = 3_600.0

_WORKER_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._:@-]{0,127}")
_NOT_IN_WORKER_ID = re.compile(r"[^A-Za-z0-9._-]")

F = TypeVar("F", bound=Callable[..., Any])


class Worker:
    """Does the jobs of the actions that it has handlers for.

    `concurrency`: how many jobs it runs at once.
    `worker_id`: a name that is this process's own; made up when left out.
    `lease`: seconds that a job stays this worker's without a sign of life, from 1 to 3600; the orchestrator's default
    (30) when left out. The worker beats by itself, so a long job needs no long lease.
    `drain_timeout`: seconds that jobs in hand get to finish when the worker is asked to leave; what has not finished
    by then is given back to the orchestrator, and no attempt is counted.
    `logger`: where it writes, instead of `logging.getLogger("workersdk")`.

    Over Kafka only:
    `strict_offsets`: True waits for the commit of a job's offset before each execution, about 5 ms; False only after
    partitions were assigned.
    `kafka`: native properties of librdkafka by name, such as `{"session.timeout.ms": 30_000}`; they win over those of
    the environment. Those that the worker's promises rest on are refused with a `SettingError`.
    `routes`: actions whose jobs come on a topic of their own, and its name, as the orchestrator's `kafka_routes` says;
    those of the environment variable WORKFLOW_ROUTES (`action=topic`, with commas) hold for the others.
    """

    def __init__(
        self,
        *,
        concurrency: int = CONCURRENCY_DEFAULT,
        worker_id: str | None = None,
        lease: float | None = None,
        drain_timeout: float = DRAIN_TIMEOUT_S_DEFAULT,
        logger: logging.Logger | None = None,
        strict_offsets: bool = False,
        kafka: Mapping[str, Any] | None = None,
        routes: Mapping[str, str] | None = None,
    ) -> None:
        if not isinstance(concurrency, int) or concurrency < 1:
            raise ValueError(f"concurrency is a whole number from 1 up, not {concurrency!r}")
        if worker_id is not None and not _WORKER_ID.fullmatch(worker_id):
            raise ValueError(
                f"worker_id is 1 to 128 of A-Z a-z 0-9 . _ : @ -, with a letter, digit or _ first, not {worker_id!r}"
            )
        if lease is not None and not LEASE_S_MIN <= lease <= LEASE_S_MAX:
            raise ValueError(f"lease is a number of seconds from {LEASE_S_MIN:g} to {LEASE_S_MAX:g}, not {lease!r}")
        if not 0 <= drain_timeout < float("inf"):
            raise ValueError(f"drain_timeout is a number of seconds from 0 up, not {drain_timeout!r}")
        self.worker_id = worker_id or _make_worker_id()
        self.concurrency = concurrency
        self._lease = lease
        self._drain_timeout = drain_timeout
        self._has_given_logger = logger is not None
        self._logger = logger or logging.getLogger("workersdk")
        self._strict_offsets = strict_offsets
        self._kafka = dict(kafka or {})
        self._routes = dict(routes or {})
        self._handlers: dict[str, Handler] = {}
        # Reentrant: a signal may arrive while the main thread holds it.
        self._lock = threading.RLock()
        self._session: Life | None = None
        self._is_running = False
        self._is_stopped_early = False
        self._signals_seen = 0

    def __repr__(self) -> str:
        return f"<Worker {self.worker_id} actions: {', '.join(self._handlers) or 'none'}>"

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """The registered handlers by action."""
        return MappingProxyType(self._handlers)

    @overload
    def register(self, action: str) -> Callable[[F], F]: ...

    @overload
    def register(self, action: str, handler: F) -> F: ...

    def register(self, action: str, handler: F | None = None) -> F | Callable[[F], F]:
        """Say which function does an action; also usable as a decorator, `@worker.register("step1")`.

        The function takes `(payload)` or `(payload, context)` and returns the step's result, any JSON value. It may be
        sync (it runs in a thread) or async (it runs on the event loop). An exception is a failed attempt.
        Raises `ValueError` when the action has a handler already, `TypeError` when the function does not fit.
        """
        if handler is None:

            def decorate(function: F) -> F:
                return self.register(action, function)

            return decorate
        if self._is_running:
            raise WorkflowError(f"register {action!r} before the worker is started")
        if action in self._handlers:
            raise ValueError(f"the action {action!r} has a handler already: {self._handlers[action].call!r}")
        self._handlers[action] = make_handler(action, handler)
        return handler

    def start(self, url: str | None = None, group: str | None = None) -> None:
        """Connect and do jobs until told to stop; blocks.

        The address is `url`, else the environment variable WORKFLOW_URL, else KAFKA_BOOTSTRAP_SERVERS, else
        `kafka:9092`. `http://host:port` or `https://host:port` is the orchestrator itself; `host:port`,
        `host1:port,host2:port` or `kafka://host:port` are Kafka brokers. `kafka:9092` as an argument gives way to the
        variables, `kafka://kafka:9092` does not.

        `group`: a name for this fleet of workers, for people. Over Kafka its heartbeats tell it, and nothing else comes
        of it: the workers of an action are one consumer group, `workflow-worker.<action>`, whatever they are called
        here, so that a job is not done twice. Over HTTP the orchestrator gives each job to one worker anyway.

        SIGTERM or SIGINT (Ctrl-C), `stop()` from another thread, or a word from the orchestrator make the worker finish
        what it has in hand and return; a second signal makes it give everything back and return at once.
        While the orchestrator cannot be reached the worker keeps trying.

        Raises `InvalidUrlError` for an address that it cannot read, `UnsupportedTransportError` when the library for
        Kafka is missing, `SettingError` for a Kafka setting that cannot be used, and `RegistrationError` when the
        orchestrator refuses it.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            raise WorkflowError("start() blocks and an event loop is running here: use `await worker.run(url)` instead")
        self._write_to_stderr_if_nobody_listens()
        with self._running(), self._signals():
            run_loop(self._run(url, group, leaves_on_interrupt=False))

    async def run(self, url: str | None = None, group: str | None = None) -> None:
        """Do the same as `start` inside a running event loop. Signals are left alone; cancelling it leaves at once."""
        with self._running():
            await self._run(url, group, leaves_on_interrupt=True)

    def stop(self) -> None:
        """Finish what is in hand and return from `start` or `run`. Safe to call from any thread, and twice."""
        with self._lock:
            if self._session is not None:
                self._session.leave()
            elif self._is_running:
                self._is_stopped_early = True

    async def _run(self, url: str | None, group: str | None, *, leaves_on_interrupt: bool) -> None:
        if not self._handlers:
            raise WorkflowError('this worker has no handlers: call worker.register("my-action", my_function) first')
        hello = Hello(
            worker_id=self.worker_id,
            actions=list(self._handlers),
            sdk=SDK,
            version=__version__,
            host=socket.gethostname(),
            pid=os.getpid(),
            concurrency=self.concurrency,
            lease=self._lease,
        )
        session = self._open_session(resolve_url(url, self._logger), group, hello, leaves_on_interrupt)
        with self._lock:
            self._session = session
            if self._is_stopped_early:
                session.leave()
        try:
            await session.run()
        finally:
            with self._lock:
                self._session = None

    def _open_session(self, address: str, group: str | None, hello: Hello, leaves_on_interrupt: bool) -> Life:
        servers = kafka_servers(address)
        if servers is None:
            return Session(
                open_transport(address),
                hello,
                self._handlers,
                drain_timeout=self._drain_timeout,
                leaves_on_interrupt=leaves_on_interrupt,
                logger=self._logger,
            )
        try:
            from workersdk.kafka.config import read_config
            from workersdk.kafka.session import KafkaSession
        except ImportError as error:
            raise UnsupportedTransportError(
                f"{address!r} names a Kafka broker, and the library for Kafka cannot be imported ({error}): "
                "pip install 'confluent-kafka>=2.12,<3'"
            ) from error
        return KafkaSession(
            read_config(servers, self._kafka, os.environ, is_strict=self._strict_offsets, routes=self._routes),
            hello,
            self._handlers,
            group=group,
            drain_timeout=self._drain_timeout,
            leaves_on_interrupt=leaves_on_interrupt,
            logger=self._logger,
        )

    @contextmanager
    def _running(self) -> Iterator[None]:
        with self._lock:
            if self._is_running:
                raise WorkflowError("this worker is running already")
            self._is_running = True
            self._is_stopped_early = False
        try:
            yield
        finally:
            self._is_running = False

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Leave on SIGTERM and SIGINT, at once on the second; the third one does what it did before."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous: dict[int, Any] = {}

        def restore() -> None:
            while previous:
                signal.signal(*previous.popitem())

        def leave(number: int, frame: FrameType | None) -> None:
            if self._signals_seen == 0:
                self.stop()
            else:
                self._leave_at_once()
                restore()
            self._signals_seen += 1

        self._signals_seen = 0
        for number in (signal.SIGTERM, signal.SIGINT):
            previous[number] = signal.signal(number, leave)
        try:
            yield
        finally:
            restore()

    def _leave_at_once(self) -> None:
        with self._lock:
            if self._session is not None:
                self._session.leave_at_once()

    def _write_to_stderr_if_nobody_listens(self) -> None:
        if self._has_given_logger or self._logger.hasHandlers():
            return
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        self._logger.addHandler(handler)
        if self._logger.level == logging.NOTSET:
            self._logger.setLevel(logging.INFO)


def _make_worker_id() -> str:
    host = _NOT_IN_WORKER_ID.sub("-", socket.gethostname())[:64]
    return f"w-{host}-{os.getpid()}-{secrets.token_hex(3)}"
