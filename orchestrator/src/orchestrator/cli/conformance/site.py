"""Where scenarios are played: a real orchestrator over one transport, and the workers under test."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

import asyncpg
import msgspec

from orchestrator.cli.conformance import contract
from orchestrator.cli.conformance.contract import Entry
from orchestrator.cli.conformance.processes import WorkerProcess, pause
from orchestrator.cli.failure import Failure
from orchestrator.cli.rest import Orchestrator, segment
from orchestrator.demo.stage import ServerProcess
from orchestrator.model.topics import TOPICS, Topics

Transport = Literal["http", "kafka"]
PATIENCE_SECONDS: Final = 60.0
"""How long anything may take that has no time of its own."""
PORT: Final = 18_080
LOST_ATTEMPTS_MAX: Final = 2
_SETTINGS: Final = {
    "ORCHESTRATOR_LOST_ATTEMPTS_MAX": str(LOST_ATTEMPTS_MAX),
    "ORCHESTRATOR_LEASE_SECONDS_DEFAULT": str(contract.LEASE_SECONDS),
    "ORCHESTRATOR_PARTITIONS": "6",
}
_SESSION: Final = {"KAFKA_PROP_SESSION_TIMEOUT_MS": "6000", "KAFKA_PROP_HEARTBEAT_INTERVAL_MS": "500"}
"""So that a group notices soon that a member is dead; as short as brokers allow by default."""


class Failed(Exception):
    """A worker has not done what the protocol says."""


class Site:
    """An orchestrator, and a folder for one scenario after the other. Made by `site`."""

    def __init__(self, transport: Transport, server: ServerProcess, kafka: str, prefix: str, folder: Path) -> None:
        self.transport = transport
        self.kafka = kafka
        self.topics: Topics = TOPICS.prefixed(prefix)
        self.server = server
        self.api = Orchestrator(server.url)
        self._prefix = prefix
        self._folder = folder
        self._journal = folder
        self._processes: list[WorkerProcess] = []
        self._runs: list[str] = []
        self._number = 0

    @contextmanager
    def scenario(self, name: str) -> Iterator[None]:
        """Begin with no worker and an empty journal; leave neither a process nor an open run behind."""
        self._number += 1
        self._journal = self._folder / f"{self._number:02}-{name}.journal"
        self._runs.clear()
        try:
            yield
        finally:
            for process in self._processes:
                process.end()
            self._processes.clear()
            for run_id in self._runs:
                if self.run(run_id)["endTime"] is None:
                    self.cancel(run_id)

    # --- workers -------------------------------------------------------------------------------------------------

    def worker(self, command: Sequence[str], url: str = "", **environ: str) -> WorkerProcess:
        """Start a worker; `url` in place of the orchestrator's."""
        process = WorkerProcess(command, self._environ(url) | environ, self._journal.with_suffix(".log"))
        self._processes.append(process)
        return process

    def _environ(self, url: str) -> dict[str, str]:
        common = {
            contract.JOURNAL: str(self._journal),
            contract.LEASE: f"{contract.LEASE_SECONDS:g}",
            contract.DRAIN: f"{contract.DRAIN_SECONDS:g}",
        }
        if self.transport == "http":
            return {**common, "WORKFLOW_URL": url or self.server.url}
        return {
            **common,
            **_SESSION,
            "WORKFLOW_URL": "",
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka,
            "WORKFLOW_KAFKA_PREFIX": self._prefix,
        }

    def journal(self) -> list[Entry]:
        """Give what the workers have written down."""
        return contract.read_journal(self._journal)

    def begun(self, run_ids: Sequence[str]) -> list[Entry]:
        """Give the executions of some runs."""
        wanted = set(run_ids)
        begun = (entry for entry in self.journal() if entry.what == "begin")
        return [entry for entry in begun if entry.job_id.rpartition(":")[0] in wanted]

    def until(
        self, holds: Callable[[], Any], what: str, seconds: float = PATIENCE_SECONDS, *, by_workers: bool = False
    ) -> None:
        """Wait until something holds.

        Raises:
            Failed: it does not in time, or no worker lives any more and only workers can bring it about.
        """
        end = time.monotonic() + seconds
        while True:
            # Asked for first: the last of them may just have done it.
            is_deserted = by_workers and all(process.exit_code is not None for process in self._processes)
            if holds():
                return
            if is_deserted or time.monotonic() > end:
                words = "".join(f"\n      | {line}" for line in self._last_words().splitlines())
                reason = "every worker has ended" if is_deserted else f"not within {seconds:g} s"
                raise Failed(f"{what}: {reason}{words}")
            pause()

    def _last_words(self) -> str:
        return self._processes[-1].last_words() if self._processes else ""

    # --- runs ----------------------------------------------------------------------------------------------------

    def define(self, action: str, **step: Any) -> str:
        """Make a workflow of one step; give its id."""
        workflow = f"conformance-{uuid.uuid4().hex[:12]}"
        steps = [{"action": action, "retry": {"maxRetries": 3, "delay": 0}, **step}]
        self.api.post("/workflow", msgspec.json.encode({"id": workflow, "steps": steps}))
        return workflow

    def start(self, workflow: str, payload: bytes) -> str:
        """Start a run; the payload is JSON."""
        raw = self.api.post(f"/workflow/{segment(workflow)}/trigger", b'{"input":%s}' % payload).value
        run_id: str = raw["runId"]
        self._runs.append(run_id)
        return run_id

    def start_many(self, workflow: str, payloads: Sequence[Any]) -> list[str]:
        """Start a run for each payload."""
        return [self.start(workflow, msgspec.json.encode(payload)) for payload in payloads]

    def run(self, run_id: str) -> dict[str, Any]:
        """Read a run."""
        found: dict[str, Any] = self.api.get(f"/workflow/run/{run_id}").value
        return found

    def output(self, run_id: str) -> bytes:
        """Give the output of a run as it is kept."""
        raw = self.api.get(f"/workflow/run/{run_id}").raw
        return bytes(msgspec.json.decode(raw, type=dict[str, msgspec.Raw])["finalOutput"])

    def ended(self, run_ids: Sequence[str], seconds: float = PATIENCE_SECONDS) -> list[dict[str, Any]]:
        """Wait until runs have ended, and read them."""
        left = list(run_ids)
        found: dict[str, dict[str, Any]] = {}

        def all_ended() -> bool:
            while left:
                run = self.run(left[-1])
                if run["endTime"] is None:
                    return False
                found[left.pop()] = run
            return True

        self.until(all_ended, f"the end of {len(run_ids)} runs", seconds)
        return [found[run_id] for run_id in run_ids]

    def letters(self, workflow: str) -> list[dict[str, Any]]:
        """Give the dead letters of a workflow."""
        found: list[dict[str, Any]] = self.api.get("/dead-letters", {"workflow": workflow}).value
        return found

    def cancel(self, run_id: str) -> None:
        """End a run."""
        self.api.post(f"/workflow/run/{run_id}/cancel")

    def kill_server(self) -> None:
        """Kill the orchestrator, and start it again."""
        self.server.child.kill()
        self.server.child.start()
        self.server.wait_until_ready()


@contextmanager
def site(transport: Transport, folder: Path, database: str = "", kafka: str = "") -> Iterator[Site]:
    """Start an orchestrator for one transport: embedded for HTTP, on PostgreSQL and Kafka for the other.

    It has a data folder, or a database and topics, of its own.
    """
    name = f"conformance_{uuid.uuid4().hex[:8]}"
    prefix = f"{name}-" if transport == "kafka" else ""
    with _database(database, name) if transport == "kafka" else _nothing() as url:
        options = ["--database", url, "--kafka", kafka] if url else ["--data", str(folder / "data")]
        environ = {**_SETTINGS, "ORCHESTRATOR_KAFKA_PREFIX": prefix}
        server = ServerProcess(port=PORT, data=None, log=folder / "server.log", options=options, environ=environ)
        server.child.start()
        try:
            server.wait_until_ready()
            yield Site(transport, server, kafka, prefix, folder)
        finally:
            server.child.stop()
            if prefix:
                from orchestrator.cli.conformance.topics import drop  # the client of Kafka takes long to load

                drop(kafka, TOPICS.prefixed(prefix))


@contextmanager
def _nothing() -> Iterator[str]:
    yield ""


@contextmanager
def _database(url: str, name: str) -> Iterator[str]:
    """Make a database beside the one that is named, and drop it at the end."""
    base, _, rest = url.rpartition("/")
    _, mark, parameters = rest.partition("?")
    asyncio.run(_execute(url, f'CREATE DATABASE "{name}"'))
    try:
        yield f"{base}/{name}{mark}{parameters}"
    finally:
        asyncio.run(_execute(url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))


async def _execute(url: str, sql: str) -> None:
    try:
        connection = await asyncpg.connect(url)
    except (OSError, asyncpg.PostgresError) as error:
        mend = "pass --database postgresql://user:password@host:port/database of a server that may be used for it"
        raise Failure("the database does not answer", why=str(error), mend=mend) from None
    try:
        await connection.execute(sql)
    finally:
        await connection.close()
