"""Workers of three languages on one cluster, and plain Kafka clients beside them; every answer is counted."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from workersdk.client import AsyncClient

from orchestrator.cli.conformance.processes import WorkerProcess
from orchestrator.cli.rest import Orchestrator
from orchestrator.demo.stage import ServerProcess
from orchestrator.model.topics import TOPICS
from stack.examples import FOLDER, LANGUAGES, PLAIN, command
from tests.mix.answers import Answers
from tests.process.server import until

WORDS: Final = {
    "Processed: ": "python",
    "Node processed: ": "node",
    "Java processed: ": "java",
    "Python greets ": "plain python",
    "Node greets ": "plain node",
    "Java greets ": "plain java",
}
"""What a result begins with: so every answer says whose it is."""
NODE_LINE: Final = "Handling step 1"
"""What the contract's example in Node.js writes each time it is executed; the others write nothing."""
PORT: Final = 18_180
IN_FLIGHT: Final = 400
PATIENCE_SECONDS: Final = 300.0
CONNECT_SECONDS: Final = 60.0
_REJECTED: Final = re.compile(rb"^orchestrator_records_rejected_total\{[^}]*\} (\S+)$", re.MULTILINE)


@dataclass
class Round:
    """What came of one round."""

    name: str
    runs: int
    seconds: float = 0.0
    outputs: Counter[str] = field(default_factory=Counter)
    """Runs that have completed, by the worker whose result is their output."""
    answers: Counter[str] = field(default_factory=Counter)
    """Records on the topic of results, by worker: one for each execution."""
    twice: int = 0
    """Answers beyond the first one of a run; each run has one step."""
    rejected: int = 0
    """Records that changed nothing, or could not be read, as the orchestrator counts them."""

    @property
    def is_clean(self) -> bool:
        """Whether every run has completed, by one execution."""
        return self.outputs == self.answers and self.outputs.total() == self.runs and not self.twice + self.rejected


class Mix:
    """An orchestrator over Kafka, and workers that come and stay. Made by `mix`."""

    def __init__(self, server: ServerProcess, kafka: str, prefix: str, folder: Path, running: ExitStack) -> None:
        self._api = Orchestrator(server.url)
        self._folder = folder
        self._running = running
        topics = TOPICS.prefixed(prefix)
        self._environ = {
            "WORKFLOW_URL": "",
            "KAFKA_BOOTSTRAP_SERVERS": kafka,
            "WORKFLOW_KAFKA_PREFIX": prefix,
            "WORKFLOW_JOBS_TOPIC": topics.jobs,
            "WORKFLOW_RESULTS_TOPIC": topics.results,
        }
        self._answers = Answers(kafka, topics.results)
        running.callback(self._answers.close)
        self._rejected = 0

    def start(self, example: str) -> None:
        """Start the workers of an example, one for each language, and define their workflows."""
        for language in LANGUAGES:
            worker = WorkerProcess(command(language, example), self._environ, self._log(language, example))
            self._running.callback(worker.end)
        if example == PLAIN:
            for language in LANGUAGES:
                # It gives no signs of life: only a time-out would bring back a job that it drops.
                step = {"action": f"greet-{language}", "timeout": "10m"}
                self._api.post("/workflow/", json.dumps({"id": f"{PLAIN}-{language}", "steps": [step]}).encode())
        else:
            self._api.post("/workflow/", (FOLDER / "workflows" / f"{example}.json").read_bytes())
            until(lambda: self._connected() == len(LANGUAGES), CONNECT_SECONDS)

    async def play(self, name: str, workflows: Mapping[str, int]) -> Round:
        """Start so many runs of each workflow, by turns, wait until all have completed, and count."""
        played = Round(name, sum(workflows.values()))
        jobs = iter(_by_turns(workflows))
        began = time.monotonic()
        async with AsyncClient(self._api.url) as client, asyncio.TaskGroup() as group:

            async def one_after_the_other() -> None:
                for number, workflow in jobs:
                    output = await client.run(workflow, f"job {number}", timeout=PATIENCE_SECONDS)
                    played.outputs[_whose(output)] += 1

            for _ in range(IN_FLIGHT):
                group.create_task(one_after_the_other())
        played.seconds = time.monotonic() - began
        self._count(played)
        return played

    def executed_by_node(self) -> int:
        """How often the example in Node.js says that it was executed."""
        return self._log("node", "hello").read_text().splitlines().count(NODE_LINE)

    def _count(self, played: Round) -> None:
        answered: Counter[str] = Counter()
        for answer in self._answers.further():
            answered[answer["workflowRunId"]] += 1
            played.answers[_whose(answer["result"])] += 1
        played.twice = answered.total() - len(answered)
        metrics = self._api.get("/metrics").raw
        rejected = sum(int(float(number)) for number in _REJECTED.findall(metrics))
        played.rejected, self._rejected = rejected - self._rejected, rejected

    def _connected(self) -> int:
        return sum(worker["status"] == "CONNECTED" for worker in self._api.get("/workers").value)

    def _log(self, language: str, example: str) -> Path:
        return self._folder / f"{language}-{example}.log"


@contextmanager
def mix(folder: Path, kafka: str, database: str, prefix: str = "") -> Iterator[Mix]:
    """Start an orchestrator on a broker and a database; at the end stop it, and the workers before it."""
    options = ["--database", database, "--kafka", kafka]
    environ = {"ORCHESTRATOR_KAFKA_PREFIX": prefix}
    server = ServerProcess(port=PORT, data=None, log=folder / "server.log", options=options, environ=environ)
    with ExitStack() as running:
        server.child.start()
        running.callback(server.child.stop)
        server.wait_until_ready()
        yield Mix(server, kafka, prefix, folder, running)


def _by_turns(workflows: Mapping[str, int]) -> list[tuple[int, str]]:
    """Number the runs of each workflow, and spread them evenly over the whole."""
    places = ((number / count, number, name) for name, count in workflows.items() for number in range(count))
    return [(number, name) for _, number, name in sorted(places)]


def _whose(result: object) -> str:
    for words, worker in WORDS.items():
        if isinstance(result, str) and result.startswith(words):
            return worker
    raise AssertionError(f"nobody answers {result!r}")
