"""Start the servers that tests ask for (`embedded`, `distributed`), say where they are, stop them when stdin ends.

The one line on stdout is a JSON object of variables for the tests.
"""

from __future__ import annotations

import json
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT))

from stack.application import Orchestrator  # noqa: E402
from stack.daemon import Daemon  # noqa: E402
from stack.kafka import Kafka  # noqa: E402
from stack.ports import free_port  # noqa: E402
from stack.postgres import Postgres  # noqa: E402


def main(wanted: list[str]) -> None:
    told = {"TEST_PYTHON": sys.executable}
    with tempfile.TemporaryDirectory(prefix="workersdk-node-") as name, ExitStack() as running:
        folder = Path(name)
        # PostgreSQL runs as a user of its own.
        folder.chmod(0o755)
        embedded = Orchestrator(folder / "embedded", free_port(), ["--memory"])
        kafka = Kafka(folder / "kafka", free_port())
        postgres = Postgres(folder / "postgres", free_port(), durable=False)
        first: list[Daemon] = [embedded] if "embedded" in wanted else []
        if "distributed" in wanted:
            first += [kafka, postgres]
        for daemon in first:
            running.callback(daemon.stop)
        with ThreadPoolExecutor() as threads:
            list(threads.map(lambda daemon: daemon.start(), first))
        if embedded in first:
            told["TEST_EMBEDDED_URL"] = embedded.url
        if kafka in first:
            flags = ["--database", postgres.url, "--kafka", kafka.url]
            server = running.enter_context(Orchestrator(folder / "distributed", free_port(), flags).running())
            told |= {"TEST_KAFKA": kafka.url, "TEST_DISTRIBUTED_URL": server.url}
        print(json.dumps(told), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1:])
