"""The client for programs without asyncio: the same calls, each waiting for its answer."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, TypeVar

from workersdk.client import AsyncClient
from workersdk.models import DeadLetter, Event, Run, WorkerInfo, Workflow

_END: Final = None

T = TypeVar("T")


class Client:
    """Speaks to an orchestrator over its REST API; `AsyncClient` tells what each call means and raises.

    One instance may be used from several threads. Use it as `with Client() as client:` or call `close`; a program that
    does neither is not kept alive by it.
    """

    def __init__(self, url: str | None = None) -> None:
        self._url = url
        self._async = AsyncClient(url)
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._process = os.getpid()

    def __repr__(self) -> str:
        return repr(self._async).replace("AsyncClient", "Client")

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. The client can be used again after that."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None and self._thread is not None and self._process == os.getpid():
            asyncio.run_coroutine_threadsafe(self._async.close(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join()

    # ------------------------------------------------------------ workflows

    def define(
        self, definition: Mapping[str, Any] | str, steps: Sequence[str | Mapping[str, Any]] | None = None
    ) -> Workflow:
        """Define a workflow, or a new version of it: a whole definition, or an id and its steps."""
        return self._call(self._core.define(definition, steps))

    def workflows(self) -> tuple[Workflow, ...]:
        """Return the latest versions of all workflows, by id."""
        return self._call(self._core.workflows())

    def workflow(self, workflow_id: str) -> Workflow:
        """Return the latest version of a workflow."""
        return self._call(self._core.workflow(workflow_id))

    # ------------------------------------------------------------ runs

    def trigger(self, workflow_id: str, input: Any = None, *, idempotency_key: str | None = None) -> str:  # noqa: A002 - the field's name on the wire
        """Start a run and return its id."""
        return self._call(self._core.trigger(workflow_id, input, idempotency_key=idempotency_key))

    def get(self, run_id: str) -> Run:
        """Return a run with its steps and attempts."""
        return self._call(self._core.get(run_id))

    def wait(self, run_id: str, timeout: float | None = None) -> Run:
        """Return the run once it has ended; raise `WaitTimeoutError` after `timeout` seconds."""
        return self._call(self._core.wait(run_id, timeout))

    def run(
        self,
        workflow_id: str,
        input: Any = None,  # noqa: A002 - the field's name on the wire
        *,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Start a run, wait for its end and return its final output; raise `RunFailedError` when there is none."""
        return self._call(self._core.run(workflow_id, input, idempotency_key=idempotency_key, timeout=timeout))

    def cancel(self, run_id: str, reason: str | None = None) -> Run:
        """Cancel a run."""
        return self._call(self._core.cancel(run_id, reason))

    def events(self, run_id: str, after: int | None = None) -> tuple[Event, ...]:
        """Return the history of a run, oldest first."""
        return self._call(self._core.events(run_id, after))

    def list(
        self, *, status: str | Sequence[str] | None = None, workflow: str | None = None, limit: int | None = None
    ) -> Iterator[Run]:
        """Iterate over runs, newest first; pages are fetched as they are needed."""
        pages = self._core.run_pages(status=status, workflow=workflow, limit=limit)
        while (page := self._call(_next(pages.__anext__()))) is not _END:
            yield from page

    # ------------------------------------------------------------ workers and dead letters

    def workers(self) -> tuple[WorkerInfo, ...]:
        """Return the workers that are known, with the jobs in their hands."""
        return self._call(self._core.workers())

    def dead_letters(
        self, *, workflow: str | None = None, action: str | None = None, limit: int | None = None
    ) -> tuple[DeadLetter, ...]:
        """Return the dead letters, newest first."""
        return self._call(self._core.dead_letters(workflow=workflow, action=action, limit=limit))

    def redrive(self, dead_letter_id: str) -> Run:
        """Run the step of a dead letter again, in the same run; return the run."""
        return self._call(self._core.redrive(dead_letter_id))

    def discard(self, dead_letter_id: str) -> None:
        """Discard a dead letter; its run stays failed."""
        self._call(self._core.discard(dead_letter_id))

    # ------------------------------------------------------------ the loop behind it

    @property
    def _core(self) -> AsyncClient:
        """Return the async client of this process, with its loop running."""
        with self._lock:
            if self._process != os.getpid():
                # A forked child has neither the thread nor connections of its own.
                self._async = AsyncClient(self._url)
                self._loop = None
                self._process = os.getpid()
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=_run_loop, args=(self._loop,), name="workersdk-client", daemon=True
                )
                self._thread.start()
            return self._async

    def _call(self, call: Coroutine[Any, Any, T]) -> T:
        assert self._loop is not None
        answer = asyncio.run_coroutine_threadsafe(call, self._loop)
        try:
            return answer.result()
        except BaseException:
            answer.cancel()
            raise


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.close()


async def _next(step: Any) -> tuple[Run, ...] | None:
    try:
        page: tuple[Run, ...] = await step
    except StopAsyncIteration:
        return _END
    return page
