"""The clients: define workflows, start runs, wait for them, look after them; with asyncio and without."""

from __future__ import annotations

import asyncio
import os
import threading
import uuid
import weakref
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, TypeVar
from urllib.parse import quote

from workersdk.errors import RunFailedError, WaitTimeoutError
from workersdk.jobs import TRACE_FIELDS
from workersdk.models import DeadLetter, Event, Run, WorkerInfo, Workflow
from workersdk.rest import TIMEOUT_S, Rest, client_url

WAIT_S_MAX: Final = 30.0

T = TypeVar("T")


class AsyncClient:
    """Speaks to an orchestrator over its REST API.

    The address is `url`, else the environment variable WORKFLOW_URL if that is HTTP, else http://127.0.0.1:8080.
    Calls that may be repeated are tried a few times when there is no answer or a 503; starting a run is one of them,
    because it always carries an idempotency key.

    Every call raises `ConnectionFailedError` when there is no answer, and an `ApiError` when the answer is an error.
    Use it as `async with AsyncClient() as client:` or call `close`.
    """

    def __init__(self, url: str | None = None) -> None:
        self._rest = Rest(client_url(url))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._rest.address}>"

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._rest.close()

    def _abandon(self) -> None:
        self._rest.abandon()

    # ------------------------------------------------------------ workflows

    async def define(
        self, definition: Mapping[str, Any] | str, steps: Sequence[str | Mapping[str, Any]] | None = None
    ) -> Workflow:
        """Define a workflow, or a new version of it: a whole definition, or an id and its steps.

        A step is an action's name or a step object: `define("order", ["reserve", {"action": "charge", …}])`.
        The same content again makes no new version. Raises `ApiError` (422) when the definition is not valid.
        """
        return Workflow.from_json(await self._rest.call("POST", "/workflow/", body=make_definition(definition, steps)))

    async def workflows(self) -> tuple[Workflow, ...]:
        """Return the latest versions of all workflows, by id."""
        return tuple([Workflow.from_json(raw) async for raw in self._entries("/workflow/", {}, None)])

    async def workflow(self, workflow_id: str) -> Workflow:
        """Return the latest version of a workflow. Raises `NotFoundError`."""
        return Workflow.from_json(await self._rest.call("GET", f"/workflow/{_part(workflow_id)}"))

    # ------------------------------------------------------------ runs

    async def trigger(
        self,
        workflow_id: str,
        input: Any = None,  # noqa: A002 - the field's name on the wire
        *,
        idempotency_key: str | None = None,
        trace: Mapping[str, str] | None = None,
    ) -> str:
        """Start a run and return its id.

        `idempotency_key`: the same key again returns the run that it started before, for a day. One is made up when
        none is given, so that a lost answer does not start a second run.
        `trace`: `traceparent` and `tracestate`, which each job of the run will carry: what OpenTelemetry's `inject`
        writes into a dict, or a handler's `context.trace`. What else is in it is left alone.
        Raises `NotFoundError` when there is no such workflow.
        """
        headers = {name: value for name in TRACE_FIELDS if (value := (trace or {}).get(name))}
        answer = await self._rest.call(
            "POST",
            f"/workflow/{_part(workflow_id)}/trigger",
            body={"input": input},
            headers={"Idempotency-Key": idempotency_key or str(uuid.uuid4()), **headers},
        )
        return str(answer["runId"])

    async def get(self, run_id: str) -> Run:
        """Return a run with its steps and attempts. Raises `NotFoundError`."""
        return Run.from_json(await self._rest.call("GET", f"/workflow/run/{_part(run_id)}"))

    async def wait(self, run_id: str, timeout: float | None = None) -> Run:
        """Return the run once it has ended, however it ended.

        `timeout` in seconds; None waits for as long as it takes. Raises `WaitTimeoutError`; the run goes on.
        """
        loop = asyncio.get_running_loop()
        end = None if timeout is None else loop.time() + timeout
        while True:
            seconds = WAIT_S_MAX if end is None else max(0.0, min(WAIT_S_MAX, end - loop.time()))
            raw = await self._rest.call(
                "GET", f"/workflow/run/{_part(run_id)}", query={"wait": f"{seconds:.3f}"}, timeout=seconds + TIMEOUT_S
            )
            run = Run.from_json(raw)
            if run.is_ended:
                return run
            if end is not None and loop.time() >= end:
                raise WaitTimeoutError(run, timeout or 0.0)

    async def run(
        self,
        workflow_id: str,
        input: Any = None,  # noqa: A002 - the field's name on the wire
        *,
        idempotency_key: str | None = None,
        timeout: float | None = None,
        trace: Mapping[str, str] | None = None,
    ) -> Any:
        """Start a run, wait for its end and return its final output.

        Raises `RunFailedError` when it ended otherwise, `WaitTimeoutError` when `timeout` seconds were not enough.
        """
        run_id = await self.trigger(workflow_id, input, idempotency_key=idempotency_key, trace=trace)
        run = await self.wait(run_id, timeout)
        if run.status != "COMPLETED":
            raise RunFailedError(run)
        return run.final_output

    async def cancel(self, run_id: str, reason: str | None = None) -> Run:
        """Cancel a run. Raises `ConflictError` when it has ended already."""
        body = {} if reason is None else {"reason": reason}
        return Run.from_json(await self._rest.call("POST", f"/workflow/run/{_part(run_id)}/cancel", body=body))

    async def events(self, run_id: str, after: int | None = None) -> tuple[Event, ...]:
        """Return the history of a run, oldest first; only what came after the event number `after` if given."""
        entries = self._entries(f"/workflow/run/{_part(run_id)}/events", {"after": after}, None)
        return tuple([Event.from_json(raw) async for raw in entries])

    async def list(
        self, *, status: str | Sequence[str] | None = None, workflow: str | None = None, limit: int | None = None
    ) -> AsyncIterator[Run]:
        """Iterate over runs, newest first: `async for run in client.list(status="FAILED")`.

        `status`: one or several; `workflow`: a workflow's id; `limit`: stop after so many runs. Pages are fetched as
        they are needed.
        """
        async for page in self.run_pages(status=status, workflow=workflow, limit=limit):
            for run in page:
                yield run

    async def run_pages(
        self, *, status: str | Sequence[str] | None = None, workflow: str | None = None, limit: int | None = None
    ) -> AsyncIterator[tuple[Run, ...]]:
        """Do the same as `list`, a page at a time."""
        async for page in self._rest.pages("/workflow/runs", {"status": status, "workflow": workflow}, limit):
            yield tuple(Run.from_json(raw) for raw in page)

    # ------------------------------------------------------------ workers and dead letters

    async def workers(self) -> tuple[WorkerInfo, ...]:
        """Return the workers that are known, with the jobs in their hands."""
        return tuple([WorkerInfo.from_json(raw) async for raw in self._entries("/workers", {}, None)])

    async def dead_letters(
        self, *, workflow: str | None = None, action: str | None = None, limit: int | None = None
    ) -> tuple[DeadLetter, ...]:
        """Return the dead letters, newest first."""
        entries = self._entries("/dead-letters", {"workflow": workflow, "action": action}, limit)
        return tuple([DeadLetter.from_json(raw) async for raw in entries])

    async def redrive(self, dead_letter_id: str) -> Run:
        """Run the step of a dead letter again, in the same run and with a fresh retry budget; return the run."""
        path = f"/dead-letters/{_part(dead_letter_id)}/redrive"
        return Run.from_json(await self._rest.call("POST", path, is_repeatable=False))

    async def discard(self, dead_letter_id: str) -> None:
        """Discard a dead letter; its run stays failed."""
        await self._rest.call("DELETE", f"/dead-letters/{_part(dead_letter_id)}", is_repeatable=False)

    async def _entries(self, path: str, query: Mapping[str, Any], limit: int | None) -> AsyncIterator[dict[str, Any]]:
        async for page in self._rest.pages(path, query, limit):
            for raw in page:
                yield raw


class Client:
    """Speaks to an orchestrator over its REST API; `AsyncClient` tells what each call means and raises.

    One instance may be used from several threads. Use it as `with Client() as client:` or call `close`; a program that
    does neither is not kept alive by it.
    """

    def __init__(self, url: str | None = None) -> None:
        self._url = url
        self._shown = repr(AsyncClient(url)).replace("AsyncClient", "Client")
        self._lock = threading.Lock()
        self._background: _Background | None = None

    def __repr__(self) -> str:
        return self._shown

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. The client can be used again after that."""
        with self._lock:
            background, self._background = self._background, None
        if background is not None:
            background.close()

    @property
    def _core(self) -> AsyncClient:
        """Return the async client of this process, with its loop running."""
        with self._lock:
            if self._background is None or self._background.process != os.getpid():
                # A forked child has neither the thread nor connections of its own.
                self._background = _Background(self._url)
                weakref.finalize(self, self._background.abandon)
            return self._background.client

    def _call(self, call: Coroutine[Any, Any, T]) -> T:
        assert self._background is not None
        return self._background.call(call)

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

    def trigger(
        self,
        workflow_id: str,
        input: Any = None,  # noqa: A002 - the field's name on the wire
        *,
        idempotency_key: str | None = None,
        trace: Mapping[str, str] | None = None,
    ) -> str:
        """Start a run and return its id."""
        return self._call(self._core.trigger(workflow_id, input, idempotency_key=idempotency_key, trace=trace))

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
        trace: Mapping[str, str] | None = None,
    ) -> Any:
        """Start a run, wait for its end and return its final output; raise `RunFailedError` when there is none."""
        call = self._core.run(workflow_id, input, idempotency_key=idempotency_key, timeout=timeout, trace=trace)
        return self._call(call)

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
        while (page := self._call(_next(pages))) is not None:
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


class _Background:
    """An `AsyncClient` on a loop of its own, in a thread."""

    def __init__(self, url: str | None) -> None:
        self.client = AsyncClient(url)
        self.process = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="workersdk-client", daemon=True)
        self._thread.start()

    def call(self, call: Coroutine[Any, Any, T]) -> T:
        answer = asyncio.run_coroutine_threadsafe(call, self._loop)
        try:
            return answer.result()
        except BaseException:
            answer.cancel()
            raise

    def close(self) -> None:
        if self.process == os.getpid() and self._thread.is_alive():
            self.call(self.client.close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def abandon(self) -> None:
        """End without waiting: nobody has closed the client, or this is a child of the process that it works in."""
        self.client._abandon()
        if self.process == os.getpid() and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._loop.stop)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()


async def _next(pages: AsyncIterator[tuple[Run, ...]]) -> tuple[Run, ...] | None:
    async for page in pages:
        return page
    return None


def make_definition(
    definition: Mapping[str, Any] | str, steps: Sequence[str | Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """Write a definition as the orchestrator takes it: from a whole one, or from an id and steps."""
    if isinstance(definition, str):
        if not steps:
            raise ValueError(f"the workflow {definition!r} needs steps: define({definition!r}, ['my-action'])")
        return {
            "id": definition,
            "steps": [{"action": step} if isinstance(step, str) else dict(step) for step in steps],
        }
    if steps is not None:
        raise ValueError("give a whole definition, or an id and steps, not both")
    return dict(definition)


def _part(text: str) -> str:
    return quote(text, safe=":@")
